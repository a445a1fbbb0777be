"""Every public loss, one row: how it is built, and what is known of it that cannot be found out by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction, ContrastiveLoss, NormalizedSoftmaxLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext import losses
from pml_proxyext.information.critics import BilinearCritic

SIZES = {"num_classes": 6, "embedding_size": 8}


@dataclass(frozen=True)
class Row:
    """A loss class, its arguments or functions that make them anew, and what is known of its profile."""

    loss: type[BaseMetricLossFunction]
    arguments: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    known: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.loss.__name__}-{self.variant}" if self.variant else self.loss.__name__

    def __call__(self, **kwargs: Any) -> BaseMetricLossFunction:
        built = {key: make() if callable(make) else make for key, make in self.arguments.items()}
        return self.loss(**built, **kwargs)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def contrastive() -> ContrastiveLoss:
    return ContrastiveLoss(reducer=MeanReducer())  # its own reducer hides NaN


def inner_product() -> DotProductSimilarity:
    return DotProductSimilarity(normalize_embeddings=False)


def half_width_anchor() -> losses.ProxyAnchorLoss:
    return losses.ProxyAnchorLoss(SIZES["num_classes"], SIZES["embedding_size"] // 2)


def classifier() -> Callable[[Tensor], Tensor]:
    head = losses.CrossEntropyDMLLoss(**SIZES)
    head.proxies.data.normal_(generator=generator())  # always the same: the loss does not save it
    return head.get_logits


def bilinear() -> BilinearCritic:
    return BilinearCritic(8, 8, generator())


def half_bilinear() -> BilinearCritic:
    return BilinearCritic(4, 4, generator())


# Norms of tens are what the loss is made for.
NIVMF = SIZES | {"temperature": 0.1, "norm_multiplier": 10.0}
CLASSIFIER = SIZES | {"dropout": 0.0, "weight_init_func": lambda: torch.nn.init.normal_}
IMPLICIT_GRADIENT = {"gradcheck": "samples have implicit derivatives, right in the mean and not for fixed draws"}
CLASSIFIED = {
    "num_classes": 6,
    "fullgraph": True,
    "exempt": {
        "wrong_width": "the width is that of the classifier",
        "gradcheck": "the assignments follow the embeddings and count as constants in gradients",
    },
}
OPTIONAL_LABELS = {"missing_labels": "labels are optional: without them all rows differ"}
CROSSCLR_SCORES = {"gradcheck": "weights and pruning follow the detached embeddings and count as constants"}
UNSCORED = {"weighting": "none", "prune_threshold": None}
CROSSCLR_RELEASED = UNSCORED | {"weight_on": "logit", "self_logit": "one"}
CODES = {"unit_interval": True, "ref_emb": "required", "fullgraph": True, "exempt": OPTIONAL_LABELS}
VIEWS = {"ref_emb": "required", "fullgraph": True, "exempt": OPTIONAL_LABELS}
SUBVIEW = {"gradcheck": "the scores of the subview follow the embeddings and count as constants in the other term"}
CLASSES = {"ref_emb": "required", "fullgraph": True}
FIRST_PAIRS = dict.fromkeys(
    ("row_order", "class_weights", "distributed"), "only the first pair of each class in the batch is looked at"
)
DETACHED_MARGIN = {"gradcheck": "the margin follows the embeddings and counts as a constant in gradients"}
DETACHED = {"gradcheck": "the weights of negatives follow the embeddings and count as constants in gradients"}

LOSSES = [
    Row(losses.ProxyAnchorLoss),
    Row(losses.NIRLoss),
    Row(losses.NIRLoss, SIZES | {"generator": generator}, variant="generator"),
    Row(losses.NIRLoss, SIZES | {"noise_scale": 0.0}, variant="noiseless"),
    Row(losses.NIRLoss, SIZES | {"proxy_loss": lambda: NormalizedSoftmaxLoss(6, 8)}, variant="over_pml"),
    Row(losses.NivMFLoss, NIVMF, {"exempt": IMPLICIT_GRADIENT}),
    Row(losses.NivMFLoss, NIVMF | {"estimator": "closed_form", "warp_samples": False}, variant="closed_form"),
    Row(losses.NivMFLoss, NIVMF | {"similarity": "nivmf"}, variant="point"),
    Row(losses.NivMFLoss, NIVMF | {"similarity": "kl_vmf", "guidance_weight": 1.0}, variant="kl_vmf_guided"),
    # Weights of zero hide the dropout from a look at values.
    Row(losses.CrossEntropyDMLLoss, known={"random": True}),
    Row(losses.CrossEntropyDMLLoss, SIZES | {"generator": generator}, variant="generator"),
    Row(losses.CrossEntropyDMLLoss, CLASSIFIER, variant="no_dropout"),
    Row(losses.CrossEntropyDMLLoss, CLASSIFIER | {"smoothing": "torch"}, variant="torch_smoothing"),
    Row(losses.ABELoss, {"num_learners": 2}),
    Row(losses.ABELoss, {"num_learners": 4, "neg_margin": 2.5, "div_margin": 2.0, "div_weight": 0.5}, variant="four"),
    Row(losses.ALMNLoss, {}, {"exempt": FIRST_PAIRS | DETACHED_MARGIN}),
    Row(losses.ALMNLoss, {"beta": 0.8, "detach_margin": False, "scale": 16.0}, {"exempt": FIRST_PAIRS}, "through"),
    Row(losses.ALMNLoss, {"mode": "multiplicative", "detach_margin": False}, {"exempt": FIRST_PAIRS}, "multiplicative"),
    Row(losses.ALMNLoss, {"distance": inner_product}, {"exempt": FIRST_PAIRS | DETACHED_MARGIN}, "raw"),
    Row(losses.LearnerwiseLoss, {"loss": contrastive, "num_learners": 2}),
    Row(losses.LearnerwiseLoss, {"loss": half_width_anchor, "num_learners": 2}, SIZES, "proxies"),
    Row(losses.SimplifiedPairwiseCrossEntropyLoss, {"lambda_": 0.1}, {"fullgraph": True}),
    Row(losses.PairwiseCrossEntropyLoss, {"lambda_": 0.1}, {"fullgraph": True}),
    Row(losses.PairwiseCrossEntropyLoss, {"lambda_": 0.5, "classifier": classifier}, CLASSIFIED, "classifier"),
    Row(losses.HardestContrastiveLoss, {}),
    Row(losses.HardestContrastiveLoss, {"squared_positive": True, "drop_positive_neighbors": True}, variant="released"),
    Row(losses.HardestContrastiveLoss, {"num_candidates": 4, "generator": generator}, variant="subsets"),
    Row(losses.CrossViewAlignmentLoss, {}, VIEWS),
    Row(losses.CrossViewAlignmentLoss, {"kind": "mean"}, VIEWS, "mean"),
    Row(losses.CrossViewAlignmentLoss, {"kind": "moment"}, VIEWS, "moment"),
    Row(losses.CrossViewAlignmentLoss, {"kind": "mmd"}, VIEWS, "mmd"),
    Row(losses.CrossCLRLoss, {}, {"fullgraph": True, "exempt": OPTIONAL_LABELS | CROSSCLR_SCORES}),
    Row(losses.CrossCLRLoss, UNSCORED, {"fullgraph": True, "exempt": OPTIONAL_LABELS}, "unscored"),
    Row(losses.CrossCLRLoss, CROSSCLR_RELEASED, {"fullgraph": True, "exempt": OPTIONAL_LABELS}, "released"),
    Row(losses.JointCrossEntropyLoss),
    Row(losses.JointCrossEntropyLoss, SIZES | {"nu": 1.0, "rho": 3.0}, variant="weighted"),
    Row(losses.HammingAlignmentLoss, {}, CODES),
    Row(losses.HardNegNTXentLoss, {}),
    Row(losses.HardNegNTXentLoss, {"concentration": 0.0}, variant="uniform"),
    Row(losses.HardNegNTXentLoss, {"detach_weights": True}, {"exempt": DETACHED}, "detached"),
    Row(losses.DEMILoss, {}, {"exempt": SUBVIEW}),
    Row(losses.DEMILoss, {"detach_sub": False, "sub_temperature": 0.2}, variant="attached"),
    Row(losses.DEMILoss, {"conditional": "is"}, {"exempt": SUBVIEW}, "importance_sampled"),
    Row(losses.DEMILoss, {"conditional": "is", "detach_sub": False}, variant="importance_sampled_attached"),
    Row(losses.DEMILoss, {"conditional": "label", "cond_weight": 0.5}, CLASSES, "label"),
    Row(losses.DEMILoss, {"critic": bilinear, "sub_critic": half_bilinear}, {"exempt": SUBVIEW}, "critics"),
    Row(losses.PairSupConLoss, SIZES),
    Row(losses.PairSupConLoss, SIZES | {"projection": False, "concentration": 0.0}, variant="uniform"),
]
