"""The floors of cross-entropy against stored numbers, mpmath, random batches, and the simplex that attains them."""

import json
import math
from pathlib import Path

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy, normalize

from pml_proxyext.geometry import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
    regular_simplex,
)

GOLDEN = Path(__file__).parents[1] / "golden"
BATCHES = json.loads((GOLDEN / "bounds_batches.json").read_text())["cases"]
MINIMA = json.loads((GOLDEN / "bounds_minima.json").read_text())["graf_ce"]


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(value, expected, rtol=1e-9):
    assert value.item() == pytest.approx(expected, rel=rtol, abs=1e-300)


def draw(seed, num_classes, size, dim):
    """Give a batch that a classifier partly fits, so that its loss comes near the floor now and then."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.randint(num_classes, (size,), generator=generator)
    weights = normal(num_classes, dim) * 10 ** torch.rand(1, generator=generator).item()
    embeddings = weights[labels] * torch.rand(1, generator=generator).item() + 0.3 * normal(size, dim)
    return embeddings, labels, weights


@pytest.mark.parametrize("case", MINIMA, ids=lambda case: f"K={case['K']}")
def test_stored_floors(case):
    close(cross_entropy_floor(case["rho"], case["W_fro"], torch.ones(case["K"])), case["ce_floor"])
    close(cross_entropy_floor_row_norm(case["rho"], case["r_W"], case["K"]), case["ce_floor"])


@pytest.mark.parametrize("case", BATCHES, ids=[f"{i}-{case['kind']}" for i, case in enumerate(BATCHES)])
def test_stored_batches(case):
    embeddings, weights, stored = float64(case["embeddings"]), float64(case["proxies"]), case["numpy"]
    num_classes = len(weights)
    radius, norm = embeddings.norm(dim=1).max(), weights.norm()
    histogram = torch.bincount(torch.tensor(case["labels"]), minlength=num_classes)
    floor = cross_entropy_floor(radius, norm, histogram)
    close(floor, stored["B_ce_any_labels"])
    assert floor <= stored["ce_raw"]
    close(cross_entropy_floor(radius, norm, torch.ones(num_classes)), stored["B_ce_balanced_formula"])
    close(normalized_softmax_floor(num_classes, case["tau"]), stored["B_normsoftmax_simplex"])


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_batch_is_below_the_floor_of_its_histogram(seed, num_classes, size, dim):
    embeddings, labels, weights = draw(seed, num_classes, size, dim)
    loss = cross_entropy(embeddings @ weights.T, labels)
    histogram = torch.bincount(labels, minlength=num_classes)
    floor = cross_entropy_floor(embeddings.norm(dim=1).max(), weights.norm(), histogram)
    assert floor <= loss + 1e-12 * (1 + loss)  # torch's cross-entropy rounds 1e-17 to zero


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 3), st.integers(1, 5), st.floats(1e-4, 10))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_balanced_batch_is_below_the_floors_with_a_bias_or_weight_decay(seed, num_classes, each, dim, decay):
    embeddings, _, weights = draw(seed, num_classes, num_classes * each, dim)
    labels = torch.arange(num_classes).repeat(each)
    bias = torch.randn(num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loss = cross_entropy(embeddings @ weights.T + bias, labels)
    allowed = loss + 1e-12 * (1 + loss)
    radius = embeddings.norm(dim=1).max()
    assert cross_entropy_floor_row_norm(radius, weights.norm(dim=1).max(), num_classes) <= allowed
    floor = cross_entropy_floor_weight_decay(radius, num_classes, decay)
    assert floor <= allowed + decay * weights.square().sum()


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_the_simplex_attains_all_four_floors(num_classes):
    labels = torch.arange(num_classes).repeat(2)
    simplex = regular_simplex(num_classes, num_classes, dtype=torch.float64)
    radius, row_norm, decay = 1.7, 0.8, 0.01
    logits = radius * simplex[labels] @ simplex.T
    loss = cross_entropy(row_norm * logits, labels).item()
    norm = row_norm * math.sqrt(num_classes)
    close(cross_entropy_floor(radius, norm, torch.bincount(labels)), loss, 1e-13)
    close(cross_entropy_floor_row_norm(radius, row_norm, num_classes), loss, 1e-13)
    softmax = NormalizedSoftmaxLoss(num_classes, num_classes, temperature=0.3).double()
    softmax.W.data = simplex.T.clone()
    close(normalized_softmax_floor(num_classes, 0.3), softmax(simplex[labels], labels).item(), 1e-12)

    def decayed(norm_of_rows):
        return cross_entropy(norm_of_rows * logits, labels).item() + decay * num_classes * norm_of_rows**2

    best = minimize_scalar(decayed, bounds=(0, 20), method="bounded", options={"xatol": 1e-12}).fun
    close(cross_entropy_floor_weight_decay(radius, num_classes, decay), best, 1e-13)


def test_descent_on_embeddings_and_weights_of_given_norms_ends_at_the_floor():
    """Four balanced classes reach the floor; with other frequencies it is strict, and stays below."""
    for counts in ([2, 2, 2, 2], [5, 1, 1, 1]):
        labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
        generator = torch.Generator().manual_seed(5)
        free = [torch.randn(n, 4, generator=generator, dtype=torch.float64).requires_grad_() for n in (8, 4)]
        optimizer = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

        def loss(free=free, labels=labels):
            return cross_entropy(1.5 * normalize(free[0]) @ (3 * free[1] / free[1].norm()).T, labels)

        def closure(optimizer=optimizer, loss=loss):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)
        slack = (loss() - cross_entropy_floor(1.5, 3.0, torch.tensor(counts))).item()
        assert -1e-12 < slack < 1e-6 if counts[0] == 2 else slack > 1e-3


def exact_weight_decay_floor(radius, num_classes, weight_decay):
    """Bisect for the logarithm of the minimiser at 50 digits."""
    with mpmath.workdps(50):
        factor = mpmath.mpf(num_classes) / (num_classes - 1) * mpmath.mpf(radius)
        mu, shift = mpmath.mpf(weight_decay) * num_classes / factor**2, mpmath.log(num_classes - 1)
        low, high = mpmath.mpf(-5000), mpmath.mpf(20)
        for _ in range(150):
            u = (low + high) / 2
            slope = -mpmath.log1p(mpmath.exp(mpmath.exp(u) - shift)) - mpmath.log(2 * mu) - u
            low, high = (u, high) if slope > 0 else (low, u)
        x = mpmath.exp(low)
        return float(mpmath.log1p(mpmath.exp(shift - x)) + mu * x * x)


@pytest.mark.parametrize("num_classes", [2, 5, 1000])
@pytest.mark.parametrize("radius", [1e-150, 1e-3, 1.0, 30.0, 1e150])
def test_weight_decay_floor_is_right_over_the_whole_of_float64(radius, num_classes):
    decays = [1e-300, 1e-20, 1e-4, 1.0, 1e8, 1e300]
    found = cross_entropy_floor_weight_decay(radius, num_classes, float64(decays))
    for value, decay in zip(found, decays, strict=True):
        close(value, exact_weight_decay_floor(radius, num_classes, decay), 1e-12)


@pytest.mark.parametrize("floor", [cross_entropy_floor, cross_entropy_floor_row_norm])
def test_extreme_sizes_keep_their_relative_accuracy(floor):
    classes = torch.ones(3) if floor is cross_entropy_floor else 3
    exponent = math.sqrt(3) / 2 if floor is cross_entropy_floor else 1.5  # of exp(-exponent rho |W|) 2
    close(floor(100.0, 4.0, classes), 2 * math.exp(-400 * exponent), 1e-12)
    assert floor(1e200, 1e200, classes) == 0
    for radius, norm in ((0.0, 5.0), (5.0, 0.0), (1e-300, 1e-300)):
        close(floor(radius, norm, classes), math.log(3), 1e-15)


def test_weight_decay_floor_without_embeddings_is_log_k_with_no_slope():
    radius = float64([0.0, 1e-300]).requires_grad_()
    floor = cross_entropy_floor_weight_decay(radius, 7, 0.1)
    torch.testing.assert_close(floor.detach(), float64([math.log(7)] * 2), rtol=1e-15, atol=0)
    (slope,) = torch.autograd.grad(floor.sum(), radius)
    assert torch.equal(slope, torch.zeros(2, dtype=torch.float64))


def test_gradients():
    positive = float64([0.4, 1.3]).requires_grad_()
    histogram = float64([0.5, 0.2, 0.3]).requires_grad_()
    assert torch.autograd.gradcheck(cross_entropy_floor, (positive, (2 * positive).detach(), histogram))
    assert torch.autograd.gradcheck(lambda x: normalized_softmax_floor(4, x), (positive,))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):  # the minimiser moves with both arguments
        assert check(lambda x, y: cross_entropy_floor_weight_decay(x, 4, y), (positive, positive.detach() / 9))
        assert check(lambda y: cross_entropy_floor_weight_decay(1.3, 4, y / 9), (positive,))


def test_frequencies_may_be_counts_and_classes_may_be_absent():
    by_counts = cross_entropy_floor(1.0, 2.0, torch.tensor([6, 0, 2]))
    assert by_counts == cross_entropy_floor(1.0, 2.0, float64([0.75, 0.0, 0.25]))
    spread = math.hypot(0.75, 0.25)
    close(by_counts, math.log1p(2 * math.exp(-1.5 * spread * 2)), 1e-14)


def test_nan_stays_visible():
    nan = torch.tensor(float("nan"))
    for floor in (
        cross_entropy_floor(nan, 1.0, torch.ones(3)),
        cross_entropy_floor(1.0, 1.0, torch.stack([nan, torch.tensor(1.0)])),
        normalized_softmax_floor(3, nan),
        cross_entropy_floor_weight_decay(nan, 3, 0.1),
        cross_entropy_floor_weight_decay(1.0, 3, nan),
    ):
        assert floor.isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_entropy_floor(-1.0, 1.0, torch.ones(3)), "radius must be a finite number >= 0, got -1"),
        (lambda: cross_entropy_floor(1.0, -1.0, torch.ones(3)), "weight_norm must be a finite number >= 0, got -1"),
        (lambda: cross_entropy_floor(1.0, 1.0, torch.tensor([1, -1])), r"label_frequencies must be >= 0 everywhere"),
        (lambda: cross_entropy_floor(1.0, 1.0, torch.ones(1)), r"vector of two or more .* got shape \(1,\) and sum 1"),
        (lambda: cross_entropy_floor(1.0, 1.0, torch.zeros(2)), r"got shape \(2,\) and sum 0"),
        (lambda: cross_entropy_floor_row_norm(1.0, -2.0, 3), "row_norm must be a finite number >= 0, got -2"),
        (lambda: cross_entropy_floor_row_norm(1.0, 1.0, 1), "num_classes must be an integer >= 2, got 1"),
        (lambda: normalized_softmax_floor(3, 0.0), "temperature must be a finite number > 0, got 0"),
        (lambda: cross_entropy_floor_weight_decay(1.0, 3, 0.0), "weight_decay must be a finite number > 0, got 0"),
        (lambda: cross_entropy_floor_weight_decay(1.0, 1, 0.1), "num_classes must be an integer >= 2, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
