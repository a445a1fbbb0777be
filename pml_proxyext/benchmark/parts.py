"""Losses and miners by name and options, so that a recipe is data that can be changed, compared and sent around."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pml_proxyext.utils.checks import check_choice

__all__ = ["Part"]


@dataclass(frozen=True)
class Part:
    """An object to be made when a run starts.

    Args:
        path: where its class is, as in ``"pytorch_metric_learning.losses.SupConLoss"``.
        options: keyword arguments of the class.

    Example:
        >>> Part("pytorch_metric_learning.losses.SupConLoss", {"temperature": 0.1}).make().temperature
        0.1
    """

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def target(self) -> type[Any]:
        """Import the class."""
        module, name = self.path.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)

    def argument_names(self) -> list[str]:
        """Return the names of the arguments that the class takes, inherited ones included."""
        names: dict[str, None] = {}
        for cls in self.target().__mro__:
            parameters = inspect.signature(cls).parameters if "__init__" in vars(cls) else {}
            kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            names |= dict.fromkeys(name for name, parameter in parameters.items() if parameter.kind not in kinds)
            if parameters and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                break
        return list(names)

    def with_option(self, name: str, value: Any) -> Part:
        """Return the part with another option, or raise ValueError if its class has no such argument."""
        check_choice(f"option of {self.path.rsplit('.', 1)[1]}", name, self.argument_names())
        return Part(self.path, {**self.options, name: value})

    def make(self, **arguments: Any) -> Any:
        """Make the object from the options and those of ``arguments`` that its class takes."""
        taken = set(self.argument_names())
        return self.target()(**{name: value for name, value in arguments.items() if name in taken}, **self.options)
