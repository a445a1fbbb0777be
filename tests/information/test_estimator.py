"""What holds for every estimator: values by loops, gradients, dtypes, odd and bad scores, ceilings, one graph."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pml_proxyext.information import InfoNCE, Scores

from .calls import CALLS, FORMS, arguments_of, as_rows, scores_of

HALF = [torch.bfloat16, torch.float16]
WITH_CEILING = [name for name, call in CALLS.items() if call.ceiling(5) < math.inf]


def tensors_of(arguments: Any) -> list[Tensor]:
    """Return the tensors of nested arguments."""
    if isinstance(arguments, Tensor):
        return [arguments]
    return [tensor for part in arguments for tensor in tensors_of(part)]


def rebuilt(arguments: Any, tensors: Any) -> Any:
    """Return the same nest with other tensors, taken from the iterator."""
    if isinstance(arguments, Tensor):
        return next(tensors)
    return type(arguments)(rebuilt(part, tensors) for part in arguments)


def mapped(arguments: Any, function: Any) -> Any:
    return rebuilt(arguments, iter([function(tensor) for tensor in tensors_of(arguments)]))


def gradients(value: Tensor, arguments: Any) -> list[Tensor | None]:
    return list(torch.autograd.grad(value, tensors_of(arguments), allow_unused=True))


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize(("rows", "negatives"), [(2, 1), (5, 4), (4, 7)])
def test_rows_are_those_of_loops_and_the_value_is_their_mean(name, form, rows, negatives):
    psi, phi = (scores_of(form, rows=rows, negatives=negatives, seed=seed) for seed in (3, 4))
    call = CALLS[name]
    estimator, arguments = call.make(), call.arguments(psi, phi)
    expected = torch.tensor(call.loop(as_rows(psi), as_rows(phi)), dtype=torch.float64)
    torch.testing.assert_close(estimator.per_row(*arguments), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(estimator(*arguments), expected.mean(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_of_values_are_those_of_differences(name, form):
    arguments = mapped(arguments_of(name, form, rows=3, negatives=2), Tensor.requires_grad_)
    estimator = CALLS[name].make()
    assert torch.autograd.gradcheck(
        lambda *tensors: estimator(*rebuilt(arguments, iter(tensors))), tensors_of(arguments), eps=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_rounded_once_at_the_input(name, form, dtype):
    arguments = mapped(arguments_of(name, form, rows=33, negatives=32), lambda tensor: tensor.to(dtype))
    estimator = CALLS[name].make()
    for function in (estimator, estimator.loss):
        value = function(*arguments)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, function(*mapped(arguments, Tensor.float)), rtol=1e-6, atol=1e-6)
    assert estimator.per_row(*arguments).dtype == torch.float32


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_is_kept(name, form, dtype):
    arguments = mapped(arguments_of(name, form), lambda tensor: tensor.to(dtype))
    estimator = CALLS[name].make()
    assert estimator(*arguments).dtype == dtype
    assert estimator.loss(*arguments).dtype == dtype


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_nan_in_any_score_of_phi_stays_visible(name, form):
    psi, phi = scores_of(form, seed=1), scores_of(form, seed=2)
    estimator = CALLS[name].make()
    for tensor in tensors_of(phi):
        for index in ((0,) * tensor.ndim, (2, 3)[: tensor.ndim]):
            broken = mapped(phi, lambda part: part.clone())
            target = next(part for part, old in zip(tensors_of(broken), tensors_of(phi), strict=True) if old is tensor)
            target[index] = math.nan
            assert estimator(*CALLS[name].arguments(psi, broken)).isnan()


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_one_candidate_is_zero_with_a_graph_or_refused(name, form):
    arguments = mapped(arguments_of(name, form, rows=1, negatives=0), Tensor.requires_grad_)
    estimator = CALLS[name].make()
    if CALLS[name].without_negatives_zero:
        value = estimator(*arguments)
        assert value == 0
        assert all(grad is None or bool((grad == 0).all()) for grad in gradients(value, arguments))
    elif name != "CNCEVariational":  # where the divergence is left
        with pytest.raises(ValueError, match=r"at least 1 negative per row.*\(1, 0\)"):
            estimator(*arguments)


@pytest.mark.parametrize("name", [name for name, form in FORMS if form == "square"])
def test_the_order_of_the_pairs_does_not_matter(name):
    order = torch.tensor([3, 0, 4, 2, 1])
    psi, phi = scores_of("square", seed=5), scores_of("square", seed=6)
    estimator, arguments = CALLS[name].make(), CALLS[name].arguments(psi, phi)
    moved = mapped(arguments, lambda part: part[order][:, order] if part.ndim == 2 else part[order])
    torch.testing.assert_close(estimator(*moved), estimator(*arguments), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if len(call.forms) == 2])
def test_a_square_matrix_is_the_pair_of_its_diagonal_and_the_rest(name):
    def pair(scores: Tensor) -> Scores:
        keep = ~torch.eye(len(scores), dtype=torch.bool)
        return scores.diagonal(), torch.stack([row[mask] for row, mask in zip(scores, keep, strict=True)])

    psi, phi = scores_of("square", seed=7), scores_of("square", seed=8)
    call = CALLS[name]
    estimator = call.make()
    rows = estimator.per_row(*call.arguments(pair(psi), pair(phi)))
    torch.testing.assert_close(rows, estimator.per_row(*call.arguments(psi, phi)), rtol=0, atol=0)


@pytest.mark.parametrize("name", CALLS)
def test_it_says_what_bound_it_is(name):
    estimator = CALLS[name].make()
    claims = {"lower": (True, False), "upper": (False, True), "none": (False, False)}
    assert (estimator.is_lower_bound, estimator.is_upper_bound) == claims[CALLS[name].bound]


@pytest.mark.parametrize("name", CALLS)
def test_the_ceiling_is_the_stated_one(name):
    for k in (2, 9):
        assert CALLS[name].make().ceiling(k) == pytest.approx(CALLS[name].ceiling(k))


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, form in FORMS if name in WITH_CEILING])
@given(seed=st.integers(0, 10_000), k=st.integers(2, 8), scale=st.sampled_from([0.1, 3.0, 100.0]))
@settings(max_examples=15, deadline=None)
def test_no_value_is_above_the_ceiling(name, form, seed, k, scale):
    estimator = CALLS[name].make()
    rows = estimator.per_row(*arguments_of(name, form, rows=k, negatives=k - 1, seed=seed, scale=scale))
    assert bool((rows <= estimator.ceiling(k) + 1e-9).all())


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, form in FORMS if name in WITH_CEILING])
def test_the_ceiling_is_reached_by_positives_that_stand_out(name, form):
    square = 200 * torch.eye(6, dtype=torch.float64) - 100
    scores = square if form == "square" else (torch.full((6,), 100.0).double(), torch.full((6, 5), -100.0).double())
    estimator = CALLS[name].make()
    arguments = CALLS[name].arguments(scores, scores)
    if name == "CNCEVariational":
        arguments = (scores, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(estimator(*arguments).item(), estimator.ceiling(6), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", WITH_CEILING)
@pytest.mark.parametrize("k", [0, 2.5])
def test_a_ceiling_needs_a_number_of_candidates(name, k):
    with pytest.raises(ValueError, match="num_candidates must be an integer"):
        CALLS[name].make().ceiling(k)


@pytest.mark.parametrize("name", CALLS)
def test_it_compiles_into_one_graph(name):
    torch.compiler.reset()
    estimator, other = CALLS[name].make(), CALLS[name].make()
    both = torch.compile(
        lambda *arguments: torch.stack([estimator(*arguments), estimator.loss(*arguments)]),
        fullgraph=True,
        backend="eager",
    )
    form = CALLS[name].forms[0]
    for size in (5, 7) if name in ("InfoNCE", "Interpolated 0.3", "Chain importance") else (5,):
        arguments = mapped(arguments_of(name, form, rows=size, negatives=size - 1), Tensor.requires_grad_)
        plain, compiled = torch.stack([other(*arguments), other.loss(*arguments)]), both(*arguments)
        torch.testing.assert_close(compiled, plain, rtol=1e-9, atol=1e-12)
        expected = gradients(plain @ plain.new_tensor([1.0, 0.3]), arguments)
        found = gradients(compiled @ plain.new_tensor([1.0, 0.3]), arguments)
        for grad, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(grad, wanted, rtol=1e-9, atol=1e-12)
    torch.compiler.reset()


def test_losses_that_have_no_gradient_of_their_own_are_minus_the_value():
    scores = scores_of("square")
    for name in ("InfoNCE", "InfoNCE symmetric", "RowDonskerVaradhan", "DonskerVaradhan", "NWJ", "Interpolated 0.3"):
        estimator = CALLS[name].make()
        assert estimator.loss(scores) == -estimator(scores)


def test_keyword_arguments_reach_the_rows():
    scores = scores_of("pair")
    assert InfoNCE()(scores=scores) == InfoNCE()(scores)
    assert CALLS["TUBA"].make()(scores, log_baseline=0.5) != CALLS["TUBA"].make()(scores, log_baseline=0.7)
