"""Run the checks: into a report, or as one pytest case each."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from pml_proxyext.testing.checks import CHECKS
from pml_proxyext.testing.describe import describe_loss
from pml_proxyext.testing.profile import LossFactory, LossProfile
from pml_proxyext.testing.report import Report, Result
from pml_proxyext.testing.subject import NotApplicable, Subject
from pml_proxyext.utils.checks import check_choice, import_optional

__all__ = ["check_loss", "loss_checks"]


def _run(name: str, subject: Subject) -> None:
    """Run one check: AssertionError or any other error for a failure, NotApplicable where it has nothing to say."""
    if name in subject.profile.exempt:
        raise NotApplicable(subject.profile.exempt[name])
    CHECKS[name](subject)


def check_loss(factory: LossFactory, profile: LossProfile | None = None, only: Iterable[str] | None = None) -> Report:
    """Hold a loss against the checks and report what each found; nothing is raised for what fails.

    Args:
        factory: builds the loss; called with PML's keyword arguments, as in
            ``lambda **kwargs: MyLoss(num_classes=6, embedding_size=8, **kwargs)``.
        profile: what the loss takes; by default what :func:`describe_loss` finds out.
        only: names of the checks to run, by default all of :data:`CHECKS`.

    Raises:
        ValueError: for unknown names of checks.

    Example:
        >>> from pml_proxyext.losses import ProxyAnchorLoss
        >>> report = check_loss(lambda **kwargs: ProxyAnchorLoss(6, 8, **kwargs), only=["float32", "pickle"])
        >>> print(report)
        ProxyAnchorLoss: 2 passed, 0 failed, 0 not applicable
    """
    subject = Subject(factory, describe_loss(factory) if profile is None else profile)
    results = []
    for name in CHECKS if only is None else only:
        check_choice("only", name, CHECKS)
        start = time.perf_counter()
        try:
            _run(name, subject)
            outcome: dict[str, Any] = {"status": "passed"}
        except NotApplicable as reason:
            outcome = {"status": "not applicable", "reason": str(reason)}
        except AssertionError as error:
            outcome = {"status": "failed", "reason": _one_line(str(error)) or "AssertionError without a message"}
        except Exception as error:
            outcome = {"status": "failed", "reason": f"{type(error).__name__}: {_one_line(str(error))}"}
        results.append(Result(name, **outcome, seconds=time.perf_counter() - start))
    return Report(type(subject.build()).__name__, tuple(results))


def _one_line(text: str, width: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def loss_checks(factory: LossFactory, profile: LossProfile | None = None, name: str | None = None) -> list[Any]:
    """Return one pytest parameter per check, a function without arguments; needs the extra ``test``.

    .. code-block:: python

        @pytest.mark.parametrize("check", loss_checks(lambda **kwargs: MyLoss(6, 8, **kwargs)))
        def test_my_loss(check):
            check()

    Args:
        factory, profile: as in :func:`check_loss`.
        name: begins the ids of the cases; by default the class of the loss.
    """
    pytest = import_optional("pytest", "test")
    subject = Subject(factory, describe_loss(factory) if profile is None else profile)
    name = type(subject.build()).__name__ if name is None else name
    return [pytest.param(partial(_case, check, subject), id=f"{name}-{check}") for check in CHECKS]


def _case(check: str, subject: Subject) -> None:
    pytest = import_optional("pytest", "test")
    try:
        _run(check, subject)
    except NotApplicable as reason:
        pytest.skip(f"not applicable: {reason}")
