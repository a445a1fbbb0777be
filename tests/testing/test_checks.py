"""Every check passes a right loss and fails one that is wrong in its way; PML's known defects are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pytorch_metric_learning import losses as pml_losses

from pml_proxyext.testing import CHECKS, check_loss, describe_loss, loss_checks

from .broken_losses import BROKEN, Right, RightPairs

SIZES = {"num_classes": 6, "embedding_size": 8}


@pytest.mark.parametrize("check", BROKEN)
def test_check_fails_a_loss_that_is_wrong(check: str) -> None:
    report = check_loss(BROKEN[check], only=[check])
    assert list(report.failures) == [check]


def test_every_check_is_seen_to_fail() -> None:
    assert set(CHECKS) - set(BROKEN) == {"cuda_embeddings"}  # which no machine without a GPU can fail


@pytest.mark.parametrize("check", loss_checks(partial(Right, **SIZES)) + loss_checks(RightPairs))
def test_check_passes_a_loss_that_is_right(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    ("loss", "arguments", "check", "reason"),
    [
        ("ProxyAnchorLoss", SIZES, "bfloat16", "re-types parameters in place: proxies from torch.float32"),
        ("ProxyAnchorLoss", SIZES, "class_weights", "pos_loss: sums of a class in another order"),
        ("ProxyNCALoss", SIZES, "logits", "own class's for 0% of the samples"),
        ("NormalizedSoftmaxLoss", SIZES, "ignore_index", "label -100: silently accepted"),
        ("ContrastiveLoss", {}, "nan_is_visible", "a NaN embedding is hidden"),
        ("MultiSimilarityLoss", {}, "class_weights", "ClassWeightedReducer against the weighted mean"),
        ("NPairsLoss", {}, "row_order", "rows in another order: value"),
        ("NTXentLoss", {}, "float16", "value in torch.float16 against float64"),
    ],
)
def test_known_defect_of_pml_is_found(loss: str, arguments: dict[str, Any], check: str, reason: str) -> None:
    factory = partial(getattr(pml_losses, loss), **arguments)
    report = check_loss(factory, describe_loss(factory, **arguments), only=[check])
    assert reason in report.failures.get(check, "")
