"""NIR's forms of the likelihood, from the flow's own latents and the determinants of its Jacobians."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch.nn.functional import normalize

from pml_proxyext.bounds import REGISTRY, BoundBatch
from pml_proxyext.bounds.families import own_nir
from pml_proxyext.losses import NIRLoss, ProxyAnchorLoss


def random_batch(**hyper: float) -> BoundBatch:
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return BoundBatch(rows[:5], torch.tensor([0, 1, 1, 2, 2]), rows[5:], hyper)


@pytest.fixture
def built() -> Iterator[list[NIRLoss]]:
    """Collect the losses that the relations build."""
    losses: list[NIRLoss] = []

    class Watched(NIRLoss):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            losses.append(self)

    with patch.object(own_nir, "NIRLoss", Watched):
        yield losses


def likelihoods(loss: NIRLoss, batch: BoundBatch) -> list[float]:
    """Give the negative log-likelihoods, sample by sample, with determinants of Jacobian matrices."""
    found = []
    for row, label in zip(normalize(batch.embeddings), batch.labels.tolist(), strict=True):
        proxy = normalize(batch.classifier)[label : label + 1]

        def latent(point: torch.Tensor, proxy: torch.Tensor = proxy) -> torch.Tensor:
            return loss.flow(point[None], proxy)[0][0]

        jacobian = torch.autograd.functional.jacobian(latent, row)
        squares = sum(value * value for value in latent(row).tolist())
        found.append(squares / 2 - math.log(abs(torch.linalg.det(jacobian).item())))
    return found


def tangent_exp(value: float) -> float:
    return math.exp(value) if value <= 20 else math.exp(20) * (value - 19)


@pytest.mark.parametrize("gain", [0.0, 1.0, 2.0])
def test_forms_of_the_likelihood(built: list[NIRLoss], gain: float) -> None:
    batch = random_batch(gain=gain)
    soft, exp, floor = (
        REGISTRY[f"nir.{name}"].evaluate(batch) for name in ("jensen_softplus", "jensen_exp", "volume_floor")
    )
    nll = likelihoods(built[0], batch)
    mean = sum(nll) / 5
    # Without weights the flow only permutes, and half of the squared norm of a unit vector remains.
    assert (max(nll) - min(nll) < 1e-12) == (gain == 0)
    assert (mean == pytest.approx(0.5)) == (gain == 0)
    assert soft.lhs == pytest.approx(math.log1p(math.exp(mean / 4)), rel=1e-10)
    assert soft.rhs == pytest.approx(sum(math.log1p(math.exp(value / 4)) for value in nll) / 5, rel=1e-10)
    assert exp.lhs == pytest.approx(tangent_exp(mean), rel=1e-9)
    assert exp.rhs == pytest.approx(sum(tangent_exp(value) for value in nll) / 5, rel=1e-9)
    assert (floor.lhs, floor.rhs) == pytest.approx((-2 * 2 * 0.636 * math.pi / 2, mean / 4), rel=1e-10)
    plain = REGISTRY["nir.plain_le_softplus"].evaluate(batch)
    assert (plain.lhs, plain.rhs) == pytest.approx((mean / 4, soft.rhs), rel=1e-10)


def test_regularized_loss_is_the_base_plus_the_regularizer(built: list[NIRLoss]) -> None:
    batch = random_batch(gain=1.0, nir_weight=3.0)
    found = REGISTRY["nir.ge_base"].evaluate(batch)
    base = ProxyAnchorLoss(3, 4)
    base.proxies.data = batch.classifier
    value = base(batch.embeddings, batch.labels).item()
    regularizer = sum(math.log1p(math.exp(one / 4)) for one in likelihoods(built[0], batch)) / 5
    assert found.lhs == pytest.approx(value, rel=1e-12)
    assert found.rhs == pytest.approx(value + 3 * regularizer, rel=1e-10)


def test_flow_is_the_same_every_time_and_the_random_state_stays() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    values = {REGISTRY["nir.plain_le_softplus"].evaluate(random_batch(gain=2.0)).lhs for _ in range(2)}
    assert len(values) == 1
    assert torch.equal(torch.rand(3), expected)
