"""PML's losses on the same trunk: Proxy Anchor by its release, others as in "Revisiting Training Strategies".

Sources: github.com/tjddus9597/Proxy-Anchor-CVPR2020 (`README.md`, `code/train.py`) for Proxy Anchor, whose lines with
ResNet-50 are for CUB200 and Cars196; those for Stanford Online Products and In-Shop are for another trunk and used with
this one. github.com/Confusezius/Revisiting_Deep_Metric_Learning_PyTorch (`parameters.py`) for the others, of which the
number of epochs on Stanford Online Products, 100, is from memory, unconfirmed.
"""

from __future__ import annotations

from typing import Any

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.papers.common import PROTOCOL, epoch_steps, ours, pml
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import MultiStep

__all__ = ["BASELINE_RECIPES"]

_NETWORK: dict[str, Any] = {"pretrained": True, "views": Views(), **PROTOCOL}

# Proxy Anchor: epochs between two decays, their factor, epochs of warm-up, learning rate, frozen statistics, batch.
_PROXY_ANCHOR = {
    "cub200": (5, 0.5, 5, 1e-4, True, 120),
    "cars196": (10, 0.5, 5, 1e-4, True, 120),
    "sop": (20, 0.25, 1, 6e-4, False, 180),
    "inshop": (20, 0.25, 1, 6e-4, False, 180),
}


def _proxy_anchor(data: str) -> Recipe:
    decay, factor, warm_up, lr, frozen, batch_size = _PROXY_ANCHOR[data]
    regime = Regime(
        epochs=60,
        evaluations=60 if frozen else 12,
        schedule=MultiStep(tuple(range(decay, 60, decay)), factor),
        clip_value=10.0,
        warm_up_epochs=warm_up,
        sampling="shuffled",
        frozen_batch_norm=frozen,
        **_NETWORK,
    )
    return Recipe(
        f"proxy_anchor_{data}",
        "Proxy Anchor, 512 dimensions",
        ours("ProxyAnchorLoss"),
        lr_multipliers={"proxies": 100.0},
        lr=lr,
        trunk="resnet50_avg_max",
        embedding_size=512,
        batch_size=batch_size,
        weight_decay=1e-4,
        steps=60 * epoch_steps(data, batch_size),
        data=data,
        regime=regime,
    )


_MINER = pml("miners.DistanceWeightedMiner", cutoff=0.5, nonzero_loss_cutoff=1.4)

# Title, loss, miner, and learning rates of the loss's parameters as multiples of the network's 1e-5.
_OTHERS: dict[str, tuple[str, Part, Part | None, dict[str, float]]] = {
    "contrastive": ("Contrastive", pml("losses.ContrastiveLoss", pos_margin=0, neg_margin=1), _MINER, {}),
    "triplet": ("Triplet", pml("losses.TripletMarginLoss", margin=0.2), _MINER, {}),
    "margin": (
        "Margin",
        pml("losses.MarginLoss", margin=0.2, beta=1.2, learn_beta=True),
        _MINER,
        {"beta": 50.0},
    ),
    "multi_similarity": ("Multi-Similarity", pml("losses.MultiSimilarityLoss", alpha=2, beta=40, base=0.5), None, {}),
    "proxy_nca": ("ProxyNCA", pml("losses.ProxyNCALoss"), None, {"proxies": 50.0}),
    "soft_triple": (
        "SoftTriple",
        pml("losses.SoftTripleLoss", centers_per_class=2, la=8, gamma=0.1, margin=0.01),
        None,
        {"fc": 1.0},
    ),
    "normalized_softmax": (
        "Normalized Softmax",
        pml("losses.NormalizedSoftmaxLoss", temperature=0.05),
        None,
        {"W": 1.0},
    ),
    "arcface": ("ArcFace", pml("losses.ArcFaceLoss", margin=28.6479, scale=16), None, {"W": 50.0}),  # half a radian
}


def _other(name: str, data: str) -> Recipe:
    title, loss, miner, multipliers = _OTHERS[name]
    epochs = 100 if data == "sop" else 150
    regime = Regime(
        epochs=epochs,
        evaluations=epochs // 10,
        optimizer=Part("torch.optim.Adam"),
        schedule=MultiStep(),
        frozen_batch_norm=True,
        **_NETWORK,
    )
    return Recipe(
        f"{name}_{data}",
        f"{title}, 128 dimensions",
        loss,
        miner=miner,
        lr_multipliers=multipliers,
        images_per_class=2,
        lr=1e-5,
        trunk="resnet50",
        embedding_size=128,
        batch_size=112,
        weight_decay=4e-4,
        steps=epochs * epoch_steps(data, 112),
        data=data,
        regime=regime,
    )


def _untrained(data: str) -> Recipe:
    """Return the network as ImageNet left it: a method below it has unlearned what it was given."""
    return Recipe(
        f"imagenet_{data}",
        "ImageNet, 2048 dimensions",
        None,
        trunk="resnet50",
        embedding_size=0,
        steps=0,
        data=data,
        regime=Regime(**_NETWORK),
    )


#: Proxy Anchor and the untrained network for each data set, the others for all but In-Shop.
BASELINE_RECIPES = [
    *(_untrained(data) for data in _PROXY_ANCHOR),
    *(_proxy_anchor(data) for data in _PROXY_ANCHOR),
    *(_other(name, data) for data in ("cub200", "cars196", "sop") for name in _OTHERS),
]
