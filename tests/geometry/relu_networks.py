"""Networks for the tests of linear regions: those of the fixtures, and small ones drawn at random."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FIXTURES = json.loads((Path(__file__).parents[1] / "golden" / "ot.json").read_text())


def fixture_network(case: dict[str, Any]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, bias in zip(case["W"], case["b"], strict=True):
        linear = nn.Linear(len(weight[0]), len(bias), dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            linear.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def filled(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Draw every parameter and statistic anew, and leave training mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale)
                if "running_var" in name:
                    tensor.abs_().add_(0.5)
    return module.eval()


def mlp(widths: Sequence[int], seed: int = 0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source, target in pairwise(widths):
        layers += [nn.Linear(source, target, dtype=torch.float64), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    filled(network, seed)
    return network


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
