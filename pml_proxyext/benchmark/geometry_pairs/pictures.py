"""Pairs of pictures that a known homography connects, the second one with part of its contrast turned round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pml_proxyext.benchmark.datasets.retrieval_set import hash_order
from pml_proxyext.trainers import PointPair
from pml_proxyext.utils.checks import import_optional

__all__ = [
    "PATCH",
    "SIDE",
    "TEST_PICTURES",
    "TRAIN_PICTURES",
    "PicturePair",
    "normalized_patches",
    "picture_pair",
    "picture_pairs",
    "read_picture",
]

SIDE = 288  # of a picture, in pixels
PATCH = 16  # side of a patch, which the network is given
_REGION = 32  # of the picture that a patch shows
_PULL = 0.05  # of the corners, in sides
_NOISE = 10  # standard deviation, in bytes
_MAX_POINTS, _MIN_DISTANCE = 300, 6  # of corners in a picture, and in pixels between two of them

_BytePicture = npt.NDArray[np.uint8]

# Pictures that are inside the wheel of scikit-image: reading them needs no connection.
_FILES = [
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
]
_ORDER = [_FILES[i] for i in hash_order([f"pictures:{Path(name).stem}" for name in _FILES])]

#: Eleven to train on and seven others to test on, in an order in which what they show has no part.
TRAIN_PICTURES, TEST_PICTURES = _ORDER[:11], _ORDER[11:]


@dataclass(frozen=True, eq=False)
class PicturePair:
    """Two pictures of one scene ``(SIDE, SIDE)`` in bytes, and their corners with the patches around them."""

    picture_a: _BytePicture
    picture_b: _BytePicture
    corners: PointPair


def read_picture(name: str) -> _BytePicture:
    """Return the middle of one of scikit-image's pictures, in grey, ``(SIDE, SIDE)`` bytes.

    Raises:
        ImportError: without scikit-image; the message names the extra.
    """
    folder = Path(import_optional("skimage", "geometry").__path__[0]) / "data"
    with Image.open(folder / name) as image:
        grey = image.convert("L")
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side)))


def picture_pairs(names: Sequence[str], per_picture: int, seed: int) -> list[PicturePair]:
    """Return pairs of views of each picture.

    The second view is warped by a random homography: turned by up to 12 degrees, scaled by up to a tenth, moved, and
    its corners pulled apart. Then its grey values are folded at a random one, so that what is brighter than that gets
    the darker the brighter it was, and noise is added. Points are corners of each picture on its own. Patches stand
    upright and have mean 0 and length 1.

    Raises:
        ImportError: without OpenCV or scikit-image; the message names the extra.
    """
    return [picture_pair(name, [seed, number]) for name in names for number in range(per_picture)]


def picture_pair(name: str, seeds: Sequence[int]) -> PicturePair:
    """Return one of :func:`picture_pairs`."""
    position = _ORDER.index(name)
    return _pair(read_picture(name), np.random.default_rng([position, *seeds]))


def _pair(picture: _BytePicture, generator: np.random.Generator) -> PicturePair:
    cv2 = import_optional("cv2", "geometry")
    homography = _homography(cv2, generator)
    size = (SIDE, SIDE)
    warped = cv2.warpPerspective(picture, homography, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    inside = cv2.warpPerspective(np.full_like(picture, 255), homography, size, flags=cv2.INTER_NEAREST)
    second = _solarised(warped, generator)
    points_a, data_a = _corners(cv2, picture, np.full_like(picture, 255))
    points_b, data_b = _corners(cv2, second, inside)
    truth = torch.from_numpy(homography)
    return PicturePair(picture, second, PointPair(points_a, points_b, data_a, data_b, truth))


def _homography(cv2: Any, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    angle, scale = np.deg2rad(generator.uniform(-12, 12)), generator.uniform(0.9, 1.1)
    centred = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * SIDE / 2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (
        centred @ turn.T + generator.uniform(-0.05, 0.05, 2) * SIDE + generator.uniform(-_PULL, _PULL, (4, 2)) * SIDE
    )
    corners = (np.float32(centred + SIDE / 2), np.float32(moved + SIDE / 2))
    return np.asarray(cv2.getPerspectiveTransform(*corners), dtype=np.float64)


def _solarised(picture: _BytePicture, generator: np.random.Generator) -> _BytePicture:
    values = picture / 255.0
    fold = np.quantile(values, generator.uniform(0.3, 0.7))
    folded = fold - np.abs(values - fold)
    folded = (folded - folded.min()) / max(np.ptp(folded), 1e-3)
    return np.clip(255 * folded + generator.normal(0, _NOISE, folded.shape), 0, 255).astype(np.uint8)


def _corners(cv2: Any, picture: _BytePicture, mask: _BytePicture) -> tuple[Tensor, Tensor]:
    """Return corners ``(N, 2)`` as x and y, and the patches around them ``(N, PATCH * PATCH)``."""
    frame = np.zeros_like(mask)
    half = _REGION // 2
    frame[half:-half, half:-half] = 255
    mask = cv2.erode(mask, np.ones((_REGION, _REGION), np.uint8)) & frame
    found = cv2.goodFeaturesToTrack(cv2.GaussianBlur(picture, (0, 0), 1), _MAX_POINTS, 0.005, _MIN_DISTANCE, mask=mask)
    points = found.reshape(-1, 2) if found is not None else np.empty((0, 2), np.float32)
    patches = [cv2.getRectSubPix(picture, (_REGION, _REGION), tuple(map(float, point))) for point in points]
    small = np.array([cv2.resize(patch, (PATCH, PATCH), interpolation=cv2.INTER_AREA) for patch in patches])
    return torch.from_numpy(points), normalized_patches(torch.from_numpy(small).float().flatten(1))


def normalized_patches(patches: Tensor) -> Tensor:
    """Return the rows with mean 0 and length 1; a flat one is zero.

    The product of two of them is their correlation.
    """
    return torch.nn.functional.normalize(patches - patches.mean(1, keepdim=True), dim=1)
