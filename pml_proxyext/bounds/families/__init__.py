"""The relations, one file per family."""

from pml_proxyext.bounds.families import (
    classifier_floors,
    codes,
    contrastive,
    cross_entropy,
    hard_negatives,
    hardest_contrastive,
    infonce,
    information,
    information_chain,
    information_claims,
    information_conditional,
    information_expectations,
    information_symmetries,
    kernels,
    lifted,
    margin_softmax,
    mutual_information,
    npairs,
    ntxent,
    own_abe,
    own_almn,
    own_divergence,
    own_losses,
    own_nir,
    own_nivmf,
    pairs,
    proxies,
    proxy_anchor,
    simplex,
    smooth_ap,
    supcon_minima,
    tightness,
    triplets,
    two_views,
    uniformity,
)

__all__ = ["FAMILIES"]

FAMILIES = {
    "Cross-entropy and pairwise losses": cross_entropy.RELATIONS + tightness.RELATIONS,
    "InfoNCE, supervised contrastive loss and their ceilings": (
        infonce.RELATIONS + ntxent.RELATIONS + npairs.RELATIONS + uniformity.RELATIONS
    ),
    "Triplet, contrastive, margin, lifted structure and circle losses": (
        triplets.RELATIONS + contrastive.RELATIONS + pairs.RELATIONS + lifted.RELATIONS
    ),
    "Average precision": smooth_ap.RELATIONS,
    "Losses with proxies": proxies.RELATIONS + proxy_anchor.RELATIONS,
    "Softmax with margins": margin_softmax.RELATIONS,
    "Kernels and distributions": kernels.RELATIONS,
    "Mutual information and entropy": mutual_information.RELATIONS,
    "Estimators of mutual information": (
        information.RELATIONS
        + information_chain.RELATIONS
        + information_conditional.RELATIONS
        + information_symmetries.RELATIONS
        + information_expectations.RELATIONS
        + information_claims.RELATIONS
    ),
    "Supervised contrastive loss and the simplex": (
        classifier_floors.RELATIONS + simplex.RELATIONS + supcon_minima.RELATIONS
    ),
    "Two views": (two_views.RELATIONS + hard_negatives.RELATIONS + hardest_contrastive.RELATIONS + codes.RELATIONS),
    "This package's own losses": (
        own_losses.RELATIONS
        + own_nivmf.RELATIONS
        + own_nir.RELATIONS
        + own_divergence.RELATIONS
        + own_abe.RELATIONS
        + own_almn.RELATIONS
    ),
}
