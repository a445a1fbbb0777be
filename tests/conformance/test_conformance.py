"""All public losses against all checks; whoever adds a loss adds a row to the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytorch_metric_learning.losses import BaseMetricLossFunction

from pml_proxyext import losses
from pml_proxyext.testing import describe_loss, loss_checks

from .losses_table import LOSSES, Row

ABSTRACT = {losses.ProxyLoss}


@pytest.mark.parametrize(
    "check", [case for row in LOSSES for case in loss_checks(row, describe_loss(row, **row.known), row.name)]
)
def test_conformance(check: Callable[[], None]) -> None:
    check()


def test_every_public_loss_has_a_row() -> None:
    public = {getattr(losses, name) for name in losses.__all__}
    concrete = {item for item in public if isinstance(item, type) and issubclass(item, BaseMetricLossFunction)}
    assert concrete - ABSTRACT == {row.loss for row in LOSSES}


@pytest.mark.parametrize("row", LOSSES, ids=lambda row: row.name)
def test_a_loss_with_parameters_hands_out_its_groups(row: Row) -> None:
    loss = row()
    assert not list(loss.parameters()) or hasattr(loss, "param_groups")
