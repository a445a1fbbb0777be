"""A method as data: loss, miner, sampler, learning rates. What all methods share comes from the data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pml_proxyext.benchmark.networks import TRUNKS
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.utils.checks import check_choice, check_integer, check_number

__all__ = ["Recipe"]


_SMOKE_BATCH, _SMOKE_STEPS = 16, 4


@dataclass(frozen=True)
class Recipe:
    """A method with all its settings.

    Args:
        name: what the command line calls it.
        title: what tables and figures call it.
        loss: the loss; None leaves the network untrained.
        base: the proxy loss that ``loss`` regularises, given to it as ``proxy_loss``.
        miner: chooses the tuples in each batch.
        lr_multipliers: from the beginning of the name of a parameter of the loss to the factor of its learning rate.
            They come on top of the loss's own ``lr_multipliers``; every parameter needs one.
        images_per_class: how many images of a class come into a batch together.
        lr: the learning rate of the network, which the schedule multiplies by factors of at most 1.
        init_from_data: whether the loss starts from the untrained network's embeddings by its ``init_from``.
        compared_with: name of the recipe whose scores this one's are set against, seed by seed.
        keeps_settings: whether a search gives it the settings that it found for ``compared_with`` and tries only its
            own; it does so anyway for a recipe with a base.
        trunk: one of :data:`~pml_proxyext.benchmark.networks.TRUNKS`. This and the next four are None where they are
            to be those of the data set, the same for all methods; see :meth:`completed`.
        embedding_size: width of the embeddings; 0 leaves the trunk's output as it is.
        batch_size: images in a batch.
        weight_decay: of the network.
        steps: batches to train on.
        data: name of the only data set that the recipe is for; None if it is for any.
        regime: optimizer, schedule, what is frozen, and the machine.
    """

    name: str
    title: str
    loss: Part | None
    base: Part | None = None
    miner: Part | None = None
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    images_per_class: int = 1
    lr: float = 3e-3
    init_from_data: bool = False
    compared_with: str | None = None
    keeps_settings: bool = False
    trunk: str | None = None
    embedding_size: int | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    steps: int | None = None
    data: str | None = None
    regime: Regime = field(default_factory=Regime)

    def __post_init__(self) -> None:
        check_integer("images_per_class", self.images_per_class)
        check_number("lr", self.lr, low=0.0, open_low=True)
        if not isinstance(self.init_from_data, bool):
            raise ValueError(f"init_from_data must be True or False, got {self.init_from_data!r}")
        if self.trunk is not None:
            check_choice("trunk", self.trunk, TRUNKS)
        for name, low in (("embedding_size", 0), ("batch_size", 1), ("steps", 0)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low=low)
        if self.weight_decay is not None:
            check_number("weight_decay", self.weight_decay, low=0.0)

    def completed(self, shared: Mapping[str, Any]) -> Recipe:
        """Return the recipe with the fields that are None taken from ``shared``.

        Example:
            >>> shared = {"trunk": "small_cnn", "embedding_size": 64, "batch_size": 96, "weight_decay": 0.0, "steps": 7}
            >>> Recipe("x", "X", Part("pytorch_metric_learning.losses.SupConLoss")).completed(shared).steps
            7
        """
        missing = {name: value for name, value in shared.items() if getattr(self, name) is None}
        completed = dataclasses.replace(self, **cast(Any, missing))
        for name in ("trunk", "embedding_size", "batch_size", "weight_decay", "steps"):
            if getattr(completed, name) is None and completed.loss is not None:
                raise ValueError(f"{name} must be set by the recipe or the data set, got None from {self.name!r}")
        return completed

    def for_smoke(self) -> Recipe:
        """Return the recipe at next to nothing: a few steps of small batches."""
        steps, batch_size = min(cast(int, self.steps), _SMOKE_STEPS), min(cast(int, self.batch_size), _SMOKE_BATCH)
        return dataclasses.replace(self, steps=steps, batch_size=batch_size, regime=self.regime.for_smoke())

    def settings(self) -> dict[str, Any]:
        """Return all that results depend on, defaults of the loss included, as JSON would.

        Of the regime only what departs from the benchmark's own way, so that an option added to it changes nothing.
        """
        unread = {"name", "title", "compared_with", "keeps_settings", "data", "regime"}
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name not in unread}
        for name in ("loss", "base", "miner"):
            part = getattr(self, name)
            if part is not None:
                settings[name] = [part.path, part.settings()]
        departures = self.regime.departures()
        return {**settings, "regime": departures} if departures else settings

    def over_base(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what settings of the base loss's own recipe are called in this one.

        Example:
            >>> base = Part("pytorch_metric_learning.losses.ProxyNCALoss")
            >>> recipe = Recipe("x", "X", Part("pml_proxyext.losses.NIRLoss"), base)
            >>> recipe.over_base({"lr": 0.01, "softmax_scale": 3.0})
            {'lr': 0.01, 'base.softmax_scale': 3.0}
        """
        base = self.base.arguments() if self.base else {}
        return {f"base.{key}" if key in base else key: value for key, value in settings.items()}

    def with_overrides(self, overrides: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other settings.

        Args:
            overrides: from a key to a value. A key is a number or name among the fields (``lr``, ``batch_size``), an
                option of the loss (``nir_weight``), or a field and an option of it with a dot between
                (``base.margin``, ``miner.epsilon``, ``lr_multipliers.proxies``, ``regime.epochs``).

        Raises:
            ValueError: for a key that fits nothing, with the nearest ones that do, and for a value out of range.
        """
        recipe = self
        for key, value in overrides.items():
            recipe = recipe._with_override(key, value)
        return recipe

    def _with_override(self, key: str, value: Any) -> Recipe:
        if "." not in key and key in _PLAIN_FIELDS:
            return dataclasses.replace(self, **{key: value})
        owner, name = key.split(".", 1) if "." in key else ("loss", key)
        check_choice("setting", owner, [*_PLAIN_FIELDS, "loss", "base", "miner", "lr_multipliers", "regime"])
        if owner == "lr_multipliers":
            return dataclasses.replace(self, lr_multipliers={**self.lr_multipliers, name: float(value)})
        if owner == "regime":
            return dataclasses.replace(self, regime=self.regime.with_option(name, value))
        part = getattr(self, owner)
        if not isinstance(part, Part):
            raise ValueError(f"setting must fit the recipe, got {key!r}, but {self.name!r} has no {owner}")
        if owner == "loss" and name not in part.arguments():
            check_choice("setting", name, [*_PLAIN_FIELDS, *part.arguments()])
        changed: dict[str, Any] = {owner: part.with_option(name, value)}
        return dataclasses.replace(self, **changed)


_PLAIN_FIELDS = [
    "images_per_class",
    "lr",
    "init_from_data",
    "trunk",
    "embedding_size",
    "batch_size",
    "weight_decay",
    "steps",
]
