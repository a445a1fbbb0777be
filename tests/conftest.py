"""What tests of several rooms share: profiles of Hypothesis, the released numbers of NIR, and its flow with them.

``make nightly`` searches the property tests for an hour, not for a minute.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from pml_proxyext.flows import ConditionalFlow

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, database=None, suppress_health_check=SLOW_TO_DRAW
)
settings.register_profile("nightly", deadline=None, max_examples=2000, suppress_health_check=SLOW_TO_DRAW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

NIR_FIXTURES = [path.stem for path in sorted((Path(__file__).parent / "golden").glob("nir_*.json"))]


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Give torchvision, with whatever build of torch."""
    found = runpy.run_path(str(Path(__file__).parent / "with_torchvision.py"))["import_torchvision"]()
    if found is None:
        pytest.skip("torchvision is not installed")
    return found


def _fill(net: nn.Module, layers: list[dict[str, list[float]]]) -> None:
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    for linear, layer in zip(linears, layers, strict=True):
        linear.load_state_dict({name: _tensor(layer[name]) for name in ("weight", "bias")})


def _tensor(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.fixture(params=NIR_FIXTURES)
def released_nir(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Give what the authors' code of NIR computed, and a flow in float64 with the weights it had."""
    path = Path(__file__).parent / "golden" / f"{request.param}.json"
    numbers = json.loads(path.read_text())
    for name in ("embeddings", "proxies_raw", "latents", "log_det", "nll_per_sample", "grad_embeddings"):
        numbers[name] = _tensor(numbers[name])
    numbers["grad_proxies_raw"] = _tensor(numbers["grad_proxies_raw"])
    numbers["labels"] = torch.tensor(numbers["labels"])
    sizes = numbers["flow"]
    numbers["flow_arguments"] = {
        "n_blocks": sizes["n_blocks"],
        "n_layers": sizes["fc_depth"],
        "hidden_size": sizes["fc_width"],
        "clamp": sizes["clamp"],
        "condition_mode": sizes["cond_mode"],
    }
    flow = ConditionalFlow(numbers["D"], numbers["D"], **numbers["flow_arguments"]).double()
    for block, weights in zip(flow.blocks, sizes["blocks"], strict=True):
        assert block.permutation.tolist() == weights["permutation"]
        _fill(block.second_moves_first, weights["subnet2_first"])
        _fill(block.first_moves_second, weights["subnet1_second"])
    for embedder, layers in zip(flow.embedders, sizes["cond_embedders"] or [], strict=True):
        _fill(embedder, layers)
    return SimpleNamespace(**{**numbers, "flow": flow})
