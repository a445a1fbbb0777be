"""What check says of a batch, and that nothing around it notices."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from pml_proxyext.bounds import REGISTRY, BoundBatch, Kind, Verdict, check
from pml_proxyext.bounds.checking import chosen, evaluated_apart

toys = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "toys.py")))
LABELS = torch.tensor([0, 0, 0, 1, 1])


@pytest.fixture
def batch():
    return BoundBatch(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), LABELS)


@pytest.mark.parametrize(
    ("name", "verdict", "ok"),
    [
        ("HOLDS", Verdict.HOLDS, True),
        ("VIOLATED", Verdict.VIOLATED, False),
        ("EQUAL", Verdict.HOLDS, True),
        ("UNEQUAL", Verdict.VIOLATED, False),
        ("NAN", Verdict.NOT_FINITE, False),
        ("REFUTED", Verdict.CLAIM_FAILS, True),
        ("LUCKY", Verdict.CLAIM_HOLDS, True),
        ("PAIRS", Verdict.NOT_APPLICABLE, True),
        ("PROXIES", Verdict.NOT_APPLICABLE, True),
    ],
)
def test_verdict(batch, name, verdict, ok):
    report = check(batch, vars(toys)[name])
    assert [finding.verdict for finding in report.findings] == [verdict]
    assert report.ok is ok
    assert f"1 {verdict.value}" in report.summary
    assert len(report.violated) == (verdict is Verdict.VIOLATED)
    assert len(report.not_finite) == (verdict is Verdict.NOT_FINITE)


def test_numbers_are_those_of_the_sides(batch):
    finding = check(batch, toys.HOLDS)["toy.holds"]
    norm = batch.embeddings.square().mean().item()
    assert (finding.lhs, finding.rhs) == pytest.approx((norm, 2 * norm), rel=1e-14)
    assert finding.slack == pytest.approx(norm, rel=1e-14)


def test_infinity_is_not_said_to_hold():
    huge = BoundBatch(torch.full((5, 4), 1e200, dtype=torch.float64), LABELS)
    assert check(huge, toys.HOLDS)["toy.holds"].verdict is Verdict.NOT_FINITE


def test_hyper_parameters_come_from_the_batch(batch):
    assert check(batch, toys.FACTOR).ok
    assert not check(batch.given(factor=4.0), toys.FACTOR).ok
    report = check(batch.given(factor=6.0), toys.FACTOR)
    assert report["toy.factor"].verdict is Verdict.NOT_APPLICABLE
    assert "factor=6 is not in [0, 5]" in report["toy.factor"].reason


def test_everything_that_applies_is_checked_by_default(batch):
    ids = [finding.relation.id for finding in check(batch).findings]
    assert ids == [relation.id for relation in REGISTRY.values() if not relation.objections(batch)]
    assert 0 < len(ids) < len(REGISTRY)  # pairs and proxies are missing


def test_what_was_asked_for_is_shown_even_if_it_does_not_apply(batch):
    report = check(batch, ["supcon.eq_*", toys.HOLDS, "supcon.eq_nca_pairs"])
    names = [finding.relation.id for finding in report.findings]
    assert names == [relation.id for relation in REGISTRY.select("supcon.eq_*")] + ["toy.holds"]
    assert report["supcon.eq_nca_pairs"].reason == "classes have 2 to 3 samples, not equally many"
    with pytest.raises(KeyError):
        report["supcon.ge_ntxent"]


def test_unknown_patterns_are_refused(batch):
    with pytest.raises(ValueError, match=r"'supcon.ge_ntxnet'.*did you mean 'supcon.ge_ntxent'"):
        check(batch, "supcon.ge_ntxnet")


def test_a_single_relation_is_not_taken_apart():
    assert chosen("supcon.ge_ntxent") == [REGISTRY["supcon.ge_ntxent"]]
    assert chosen(toys.HOLDS) == [toys.HOLDS]
    assert len(chosen(None)) == len(REGISTRY)


def test_the_table_shows_every_number_and_reason(batch):
    relations = [toys.HOLDS, toys.VIOLATED, toys.NAN, toys.REFUTED, toys.LUCKY, toys.PAIRS]
    report = check(batch, relations)
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(report)
    norm = batch.embeddings.square().mean().item()
    for text in (console.export_text(), str(report)):
        for relation in relations:
            assert relation.id in text
        # Titles are shown as they are, although rich takes square brackets for markup.
        assert "toy [violated]_+" in text
        for word in (f"{2 * norm:.6g}", f"{-norm:.3g}", "nan", "of the test", "violated", "claim fails here"):
            assert word in text
        assert "claim happens to hold here" in text
    assert "classes have 2 to 3 samples, not equally many" in " ".join(str(report).split())


def test_half_precision_and_gradients(batch):
    embeddings = batch.embeddings.bfloat16().requires_grad_()
    report = check(BoundBatch(embeddings, LABELS), toys.HOLDS)
    assert report["toy.holds"].lhs == embeddings.detach().double().square().mean().item()
    assert embeddings.grad is None


@pytest.mark.parametrize("name", REGISTRY)
def test_nothing_around_an_evaluation_notices_it(name):
    """PML's losses draw parameters when they are made, on the default device."""
    relation = REGISTRY[name]
    batch = BoundBatch(
        torch.randn(8, 6, generator=torch.Generator().manual_seed(1)),
        torch.arange(8) % 4,
        torch.randn(4, 6, generator=torch.Generator().manual_seed(2)),
    )
    expected = relation.evaluate(batch)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        evaluation = evaluated_apart(relation, batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert (evaluation.lhs, evaluation.rhs) == pytest.approx((expected.lhs, expected.rhs), nan_ok=True, rel=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e200])
def test_no_embedding_breaks_a_relation(value):
    """A training that goes wrong must not be ended by what watches it."""
    embeddings = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    embeddings[0] = value
    batch = BoundBatch(embeddings, torch.arange(8) % 4, torch.randn(4, 6, generator=torch.Generator().manual_seed(2)))
    report = check(batch, "*")
    assert len(report.findings) == len(REGISTRY)
    assert all(finding.verdict is not Verdict.NOT_APPLICABLE for finding in report.findings)
    if math.isnan(value):
        assert len(report.not_finite) > len(REGISTRY) / 2


def test_witnesses_of_refuted_claims_fail_and_the_rest_hold():
    for relation in REGISTRY.values():
        if relation.witness is not None:
            finding = check(relation.witness(), relation)[relation.id]
            expected = Verdict.CLAIM_FAILS if relation.kind is Kind.REFUTED else Verdict.HOLDS
            assert finding.verdict is expected, relation.id
            assert math.isfinite(finding.slack)
