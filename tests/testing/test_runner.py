from __future__ import annotations

import io
from functools import partial

import pytest
from rich.console import Console

from pml_proxyext.testing import CHECKS, LossProfile, check_loss, loss_checks

from .broken_losses import BROKEN, Right

factory = partial(Right, 6, 8)


def test_report_tells_what_failed_and_why() -> None:
    report = check_loss(BROKEN["nan_is_visible"], only=["float32", "nan_is_visible", "label_names"])
    assert [result.status for result in report.results] == ["passed", "failed", "not applicable"]
    assert not report.ok
    assert report.summary == "Broken: 1 passed, 1 failed, 1 not applicable"
    with pytest.raises(AssertionError, match=r"nan_is_visible +a NaN embedding is hidden"):
        report.raise_for_failures()


def test_report_of_a_right_loss_raises_nothing() -> None:
    report = check_loss(factory, only=["float32"])
    assert report.ok
    report.raise_for_failures()


def test_report_is_printed_by_rich() -> None:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as captured:
        console.print(check_loss(factory, only=["float32"]))
    assert "float32" in captured.get()


def test_exempt_check_is_not_run() -> None:
    profile = LossProfile(num_classes=6, exempt={"nan_is_visible": "by design"})
    report = check_loss(BROKEN["nan_is_visible"], profile, only=["nan_is_visible"])
    assert report.results[0].reason == "by design"
    assert report.ok


def test_error_inside_a_check_is_a_failure_with_its_type() -> None:
    report = check_loss(BROKEN["miners"], only=["miners"])
    assert report.failures["miners"].startswith("ValueError: not enough values")


def test_unknown_check_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'gradcheck'"):
        check_loss(factory, only=["grad_check"])


def test_pytest_gets_one_case_per_check_which_fails_or_skips() -> None:
    cases = {case.id: case.values[0] for case in loss_checks(BROKEN["repr"], name="toy")}
    assert list(cases) == [f"toy-{name}" for name in CHECKS]
    cases["toy-float32"]()
    with pytest.raises(AssertionError, match="repr does not show"):
        cases["toy-repr"]()
    with pytest.raises(pytest.skip.Exception, match="not applicable"):
        cases["toy-label_names"]()
