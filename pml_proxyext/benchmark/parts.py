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
        options: keyword arguments of the class; a part among them is made with it.

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

    def arguments(self) -> dict[str, inspect.Parameter]:
        """Return the arguments that the class takes by name, inherited ones included."""
        arguments: dict[str, inspect.Parameter] = {}
        for cls in self.target().__mro__:
            parameters = inspect.signature(cls).parameters if "__init__" in vars(cls) else {}
            kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            own = {name: parameter for name, parameter in parameters.items() if parameter.kind not in kinds}
            arguments = own | arguments  # a subclass may have another default
            if parameters and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                break
        return arguments

    def settings(self) -> dict[str, str]:
        """Return the value of every argument that has one, options before the class's defaults, as text."""
        plain = (bool, int, float, str, type(None))  # the text of other objects may hold their address
        defaults = {name: p.default for name, p in self.arguments().items() if isinstance(p.default, plain)}
        return {name: repr(value) for name, value in {**defaults, **self.options}.items()}

    def with_option(self, name: str, value: Any) -> Part:
        """Return the part with another option, or raise ValueError if its class has no such argument."""
        check_choice(f"option of {self.path.rsplit('.', 1)[1]}", name, self.arguments())
        return Part(self.path, {**self.options, name: value})

    def make(self, **arguments: Any) -> Any:
        """Make the object from the options and those of ``arguments`` that its class takes."""
        taken = set(self.arguments())
        own = {name: value.make() if isinstance(value, Part) else value for name, value in self.options.items()}
        return self.target()(**{name: value for name, value in arguments.items() if name in taken}, **own)
