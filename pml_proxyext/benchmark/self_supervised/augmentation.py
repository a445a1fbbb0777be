"""Random crops and colours of whole batches of pictures, as tensor operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pml_proxyext.utils.checks import check_number

__all__ = ["change_colours", "colour_matrices", "crop", "random_boxes", "random_colours", "random_crops"]

# What strength 1 is: the largest changes, in the order of the columns that random_colours draws. Greys are in [0, 1],
# a hue goes round in one turn.
_CONTRAST, _SATURATION, _HUE, _BRIGHTNESS = 0.8, 0.8, 0.2, 0.4


def random_boxes(
    count: int,
    area: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return boxes ``(count, 4)`` inside the square :math:`[-1, 1]^2`: centre (x, y), half width and half height.

    Args:
        count: how many.
        area: least and largest share of the square, uniform in between.
        ratio: least and largest ratio of width to height, its logarithm being uniform. A side that would be longer
            than the square's is as long as that; the box is smaller then.
        generator: of the draws; None for torch's.

    Raises:
        ValueError: for shares outside (0, 1] or ratios that are not positive, and for bounds in the wrong order.
    """
    least, most = area
    check_number("area", least, low=0.0, high=most, open_low=True)
    check_number("area", most, low=0.0, high=1.0, open_low=True)
    narrow, wide = ratio
    check_number("ratio", narrow, low=0.0, high=wide, open_low=True)
    check_number("ratio", wide, low=0.0, open_low=True)
    share, shape, *position = torch.rand(4, count, generator=generator).unbind(0)
    half = (least + (most - least) * share).sqrt()
    stretch = (math.log(narrow) + math.log(wide / narrow) * shape).div(2).exp()
    sides = torch.stack([half * stretch, half / stretch], dim=1).clamp(max=1.0)
    centres = (2 * torch.stack(position, dim=1) - 1) * (1 - sides)
    return torch.cat([centres, sides], dim=1)


def crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return what is in the boxes as squares of ``size`` pixels, by bilinear interpolation.

    Nothing is smoothed before: crops that are more than twice as wide as ``size`` would alias.

    Args:
        images: ``(N, C, H, W)`` floating point.
        boxes: ``(N, 4)``, see :func:`random_boxes`.
        size: of the crops.

    Returns:
        ``(N, C, size, size)``.
    """
    theta = boxes.new_zeros(len(boxes), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = boxes[:, 2], boxes[:, 3], boxes[:, :2]
    grid = affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return grid_sample(images, grid.to(images), padding_mode="border", align_corners=False)


def random_crops(
    images: Tensor, size: int, area: tuple[float, float], generator: torch.Generator | None = None
) -> Tensor:
    """Return one random crop of each image, see :func:`random_boxes` and :func:`crop`."""
    return crop(images, random_boxes(len(images), area, generator=generator).to(images), size)


def colour_matrices(contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    r"""Return the matrices ``(N, 3, 3)`` that change colours, seen as vectors from the grey in the middle.

    .. math::
        M = a \left(P + s \left(\cos\theta\, (I - P) + \sin\theta\, K\right)\right)

    with :math:`P` the projection to the greys, :math:`K` the quarter turn about them, :math:`a` the contrast,
    :math:`s` the saturation, and :math:`\theta` the hue, in turns.
    """
    grey = torch.full((3, 3), 1 / 3)
    turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    contrast, saturation, angle = (one[:, None, None] for one in (contrast, saturation, 2 * math.pi * hue))
    return contrast * (grey + saturation * (angle.cos() * (torch.eye(3) - grey) + angle.sin() * turn))


def change_colours(images: Tensor, matrices: Tensor, brightness: Tensor) -> Tensor:
    """Return images ``(N, 3, H, W)`` of colours changed by ``(N, 3, 3)`` and ``(N,)``, cut off at 0 and 1."""
    changed = torch.einsum("nij,njhw->nihw", matrices, images - 0.5)
    return (changed + (0.5 + brightness)[:, None, None, None]).clamp(0.0, 1.0)


def random_colours(
    images: Tensor, strength: float, grey_share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Return images with random contrast, saturation, hue and brightness.

    Args:
        images: ``(N, 3, H, W)`` floating point in [0, 1].
        strength: 0 for no change but to grey; 1 for factors of contrast and saturation from 0.2 to 1.8, hues up to a
            fifth of a turn either way, and brightness up to 0.4 more or less.
        grey_share: how often an image becomes grey.
        generator: of the draws; None for torch's.
    """
    check_number("strength", strength, low=0.0, high=1.0)
    check_number("grey_share", grey_share, low=0.0, high=1.0)
    drawn = torch.rand(5, len(images), generator=generator)
    contrast, saturation, hue, brightness = 2 * drawn[:4] - 1
    saturation = torch.where(drawn[4] < grey_share, 0.0, 1 + _SATURATION * strength * saturation)
    matrices = colour_matrices(1 + _CONTRAST * strength * contrast, saturation, _HUE * strength * hue)
    return change_colours(images, matrices.to(images), (_BRIGHTNESS * strength * brightness).to(images))
