"""The student of geometry against a loop of its own, and what it refuses."""

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pml_proxyext.geometry import rigid_residuals
from pml_proxyext.losses import HardestContrastiveLoss
from pml_proxyext.miners import BatchGeometry, GeometricPseudoLabelMiner
from pml_proxyext.trainers import GeometricStudentTrainer
from tests.trainers.geometric_scenes import BATCH, TAU, make_student, true_labels


def labelled(student):
    student.dataset.label(true_labels(student.dataset.pairs), rigid_residuals)
    return student


def naive_steps(student, steps, miner):
    """Train the student's network without its trainer."""
    net, loss = student.models["trunk"], student.loss_funcs["metric_loss"]
    optimizer = student.optimizers["trunk_optimizer"]
    schedule = student.lr_schedulers["trunk_scheduler_by_iteration"]
    losses = []
    while True:
        for batch in DataLoader(student.dataset, BATCH, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            both = net(torch.cat([*batch["data_a"], *batch["data_b"]]))
            a, b = both[: len(both) // 2], both[len(both) // 2 :]
            count = batch["ids"].shape[1]
            names = [(i, int(row)) for i, rows in enumerate(batch["ids"]) for row in rows]
            ids = torch.tensor([names.index(name) for name in names])  # equal for the same point of the same pair
            chosen = None
            if miner is not None:
                pairs = torch.tensor([i // count for i in range(len(ids))])
                points = (torch.cat([*batch[f"points_{view}"]]).double() for view in "ab")
                miner.geometry = BatchGeometry(*points, batch["model"], pairs, pairs)
                chosen = miner(a, None, b)
            value = loss(a, ids, chosen, b, ids.clone())
            value.backward()
            optimizer.step()
            schedule.step()
            losses.append(value.item())
            if len(losses) == steps:
                return losses


def residual_miner():
    return GeometricPseudoLabelMiner(rigid_residuals, TAU, 4 * TAU)


@pytest.mark.parametrize("loss", [SupConLoss, HardestContrastiveLoss])
@pytest.mark.parametrize("is_mined", [False, True])
def test_it_trains_as_a_loop_of_its_own_does(loss, is_mined):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        student = labelled(make_student(loss(), miner=residual_miner() if is_mined else None))
        losses = []
        student.end_of_iteration_hook = lambda student: losses.append(student.losses["total_loss"].item())
        student.train(1, 2)
        torch.manual_seed(4)
        other = labelled(make_student(loss()))
        expected = naive_steps(other, 6, residual_miner() if is_mined else None)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len(set(losses)) == 6
    for one, two in zip(student.models["trunk"].parameters(), other.models["trunk"].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_an_epoch_without_a_number_of_iterations_is_a_pass_over_what_is_labelled():
    student = labelled(make_student(SupConLoss(), iterations_per_epoch=None))
    count = []
    student.end_of_iteration_hook = lambda _: count.append(1)
    with torch.random.fork_rng():
        student.train()
        assert len(count) == 3
        labels = true_labels(student.dataset.pairs)
        student.dataset.label([*labels[:2], None, *labels[3:5], None], rigid_residuals)
        student.train()
    assert len(count) == 3 + 2


def test_descriptions_are_those_of_evaluation_and_training_goes_on():
    student = labelled(make_student(SupConLoss()))
    pair = student.dataset.pairs[0]
    trunk = student.models["trunk"]
    found = student.describe(pair.data_a)
    assert torch.equal(found, trunk.eval()(pair.data_a))
    assert not found.requires_grad
    with torch.random.fork_rng():
        student.train()
    assert trunk.training


def test_it_refuses_what_it_cannot_train():
    student = make_student(SupConLoss())
    with pytest.raises(ValueError, match="with a label, 0"):
        student.train()
    trunk = nn.Linear(2, 2)
    good = {
        "models": {"trunk": trunk},
        "optimizers": {"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=0.1)},
        "batch_size": 1,
        "loss_funcs": {"metric_loss": SupConLoss()},
        "dataset": student.dataset,
    }
    GeometricStudentTrainer(**good)
    for name, value, message in [
        ("dataset", TensorDataset(torch.zeros(3)), "GeometricPairs, got TensorDataset"),
        ("models", {"embedder": trunk}, "'trunk'"),
        ("models", {"trunk": trunk, "ref_trunk": trunk}, "ref_trunk"),
        ("loss_funcs", {"metric_loss": SupConLoss(), "class_loss": SupConLoss()}, "class_loss"),
        ("mining_funcs", {"subset_batch_miner": residual_miner()}, "subset_batch_miner"),
        ("optimizers", {}, "trunk_optimizer"),
    ]:
        with pytest.raises(ValueError, match=message):
            GeometricStudentTrainer(**{**good, name: value})
