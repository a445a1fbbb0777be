"""Chains: sums of parts, how prefixes of scores reach the later parts, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.information import (
    CNCE,
    Chain,
    CNCEBoosted,
    CNCEImportance,
    CNCEVariational,
    InfoNCE,
    RowDonskerVaradhan,
    cap,
)

from .calls import normal, scores_of

SEEDS = st.integers(0, 10_000)
SCALES = st.sampled_from([0.1, 3.0, 100.0])


def stages(count, seed=0, form="square", scale=1.5):
    return [scores_of(form, seed=seed + 1000 * i, scale=scale) for i in range(count)]


@given(seed=SEEDS, scale=SCALES, count=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_each_part_is_capped_where_the_whole_would_be(seed, scale, count):
    scores = stages(count, seed, scale=scale)
    rows, uncapped = RowDonskerVaradhan(), torch.zeros(5, dtype=torch.float64)
    parts = []
    for i in range(count):
        total = rows.per_row(sum(scores[: i + 1]))
        parts.append(cap(total - uncapped, 5))
        uncapped = total
    chain = Chain(CNCEImportance(), count)
    torch.testing.assert_close(chain.per_stage(scores), torch.stack(parts), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(chain.per_row(scores), sum(parts), rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, scale=SCALES, count=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_boosted_parts_add_up_to_infonce_of_the_whole(seed, scale, count):
    scores = stages(count, seed, scale=scale)
    value = Chain(CNCEBoosted(), count).per_row(scores)
    torch.testing.assert_close(value, InfoNCE().per_row(sum(scores)), rtol=1e-9, atol=1e-9)


def test_parts_with_their_own_negatives_need_not_have_as_many():
    scores = [scores_of("pair", rows=4, negatives=n, seed=n) for n in (3, 7, 2)]
    chain = Chain(CNCE(), 3)
    torch.testing.assert_close(chain(scores), sum(InfoNCE()(part) for part in scores))
    torch.testing.assert_close(chain.loss(scores), -chain(scores))


@pytest.mark.parametrize("conditional", [CNCEImportance(), CNCEBoosted()])
def test_the_loss_trains_each_critic_by_its_own_part(conditional):
    scores = [part.requires_grad_() for part in stages(3)]
    grads = torch.autograd.grad(Chain(conditional, 3).loss(scores), scores)
    fixed = [part.detach() for part in scores]
    alone = [
        InfoNCE().loss(scores[0]),
        conditional.loss(fixed[0], scores[1]),
        conditional.loss(fixed[0] + fixed[1], scores[2]),
    ]
    torch.testing.assert_close(Chain(conditional, 3).loss(scores), sum(alone))
    for grad, loss, leaf in zip(grads, alone, scores, strict=True):
        torch.testing.assert_close(grad, torch.autograd.grad(loss, leaf)[0])


def test_ceilings_grow_with_the_stages_where_parts_are_capped_apart():
    assert Chain(CNCEImportance(), 3).ceiling(8) == pytest.approx(3 * math.log(8))
    assert Chain(CNCE(), 4).ceiling(8) == pytest.approx(4 * math.log(8))
    assert Chain(CNCEBoosted(), 3).ceiling(8) == pytest.approx(math.log(8))


def test_it_is_a_bound_if_its_parts_are():
    assert [Chain(part).is_lower_bound for part in (CNCE(), CNCEBoosted(), CNCEImportance())] == [True, True, False]


@pytest.mark.parametrize("conditional", [InfoNCE(), CNCEVariational(), "boosted"])
def test_other_estimators_are_refused(conditional):
    with pytest.raises(ValueError, match="conditional must be a CNCE, CNCEImportance or CNCEBoosted, got"):
        Chain(conditional)


@pytest.mark.parametrize("num_stages", [0, 2.0])
def test_a_chain_has_a_whole_number_of_stages(num_stages):
    with pytest.raises(ValueError, match="num_stages must be an integer >= 1"):
        Chain(CNCE(), num_stages)


@pytest.mark.parametrize(("scores", "found"), [([torch.zeros(3, 3)], "1 of them"), (torch.zeros(2, 2), "Tensor")])
def test_other_numbers_of_scores_are_refused(scores, found):
    for function in (Chain(CNCEImportance()), Chain(CNCEImportance()).loss):
        with pytest.raises(ValueError, match=f"list of 2 scores, one for each stage, got {found}"):
            function(scores)


def test_scores_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"same number of rows, got \[5, 1\]"):
        Chain(CNCE())([scores_of("pair"), scores_of("pair", rows=1)])
    with pytest.raises(ValueError, match="psi and phi must score the same candidates"):
        Chain(CNCEImportance())([normal(3, 3, seed=0), normal(4, 4, seed=0)])


def test_the_stages_are_shown():
    assert "num_stages=3" in repr(Chain(CNCE(), 3))
