"""The methods of the benchmark, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pml_proxyext.benchmark.papers import PAPER_RECIPES, paper_recipe_names
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.utils.checks import check_choice

__all__ = ["RECIPES", "get_recipe", "recipe_names"]


def _pml(loss: str, **options: Any) -> Part:
    return Part(f"pytorch_metric_learning.losses.{loss}", options)


def _ours(loss: str, **options: Any) -> Part:
    return Part(f"pml_proxyext.losses.{loss}", options)


def _nivmf(name: str, title: str, temperature: float, concentrations: float | None, **options: Any) -> Recipe:
    """Return a recipe for NivMFLoss; ``concentrations`` is the factor of their learning rate, None for a cosine."""
    multipliers = {"proxies": 333.0, "log_temperature": 1.0}
    if concentrations is not None:
        multipliers["concentrations"] = concentrations
    loss = _ours("NivMFLoss", temperature=temperature, **options)
    compared_with = "cosine" if concentrations is not None else None
    return Recipe(name, title, loss, lr_multipliers=multipliers, compared_with=compared_with)


def _nir(name: str, title: str, base: Part, lr_multipliers: Mapping[str, float]) -> list[Recipe]:
    """Return recipes for NIRLoss over a base in each form of the likelihood."""
    return [
        Recipe(
            f"nir_{name}" if likelihood == "plain" else f"nir_{name}_{likelihood}",
            f"NIR, {title}" if likelihood == "plain" else f"NIR ({likelihood}), {title}",
            _ours("NIRLoss") if likelihood == "plain" else _ours("NIRLoss", likelihood=likelihood),
            base=base,
            lr_multipliers={**lr_multipliers, "flow": 1.0},
            compared_with=name,
        )
        for likelihood in ("plain", "softplus", "exp")
    ]


_MS_MINER = Part("pytorch_metric_learning.miners.MultiSimilarityMiner")
_PROXIES = {"proxies": 33.0}  # a rate of 0.1 beside the network's 0.003
_PROXY_ANCHOR = _ours("ProxyAnchorLoss", alpha=16)
_PROXY_NCA = _pml("ProxyNCALoss", softmax_scale=2.5)
_SOFT_TRIPLE = _pml("SoftTripleLoss", la=5)
# The network's norms start near 3, where a distribution in 64 dimensions is all but uniform and learning slow.
_SAMPLED: dict[str, Any] = {"similarity": "el_nivmf", "norm_multiplier": 30.0}
_NORMS = 10.0
# The way of the N-pair paper: vectors as they are, their norms kept down.
_RAW: dict[str, Any] = {
    "distance": Part("pytorch_metric_learning.distances.DotProductSimilarity", {"normalize_embeddings": False}),
    "embedding_regularizer": Part("pytorch_metric_learning.regularizers.LpRegularizer", {"power": 2}),
    "embedding_reg_weight": 0.02,
}

# What a search starts from: the defaults of the losses, but for temperatures, scales and learning rates of proxies,
# which are sensible on small images. What the search of each data set chose is in the folder `settings`.
_ALL = [
    Recipe("untrained", "Untrained", None, trunk="identity", embedding_size=0, steps=0),
    Recipe("contrastive", "Contrastive", _pml("ContrastiveLoss"), images_per_class=4),
    Recipe("triplet", "Triplet, MS miner", _pml("TripletMarginLoss"), miner=_MS_MINER, images_per_class=4),
    Recipe("multi_similarity", "Multi-Similarity", _pml("MultiSimilarityLoss"), miner=_MS_MINER, images_per_class=4),
    Recipe("ntxent", "NT-Xent", _pml("NTXentLoss", temperature=0.1), images_per_class=4),
    Recipe("supcon", "SupCon", _pml("SupConLoss", temperature=0.2), images_per_class=2),
    Recipe("proxy_nca", "ProxyNCA", _PROXY_NCA, lr_multipliers=_PROXIES),
    Recipe("proxy_anchor", "Proxy Anchor", _PROXY_ANCHOR, lr_multipliers=_PROXIES),
    Recipe("soft_triple", "SoftTriple", _SOFT_TRIPLE, lr_multipliers={"fc": 33.0}),
    Recipe(
        "normalized_softmax",
        "Normalized Softmax",
        _pml("NormalizedSoftmaxLoss", temperature=0.2),
        lr_multipliers={"W": 333.0},
    ),
    Recipe("arcface", "ArcFace", _pml("ArcFaceLoss", margin=10, scale=8), lr_multipliers={"W": 33.0}),
    Recipe(
        "cross_entropy",
        "Cross-entropy, label smoothing",
        _ours("CrossEntropyDMLLoss", dropout=0.0),
        lr_multipliers={"proxies": 1.0, "bias": 1.0},
        compared_with="normalized_softmax",
    ),
    *(
        Recipe(name, title, _ours(loss, lambda_=0.1), images_per_class=4, compared_with="cross_entropy")
        for name, title, loss in (
            ("pairwise_cross_entropy", "Pairwise cross-entropy", "PairwiseCrossEntropyLoss"),
            (
                "simplified_pairwise_cross_entropy",
                "Simplified pairwise cross-entropy",
                "SimplifiedPairwiseCrossEntropyLoss",
            ),
        )
    ),
    Recipe("npairs", "N-pair, L2 penalty", _pml("NPairsLoss", **_RAW), images_per_class=2),
    # By ALMN's loss without a margin, since PML's N-pairs has no scale.
    Recipe("npairs_normalized", "N-pair, normalised", _ours("ALMNLoss", beta=0.0, scale=16.0), images_per_class=2),
    *(
        Recipe(
            base.replace("npairs", "almn"),
            title,
            _ours("ALMNLoss", **options),
            images_per_class=2,
            compared_with=base,
            keeps_settings=True,
        )
        for base, title, options in (
            ("npairs", "ALMN, L2 penalty", _RAW),
            ("npairs_normalized", "ALMN, normalised", {"scale": 16.0}),
        )
    ),
    *_nir("proxy_anchor", "Proxy Anchor", _PROXY_ANCHOR, _PROXIES),
    *_nir("proxy_nca", "ProxyNCA", _PROXY_NCA, _PROXIES),
    *_nir("soft_triple", "SoftTriple", _SOFT_TRIPLE, {"fc": 33.0}),
    _nivmf("el_nivmf", "EL-nivMF", 4.0, 3.0, **_SAMPLED),
    _nivmf("el_nivmf_guided", "EL-nivMF, guided by Proxy Anchor", 4.0, 3.0, guidance_weight=1.0, **_SAMPLED),
    _nivmf("nivmf", "nivMF (density)", 4.0, 3.0, similarity="nivmf"),
    _nivmf("el_vmf", "EL-vMF", 4.0, 33.0, similarity="el_vmf", norm_multiplier=_NORMS),
    _nivmf("b_vmf", "B-vMF", 2.0, 33.0, similarity="b_vmf", norm_multiplier=_NORMS),
    _nivmf("kl_vmf", "KL-vMF", 4.0, 33.0, similarity="kl_vmf", norm_multiplier=_NORMS),
    _nivmf("nivmf_l2", "nivMF: L2", 100.0, 33.0, similarity="l2", norm_multiplier=_NORMS),
    _nivmf("cosine", "nivMF: cosine", 0.4, None, similarity="cosine"),
]

#: The recipes by name.
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name, the papers' own included, or raise a ValueError that suggests the nearest names."""
    recipes = {**RECIPES, **PAPER_RECIPES}
    return recipes[check_choice("recipe", name, recipes)]


def recipe_names(data: str) -> list[str]:
    """Return the recipes to run on a data set: the papers' own for it if there are any, else those for any data.

    The first is the untrained network, which belongs into every table.
    """
    return paper_recipe_names().get(data) or list(RECIPES)
