"""The losses that are compared on crops of pictures: contrasts of views and of a crop of a view, and DEMI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.networks import SmallCNN
from pml_proxyext.benchmark.search_spaces import Dimension, LogUniform
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.losses import DEMILoss, HardNegNTXentLoss

__all__ = ["METHODS", "UNTRAINED", "WIDTH", "Encoded", "Method", "Untrained", "small_encoder"]


_CHANNELS = (16, 32, 64, 128)

#: How many features the network gives.
WIDTH = _CHANNELS[-1]


def small_encoder() -> nn.Module:
    """Return the network, whose features are means over its last maps, of pictures of any size."""
    network = SmallCNN(3, _CHANNELS)
    network[-1] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # in place of all positions
    return network


class Encoded(NamedTuple):
    """What the networks make of a batch, row by row of the same pictures.

    Attributes:
        view, other: both views by the head of the whole; ``view`` is None for methods that do not look at it.
        part: the crop of ``view`` by the head of the part; None for methods without.
        other_of_part: the other view by that head.
    """

    view: Tensor | None
    other: Tensor
    part: Tensor | None
    other_of_part: Tensor


class _Contrast(nn.Module):
    """InfoNCE with the other views of the batch as candidates, of anchors that are views, crops, or both."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.loss = HardNegNTXentLoss(temperature, concentration=0.0)

    def forward(self, encoded: Encoded) -> Tensor:
        rows = torch.arange(len(encoded.other))
        pairs = [(encoded.view, encoded.other), (encoded.part, encoded.other_of_part)]
        terms = [self.loss(a, rows, ref_emb=b, ref_labels=rows.clone()) for a, b in pairs if a is not None]
        return torch.stack(terms).sum()


class _DEMI(nn.Module):
    """DEMI with the crop as subview, each term by its own head."""

    def __init__(self, temperature: float, conditional: Literal["boosted", "is"]) -> None:
        super().__init__()
        self.loss = DEMILoss(conditional=conditional, temperature=temperature)

    def forward(self, encoded: Encoded) -> Tensor:
        rows = torch.arange(len(encoded.other))
        return self.loss(
            encoded.view,
            rows,
            ref_emb=encoded.other,
            ref_labels=rows.clone(),
            sub_emb=encoded.part,
            sub_ref_emb=encoded.other_of_part,
        )


@dataclass(frozen=True)
class Method:
    """A loss.

    Args:
        title: what tables and figures call it.
        make: returns the loss of :class:`Encoded` from its temperature.
        needs_view: whether it looks at whole views as anchors.
        needs_part: whether it looks at crops of them as anchors.
        compared_with: names of the methods that it is set against, seed by seed.
    """

    title: str
    make: Callable[[float], nn.Module]
    needs_view: bool = True
    needs_part: bool = True
    compared_with: tuple[str, ...] = ()

    def trials(self, budget: int) -> list[dict[str, Any]]:
        """Return the settings to try, the same for all methods: the first by hand, then points of a sequence."""
        space: dict[str, Dimension] = {"lr": LogUniform(1e-3, 1e-2), "temperature": LogUniform(0.05, 0.5)}
        return [{"lr": 3e-3, "temperature": 0.1}, *draw_settings(space, budget - 1, "self-supervised")]


#: The methods by name. "infonce_crop" is DEMI without its conditional part.
METHODS: dict[str, Method] = {
    "infonce": Method("InfoNCE of two views", _Contrast, needs_part=False),
    "infonce_crop": Method("InfoNCE of crop and view", _Contrast, needs_view=False, compared_with=("infonce",)),
    "multi_crop": Method("Multi-crop InfoNCE", _Contrast, compared_with=("infonce",)),
    "demi_boosted": Method(
        "DEMI, boosted", partial(_DEMI, conditional="boosted"), compared_with=("infonce", "multi_crop")
    ),
    "demi_is": Method(
        "DEMI, importance sampling", partial(_DEMI, conditional="is"), compared_with=("infonce", "multi_crop")
    ),
}


@dataclass(frozen=True)
class Untrained:
    """What learns nothing.

    Args:
        title: what tables and figures call it.
        make: returns the network.
    """

    title: str
    make: Callable[[], nn.Module]


#: To compare with: the network with random weights, and the pixels themselves.
UNTRAINED = {
    "untrained": Untrained("Untrained network", small_encoder),
    "pixels": Untrained("Pixels", nn.Flatten),
}
