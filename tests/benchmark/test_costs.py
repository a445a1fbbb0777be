from __future__ import annotations

from typing import Any

import pytest
import torch

from pml_proxyext.benchmark.costs import CHUNK_SIZE, LOSSES, fit_costs, machine_speed, measure_step

FLOPS, BANDWIDTH = 5e10, 1e10
TRUTH = {"overhead": 2e-3, "efficiency": 0.8, "pair_passes": 11.0, "class_passes": 5.0}
SHAPES = [(16, 1000, 64), (64, 9000, 64), (64, 9000, 512), (256, 2000, 128), (8, 50_000, 256), (32, 1500, 32)]


def records(mode: str, noise: float = 1.0) -> list[dict[str, Any]]:
    """Measurements that follow the formulas of the module."""
    found = []
    for index, (n, c, d) in enumerate(SHAPES):
        products = (8 if mode == "chunked" else 6) * n * c * d / (TRUTH["efficiency"] * FLOPS)
        traffic = 4 * (TRUTH["pair_passes"] * n * c + TRUTH["class_passes"] * c * d) / BANDWIDTH
        kept = n * (min(c, CHUNK_SIZE) if mode == "chunked" else c)
        seconds = (TRUTH["overhead"] + products + traffic) * (noise if index % 2 else 1.0)
        metrics = {"seconds": seconds, "megabytes": 4 * (3.5 * kept + 2.5 * c * d) / 1e6}
        found.append({"mode": mode, "batch": n, "classes": c, "dim": d, "metrics": metrics})
    return found


@pytest.mark.parametrize("mode", ["whole", "chunked"])
def test_fit_finds_the_numbers_that_made_the_measurements(mode: str) -> None:
    fit = fit_costs(records(mode), FLOPS, BANDWIDTH)
    for name, value in TRUTH.items():
        assert getattr(fit, name) == pytest.approx(value, rel=1e-3), name
    assert (fit.pair_floats, fit.class_floats) == (pytest.approx(3.5), pytest.approx(2.5))
    assert fit.time_error < 1e-6
    assert fit.gigabytes(256, 2000, 2000, 128) == pytest.approx(4e-9 * (3.5 * 256 * 2000 + 2.5 * 2000 * 128))
    n, c, d = SHAPES[1]
    whole = fit.overhead + fit.product_seconds(n, c, d, FLOPS) + fit.traffic_seconds(n, c, d, BANDWIDTH)
    assert whole == pytest.approx(records(mode)[1]["metrics"]["seconds"], rel=1e-6)


def test_fit_of_noisy_measurements_has_an_error_and_stays_within_its_bounds() -> None:
    fit = fit_costs(records("whole", noise=0.3), FLOPS, BANDWIDTH)
    assert 0.01 < fit.time_error < 0.7
    assert 0 < fit.efficiency <= 1
    assert min(fit.overhead, fit.pair_passes, fit.class_passes) >= 0


@pytest.mark.parametrize("name", LOSSES)
def test_modes_and_ranks_agree_on_the_value(name: str) -> None:
    shape = {"batch": 12, "classes": 50, "dim": 64, "seed": 0}
    whole = measure_step(name, "whole", ranks=1, **shape)
    assert whole["seconds"] > 0
    for mode, ranks in (("chunked", 1), ("sharded", 3)):
        assert measure_step(name, mode, ranks=ranks, **shape)["value"] == pytest.approx(whole["value"], rel=1e-5)


def test_chunks_need_less_memory() -> None:
    """By 15 MB and more, with room for what else moves the resident size; what the parent has freed is not counted."""
    freed = [torch.zeros(4000) for _ in range(8000)]  # small enough for the allocator to keep them
    _above_them = torch.zeros(4000)  # or they would lie at the end of the heap, which is given back
    del freed
    shape = {"batch": 128, "classes": 40_000, "dim": 32, "ranks": 1, "seed": 0}
    whole, chunked = (measure_step("normalized_softmax", mode, **shape)["megabytes"] for mode in ("whole", "chunked"))
    assert whole > 2 * 4 * 128 * 40_000 / 1e6 * 0.9
    assert chunked < whole - 15


def test_the_machine_has_a_speed() -> None:
    found = machine_speed(size=64, seed=0)
    assert found["flops"] > 1e7
    assert found["bandwidth"] > 1e7
