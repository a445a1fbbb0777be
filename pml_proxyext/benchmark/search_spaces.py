"""What the search may change of each recipe: learning rates and batches first, then what the method's paper tunes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pml_proxyext.benchmark.recipes import get_recipe

__all__ = ["Choice", "Dimension", "LogUniform", "Uniform", "search_space"]


class Dimension(Protocol):
    """The values that a setting may take."""

    def at(self, position: float) -> Any:
        """Return the value at a position in [0, 1), where equal lengths are to be equally likely."""


@dataclass(frozen=True)
class Uniform:
    """Numbers from ``low`` to ``high``, to three digits."""

    low: float
    high: float

    def at(self, position: float) -> float:
        return float(f"{self.low + position * (self.high - self.low):.3g}")


@dataclass(frozen=True)
class LogUniform:
    """Positive numbers from ``low`` to ``high``, equal ratios being equally likely, to three digits."""

    low: float
    high: float

    def at(self, position: float) -> float:
        return float(f"{math.exp(math.log(self.low) + position * math.log(self.high / self.low)):.3g}")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    options: tuple[Any, ...]

    def at(self, position: float) -> Any:
        return self.options[int(position * len(self.options))]


_NETWORK = {"lr": LogUniform(5e-4, 1e-2)}
_PAIRS: dict[str, Dimension] = {**_NETWORK, "images_per_class": Choice((2, 4, 8))}
_PROXIES: dict[str, Dimension] = {**_NETWORK, "images_per_class": Choice((1, 2, 4))}
_MARGIN: dict[str, Dimension] = {"beta": Uniform(0.0, 1.0), "detach_margin": Choice((False, True))}
_FEATURE_NORM: dict[str, Dimension] = {"regime.feature_norm": Choice((False, True))}


def _proxies(parameter: str = "proxies", **own: Dimension) -> dict[str, Dimension]:
    return {**_PROXIES, f"lr_multipliers.{parameter}": LogUniform(5.0, 1000.0), **own}


def _distributions(low: float, high: float, **own: Dimension) -> dict[str, Dimension]:
    return {**_proxies(temperature=LogUniform(low, high), norm_multiplier=LogUniform(3.0, 100.0)), **own}


def _flow(low: float, high: float) -> dict[str, Dimension]:
    return {
        "nir_weight": LogUniform(low, high),
        "noise_scale": LogUniform(0.1, 1.0),
        "lr_multipliers.flow": LogUniform(0.1, 10.0),
        "detach_condition": Choice((False, True)),
    }


_SPACES: dict[str, Mapping[str, Dimension]] = {
    "untrained": {},
    "contrastive": {**_PAIRS, "pos_margin": Uniform(0.0, 0.4), "neg_margin": Uniform(0.4, 1.4)},
    "triplet": {**_PAIRS, "margin": LogUniform(0.02, 0.5), "miner.epsilon": LogUniform(0.03, 0.5)},
    "multi_similarity": {**_PAIRS, "beta": LogUniform(4.0, 80.0), "base": Uniform(0.2, 0.9)},
    "ntxent": {**_PAIRS, "temperature": LogUniform(0.03, 0.6)},
    "supcon": {**_PAIRS, "temperature": LogUniform(0.03, 0.6)},
    "proxy_nca": _proxies(softmax_scale=LogUniform(1.0, 32.0)),
    "proxy_anchor": _proxies(alpha=LogUniform(4.0, 64.0), margin=Uniform(0.0, 0.3)),
    "soft_triple": _proxies("fc", la=LogUniform(2.0, 40.0), gamma=LogUniform(0.03, 0.5)),
    "normalized_softmax": _proxies("W", temperature=LogUniform(0.03, 0.6)),
    "arcface": _proxies("W", scale=LogUniform(2.0, 64.0), margin=Uniform(1.0, 30.0)),
    # The release trains the classifier at the rate of the network, and ends some networks in batch norm.
    "cross_entropy": {
        **_PROXIES,
        "lr_multipliers.proxies": LogUniform(0.1, 100.0),
        "label_smoothing": Uniform(0.0, 0.3),
        "dropout": Uniform(0.0, 0.6),
        **_FEATURE_NORM,
    },
    "pairwise_cross_entropy": {**_PAIRS, "lambda_": LogUniform(0.01, 1.0), **_FEATURE_NORM},
    "simplified_pairwise_cross_entropy": {**_PAIRS, "lambda_": LogUniform(0.01, 1.0), **_FEATURE_NORM},
    "npairs": {**_PAIRS, "embedding_reg_weight": LogUniform(0.002, 0.2)},
    "npairs_normalized": {**_PAIRS, "scale": LogUniform(4.0, 64.0)},
    "almn": _MARGIN,
    "almn_normalized": _MARGIN,
    "el_nivmf": _distributions(0.5, 32.0),
    "el_nivmf_guided": _distributions(0.5, 32.0, guidance_weight=LogUniform(0.1, 5.0)),
    "nivmf": _distributions(0.5, 32.0),
    "el_vmf": _distributions(0.5, 32.0),
    "b_vmf": _distributions(0.25, 16.0),
    "kl_vmf": _distributions(0.5, 32.0),
    "nivmf_l2": _distributions(10.0, 1000.0),
    "cosine": _proxies(temperature=LogUniform(0.03, 1.0)),
}


def search_space(name: str) -> Mapping[str, Dimension]:
    """Return the settings of a recipe that are searched, as keys of ``Recipe.with_overrides``, and their values.

    A loss over a base, or one that keeps the settings that the search chose for another, has only its own searched.

    Raises:
        ValueError: for an unknown name, and for a recipe that has no space.
    """
    recipe = get_recipe(name)
    if recipe.base is not None:
        likelihood = recipe.loss.options.get("likelihood") if recipe.loss else None
        return _flow(1e-3, 1.0) if likelihood == "exp" else _flow(0.03, 3.0)
    if name not in _SPACES:
        raise ValueError(f"recipe must be one with a search space, {', '.join(_SPACES)}, got {name!r}")
    return _SPACES[name]
