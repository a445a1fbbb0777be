from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from pml_proxyext.losses import pairwise_cross_entropy_terms as terms

GOLDEN = Path(__file__).parents[1] / "golden"
BATCHES = json.loads((GOLDEN / "bounds_batches.json").read_text())["cases"]
RELATIONS = json.loads((GOLDEN / "bounds_relations.json").read_text())
SEEDS = st.integers(0, 10_000)
LAMBDAS = st.sampled_from([0.03, 0.3, 1.0, 5.0])


class Case:
    """A batch with a classifier, and the two classifiers that means of its embeddings make."""

    def __init__(self, z: Tensor, y: Tensor, theta: Tensor, lambda_: float) -> None:
        self.z, self.y, self.theta, self.lambda_ = z, y, theta, lambda_
        self.p = (z @ theta.T).softmax(1)
        self.indicators = one_hot(y, len(theta)).double()
        self.hard = terms.scaled_means(z, self.indicators) / lambda_
        self.soft = terms.scaled_means(z, self.p) / lambda_
        self.ce = terms.classifier_cross_entropy(z, y, theta).item()
        self.pce = terms.pairwise_cross_entropy(z @ z.T, self.indicators, self.p, lambda_).mean().item()

    def tightness(self, theta: Tensor) -> float:
        return terms.classifier_tightness(self.z, self.y, theta, self.lambda_).item()

    def contrast(self, theta: Tensor) -> float:
        return terms.classifier_contrast(self.z, theta, self.lambda_).item()

    def half_square(self, theta: Tensor, other: Tensor) -> float:
        return self.lambda_ / 2 * (theta - other).square().sum().item()


def golden(case: dict) -> Case:
    z, theta = (torch.tensor(case[name], dtype=torch.float64) for name in ("embeddings", "proxies"))
    return Case(z, torch.tensor(case["labels"]), theta, case["hp"].get("lam", 1.0))


def drawn(seed: int, lambda_: float, rows: int = 9, classes: int = 4) -> Case:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    theta = torch.randn(classes, 5, generator=generator, dtype=torch.float64)
    return Case(z, torch.randint(classes, (rows,), generator=generator), theta, lambda_)


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("numbers", BATCHES, ids=lambda case: case["kind"])
def test_terms_are_those_of_the_fixtures(numbers):
    case, expected = golden(numbers), numbers["numpy"]
    assert case.ce == close(expected["ce_raw"])
    assert case.pce == close(expected["pce_at_theta"])
    assert case.tightness(case.theta) == close(expected["boudiaf_f1"])
    assert case.tightness(case.hard) == close(expected["B_boudiaf_tight"])


def relation(name: str) -> list[dict]:
    return RELATIONS[name]["cases"]


def test_relations_of_the_fixtures_have_these_sides():
    for numbers in relation("boudiaf.f1"):
        case = golden(numbers)
        assert case.tightness(case.hard) == close(numbers["lhs"])
        assert case.tightness(case.theta) == close(numbers["rhs"])
    for numbers in relation("boudiaf.pce_gap"):
        case = golden(numbers)
        gap = case.half_square(case.theta, case.hard) - case.half_square(case.theta, case.soft)
        assert (case.ce - case.pce, gap) == (close(numbers["lhs"]), close(numbers["rhs"]))
    for numbers in relation("boudiaf.pce_claim"):
        own = golden(numbers)
        case = Case(own.z, own.y, own.hard, own.lambda_)
        assert (case.pce, case.ce) == (close(numbers["lhs"]), close(numbers["rhs"]))
        assert case.pce > case.ce  # what the paper says cannot be
    for numbers in relation("boudiaf.pce_selfconsistent"):
        own = golden(numbers)
        p, change = terms.self_consistent_assignments(own.z @ own.z.T, own.p, own.lambda_, 100_000)
        assert change < 1e-11
        case = Case(own.z, own.y, terms.scaled_means(own.z, p) / own.lambda_, own.lambda_)
        assert case.ce == close(numbers["lhs"])
        assert case.pce + case.half_square(case.theta, case.hard) == close(numbers["rhs"])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, rows=st.integers(1, 12))
