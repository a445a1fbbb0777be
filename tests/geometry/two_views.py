"""Scenes with a known truth, and the stored numbers, for the tests of geometry between two views."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HOMOGRAPHY = torch.tensor([[1.0, 0.1, 5.0], [-0.05, 0.9, 3.0], [1e-4, 2e-4, 1.0]], dtype=torch.float64)
CAMERA = torch.tensor([[500.0, 0.0, 320.0], [0.0, 480.0, 240.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def stored(kind: str) -> Any:
    return json.loads((Path(__file__).parents[1] / "golden" / "sgp.json").read_text())[kind]


def doubles(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def rotation(seed: int, degrees: float | None = None) -> Tensor:
    """Return a rotation about a random axis, by ``degrees`` or by any angle."""
    axis = torch.nn.functional.normalize(normal(3, seed=seed), dim=0)
    angle = float(uniform(1, seed=seed + 1)) * 3 if degrees is None else math.radians(degrees)
    cross = torch.linalg.cross(torch.eye(3).double(), axis.expand(3, 3))
    return torch.eye(3).double() + math.sin(angle) * cross + 2 * math.sin(angle / 2) ** 2 * cross @ cross


def same_rows(count: int) -> Tensor:
    return torch.arange(count)[:, None].repeat(1, 2)


def project(points: Tensor) -> Tensor:
    return points[:, :2] / points[:, 2:]


def apply(matrix: Tensor, point: list[float]) -> list[float]:
    """Move one point by scalars alone: the witness of the vectorised transfer."""
    lifted = [*point, 1.0]
    moved = [sum(entry * x for entry, x in zip(row, lifted, strict=True)) for row in matrix.tolist()]
    return [coordinate / moved[-1] for coordinate in moved[:-1]]
