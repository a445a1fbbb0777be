from __future__ import annotations

import pytest
import torch
from torch import nn

from pml_proxyext.utils.parameter_groups import parameter_groups


def network() -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 4, bias=False)})


def test_the_longest_fitting_beginning_decides():
    module = network()
    groups = parameter_groups(module, 0.5, {"": 1.0, "body": 2.0, "body.bias": 4.0})
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    expected = {"body.weight": 1.0, "body.bias": 2.0, "head.weight": 0.5}
    assert {name: rates[id(p)] for name, p in module.named_parameters()} == expected
    assert len(rates) == sum(len(group["params"]) for group in groups) == 3


def test_groups_serve_an_optimizer_and_have_no_weight_decay():
    module = network()
    groups = parameter_groups(module, 0.1, {"body": 0.0, "head": 1.0})
    optimizer = torch.optim.SGD(groups, lr=100.0, weight_decay=0.3)
    before = [p.detach().clone() for p in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for old, (name, new) in zip(before, module.named_parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - (0.1 if name.startswith("head") else 0.0))


@pytest.mark.parametrize(
    ("lr", "multipliers", "message"),
    [
        (-1.0, {"": 1.0}, "lr must be a finite number >= 0, got -1.0"),
        (1.0, {"": -1.0}, "the multiplier of '' must be a finite number >= 0, got -1.0"),
        (1.0, {"body": 1.0}, r"multipliers must cover every parameter, got none for 'head.weight' in \['body'\]"),
        (1.0, {"": 1.0, "tail": 1.0}, "multipliers must name parameters, got 'tail'; the parameters are"),
    ],
)
def test_no_parameter_is_forgotten_and_no_multiplier_unused(lr, multipliers, message):
    with pytest.raises(ValueError, match=message):
        parameter_groups(network(), lr, multipliers)


def test_defaults_without_a_parameter_are_skipped_and_multipliers_come_first():
    module = network()
    groups = parameter_groups(module, 1.0, {"head": 3.0}, {"head": 1.0, "body": 2.0, "absent": 5.0})
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    expected = {id(p): 3.0 if name.startswith("head") else 2.0 for name, p in module.named_parameters()}
    assert rates == expected