def test_cross_entropy_less_its_pairwise_form_is_what_the_means_miss(seed, lambda_, rows):
    case = drawn(seed, lambda_, rows)
    assert case.tightness(case.theta) + case.contrast(case.theta) == close(case.ce)
    assert case.tightness(case.hard) + case.contrast(case.soft) == close(case.pce)
    missed = case.half_square(case.theta, case.hard) + case.contrast(case.theta) - case.contrast(case.soft)
    assert case.ce - case.pce == pytest.approx(missed, rel=1e-8, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, rows=st.integers(1, 12))
def test_how_far_cross_entropy_is_from_its_pairwise_form_at_any_classifier_and_at_both_means(seed, lambda_, rows):
    case = drawn(seed, lambda_, rows)
    assert case.tightness(case.theta) - case.tightness(case.hard) == close(case.half_square(case.theta, case.hard))
    room = case.half_square(case.theta, case.hard) - case.half_square(case.theta, case.soft)
    assert case.ce - case.pce <= room + 1e-9 * (1 + abs(room))
    at_soft = terms.classifier_cross_entropy(case.z, case.y, case.soft).item()
    assert at_soft - case.pce == pytest.approx(case.half_square(case.soft, case.hard), rel=1e-8, abs=1e-8)
    at_hard = Case(case.z, case.y, case.hard, lambda_)
    assert at_hard.ce <= at_hard.pce + 1e-9 * (1 + abs(at_hard.pce))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, norm=st.sampled_from([0.3, 1.0, 3.0]))
def test_each_step_to_self_consistency_raises_the_contrast(seed, lambda_, norm):
    case = drawn(seed, lambda_)
    z = norm * case.z
    heights = []
    for steps in range(8):
        p, _ = terms.self_consistent_assignments(z @ z.T, case.indicators, lambda_, steps)
        theta = terms.scaled_means(z, p) / lambda_
        heights.append(terms.classifier_contrast(z, theta, lambda_).item())
    assert all(after >= before - 1e-9 * (1 + abs(before)) for before, after in pairwise(heights))


@pytest.mark.parametrize("lambda_", [0.03, 0.3, 3.0])
def test_self_consistent_assignments_are_the_softmax_of_their_own_logits(lambda_):
    case = drawn(3, lambda_)
    s = case.z @ case.z.T
    p, change = terms.self_consistent_assignments(s, case.indicators, lambda_, 100_000)
    assert 0 <= change < 1e-11
    torch.testing.assert_close((s @ p / (lambda_ * len(s))).softmax(1), p)
    _, early = terms.self_consistent_assignments(s, case.indicators, lambda_, 1)
    assert early > change


def test_nan_ends_the_iteration_and_stays():
    similarities = torch.full((3, 3), torch.nan)
    p, change = terms.self_consistent_assignments(similarities, torch.eye(3), 1.0, 10**9)
    assert p.isnan().all()
    assert change.isnan()


def test_indicators_have_a_column_for_each_class_whatever_its_number():
    labels = torch.tensor([1000, -3, 7, -3, 1000])
    indicators = terms.class_indicators(labels, torch.float64)
    assert indicators.dtype == torch.float64
    assert indicators.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert terms.absence_logits(indicators).tolist() == [0, 0, 0]


def test_a_compiled_graph_has_a_column_for_each_sample_and_marks_those_without_a_class():
    compiled = torch.compile(terms.class_indicators, backend="eager", fullgraph=True)
    indicators = compiled(torch.tensor([7, -3, 7, 1000]), torch.float32)
    assert indicators.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert terms.absence_logits(indicators).tolist() == [0, 0, -torch.inf, 0]
