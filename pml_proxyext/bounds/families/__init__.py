"""The relations, one file per family."""

from pml_proxyext.bounds.families import cross_entropy, infonce, tightness

__all__ = ["FAMILIES"]

FAMILIES = {
    "Cross-entropy and pairwise losses": cross_entropy.RELATIONS + tightness.RELATIONS,
    "InfoNCE, supervised contrastive loss and their ceilings": infonce.RELATIONS,
}
