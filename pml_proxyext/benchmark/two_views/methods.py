"""The losses that are compared, with the settings that a search may choose for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from pml_proxyext.benchmark.search_spaces import Dimension, LogUniform, Uniform
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.benchmark.two_views.losses import BothDirections, DebiasedLoss, LearnedScale, MaxMarginLoss
from pml_proxyext.losses import CrossCLRLoss, HardNegNTXentLoss

__all__ = ["METHODS", "PLAIN", "Method"]

_Settings = Mapping[str, tuple[float, Dimension]]

# Of all methods alike: the learning rate, and the share of the inputs that the networks do not see.
_SHARED: _Settings = {
    "lr": (3e-3, LogUniform(1e-3, 3e-2)),
    "dropout": (0.3, Uniform(0.0, 0.7)),
}


@dataclass(frozen=True)
class Method:
    """A loss.

    Args:
        title: what tables and figures call it.
        make: returns the loss, called as CrossCLRLoss is, from its own settings.
        own: its settings beyond those of all methods: what each is at first, and what it may be.
        compared_with: name of the method whose scores this one's are set against, seed by seed.
    """

    title: str
    make: Callable[..., nn.Module]
    own: _Settings
    compared_with: str | None

    def trials(self, budget: int) -> list[dict[str, Any]]:
        """Return the settings to try: those to begin with, then points that methods have in common.

        All methods try the same learning rates and dropouts with one another, and the same temperatures, so that none
        is better than another by the luck of the draw alone.
        """
        known = {**_SHARED, **self.own}
        first = {name: value for name, (value, _) in known.items()}
        space = {name: dimension for name, (_, dimension) in known.items()}
        return [first, *draw_settings(space, budget - 1, "two views")]


_TEMPERATURE: _Settings = {"temperature": (0.1, LogUniform(0.03, 0.5))}
# What CrossCLR adds to the contrast, each with the paper's value on YouCook2.
_INTRA: _Settings = {"negative_weight": (0.8, LogUniform(0.1, 3.0))}
_WEIGHTS: _Settings = {"weight_scale": (0.0035, LogUniform(0.001, 0.03))}
_PRUNING: _Settings = {"prune_threshold": (0.9, Uniform(0.7, 1.0))}


def _ntxent(temperature: float) -> nn.Module:
    return BothDirections(HardNegNTXentLoss(temperature, concentration=0.0))


def _clip(temperature: float) -> nn.Module:
    return BothDirections(HardNegNTXentLoss(1.0, concentration=0.0, distance=LearnedScale(temperature)))


def _max_margin(margin: float) -> nn.Module:
    return BothDirections(MaxMarginLoss(margin))


def _debiased(temperature: float, positive_share: float) -> nn.Module:
    return BothDirections(DebiasedLoss(temperature, positive_share))


def _crossclr(title: str, *parts: _Settings, base: str | None) -> Method:
    """Return CrossCLR with these parts and no others."""
    own = {name: value for part in (_TEMPERATURE, *parts) for name, value in part.items()}
    without: dict[str, Any] = {}
    if _INTRA not in parts:
        without["intra_modality"] = False
    if _WEIGHTS not in parts:
        without["weighting"] = "none"
    if _PRUNING not in parts:
        without["prune_threshold"] = None
    return Method(title, partial(CrossCLRLoss, **without), own, base)


#: Name of the method that CrossCLR's ideas are added to.
PLAIN = "crossclr_plain"
_FULL = "crossclr"

#: The methods by name.
METHODS: dict[str, Method] = {
    "max_margin": Method("Max-margin", _max_margin, {"margin": (0.2, LogUniform(0.05, 0.8))}, _FULL),
    "ntxent": Method("NT-Xent", _ntxent, _TEMPERATURE, _FULL),
    "clip": Method("CLIP: learned temperature", _clip, _TEMPERATURE, _FULL),
    "dcl": Method(
        "DCL: debiased",
        _debiased,
        {**_TEMPERATURE, "positive_share": (0.01, LogUniform(0.0003, 0.1))},
        _FULL,
    ),
    PLAIN: _crossclr("CrossCLR without its three ideas", base=None),
    "crossclr_intra": _crossclr("+ intra-modality", _INTRA, base=PLAIN),
    "crossclr_weights": _crossclr("+ weights", _WEIGHTS, base=PLAIN),
    "crossclr_pruning": _crossclr("+ pruning", _PRUNING, base=PLAIN),
    "crossclr_intra_weights": _crossclr("+ intra-modality, weights", _INTRA, _WEIGHTS, base=PLAIN),
    _FULL: _crossclr("CrossCLR", _INTRA, _WEIGHTS, _PRUNING, base=PLAIN),
}
