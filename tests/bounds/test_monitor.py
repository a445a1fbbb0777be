"""What the monitor records in a loop and in PML's trainer, and that the training is none the wiser."""

from __future__ import annotations

import csv
import runpy
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from torch import nn
from torch.utils.data import TensorDataset

from pml_proxyext.bounds import REGISTRY, SlackMonitor
from pml_proxyext.losses import ProxyAnchorLoss

toys = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "toys.py")))
LABELS = torch.arange(8) % 4


def embeddings(seed=0):
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))


def steps(monitor, name):
    return [reading.step for reading in monitor.history[name]]


def test_both_sides_of_every_step_are_recorded():
    loss_func = pml.SupConLoss()
    with SlackMonitor("supcon.ge_ntxent", hyper={"temperature": 0.2}).watch(loss_func) as monitor:
        for seed in range(3):
            loss_func(embeddings(seed), LABELS)
    expected = [pml.NTXentLoss(temperature=0.2)(embeddings(seed).double(), LABELS).item() for seed in range(3)]
    readings = monitor.history["supcon.ge_ntxent"]
    assert [reading.evaluation.lhs for reading in readings] == pytest.approx(expected, rel=1e-12)
    assert steps(monitor, "supcon.ge_ntxent") == [0, 1, 2]
    assert monitor.violations["supcon.ge_ntxent"] == monitor.skipped["supcon.ge_ntxent"] == 0


@pytest.mark.parametrize("call", ["positional", "keywords", "mixed"])
def test_the_hook_sees_the_arguments_however_they_are_passed(call):
    loss_func, monitor = pml.TripletMarginLoss(), SlackMonitor(toys.HOLDS)
    monitor.watch(loss_func)
    if call == "positional":
        loss_func(embeddings(), LABELS, None)
    elif call == "keywords":
        loss_func(labels=LABELS, embeddings=embeddings())
    else:
        loss_func(embeddings(), labels=LABELS, indices_tuple=None)
    value = embeddings().double().square().mean().item()
    assert monitor.history["toy.holds"][0].evaluation.lhs == pytest.approx(value, rel=1e-14)


def test_only_every_nth_step_is_computed(monkeypatch):
    seen = []
    side = toys.Side("counted", lambda batch: seen.append(1) or toys.norm(batch))
    loss_func = pml.TripletMarginLoss()
    monitor = SlackMonitor(toys.relation("counted", side, toys.scaled(1)), every=3).watch(loss_func)
    monkeypatch.setattr(monitor, "observe", observe := Counted(monitor.observe))
    for _ in range(8):
        loss_func(embeddings(), LABELS)
    assert steps(monitor, "toy.counted") == [0, 3, 6]
    assert len(seen) == observe.calls == 3  # not even a copy is made on the other steps


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def test_violations_and_skipped_batches_are_counted():
    loss_func = pml.TripletMarginLoss()
    monitor = SlackMonitor([toys.VIOLATED, toys.NAN, toys.PAIRS, toys.REFUTED, toys.PROXIES]).watch(loss_func)
    loss_func(embeddings(), LABELS)
    loss_func(embeddings(), LABELS % 2)
    assert [monitor.violations[f"toy.{name}"] for name in ("violated", "nan", "pairs", "refuted")] == [2, 2, 0, 2]
    assert (monitor.skipped["toy.pairs"], monitor.skipped["toy.proxies"]) == (1, 2)
    assert monitor.reasons == {"toy.pairs": "classes have 4 samples, not 2", "toy.proxies": "there are no proxies"}
    assert steps(monitor, "toy.pairs") == [0]
    text = str(monitor)
    assert "nan" in text
    assert "classes have 4 samples, not 2" in " ".join(text.split())


def test_a_hidden_nan_is_shown_as_the_least_slack():
    """min() would return it or not, by the order of the readings."""
    values = iter([1.0, float("nan"), 2.0])
    side = toys.Side("once nan", lambda batch: toys.norm(batch) * 0 + next(values))
    monitor = SlackMonitor(toys.relation("once", lambda batch: toys.norm(batch) * 0, side))
    for step in range(3):
        monitor.observe(step, embeddings(), LABELS)
    row = str(monitor).splitlines()[-1].split()
    assert row[:5] == ["toy.once", "3", "2", "nan", "1"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProxyAnchorLoss(4, 6),
        lambda: pml.NormalizedSoftmaxLoss(4, 6),
        lambda: pml.ProxyNCALoss(4, 6),
        lambda: pml.MultipleLosses([pml.CosFaceLoss(4, 6), pml.SupConLoss()]),
    ],
    ids=["ours", "W", "proxies", "one of several"],
)
def test_proxies_are_those_of_the_loss(make):
    loss_func, monitor = make(), SlackMonitor(toys.PROXIES)
    (parameter,) = loss_func.parameters()
    monitor.watch(loss_func)
    loss_func(embeddings(), LABELS)
    assert monitor.history["toy.proxies"][0].evaluation.rhs == pytest.approx(parameter.double().sum().item(), rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pml.TripletMarginLoss(),
        lambda: pml.SoftTripleLoss(4, 6, centers_per_class=2),
        lambda: pml.MultipleLosses([pml.CosFaceLoss(4, 6), pml.ProxyNCALoss(4, 6)]),
    ],
    ids=["none", "several per class", "several losses"],
)
def test_without_one_proxy_for_each_class_there_are_none(make):
    loss_func, monitor = make(), SlackMonitor([toys.PROXIES, toys.HOLDS])
    monitor.watch(loss_func)
    loss_func(embeddings(), LABELS)
    assert monitor.reasons["toy.proxies"] == "there are no proxies"
    assert steps(monitor, "toy.holds") == [0]


def test_labels_may_be_missing():
    loss_func, monitor = pml.VICRegLoss(), SlackMonitor(toys.HOLDS)
    monitor.watch(loss_func)
    loss_func(embeddings(), ref_emb=embeddings(1))
    assert monitor.reasons == {"toy.holds": "there are no labels"}


def test_evaluation_mode_is_no_training():
    loss_func, monitor = pml.TripletMarginLoss(), SlackMonitor(toys.HOLDS)
    monitor.watch(loss_func)
    loss_func.eval()(embeddings(), LABELS)
    loss_func.train()(embeddings(), LABELS)
    assert steps(monitor, "toy.holds") == [0]


def test_removing_stops_and_keeps_the_readings():
    loss_func, monitor = pml.TripletMarginLoss(), SlackMonitor(toys.HOLDS)
    with monitor.watch(loss_func):
        loss_func(embeddings(), LABELS)
    loss_func(embeddings(), LABELS)
    assert steps(monitor, "toy.holds") == [0]
    assert not loss_func._forward_hooks
    monitor.remove()  # again: nothing happens


def train(monitored):
    """Return what three steps with everything that a monitor could disturb leave behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
        loss_func = ProxyAnchorLoss(4, 6)
        optimizer = torch.optim.Adam([*network.parameters(), *loss_func.parameters()], lr=0.1)
        monitor = SlackMonitor("*")
        if monitored:
            monitor.watch(loss_func)
        values = []
        for seed in range(3):
            with torch.autocast("cpu", torch.bfloat16):
                value = loss_func(network(embeddings(seed)), LABELS)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.detach())
        return monitor, [*values, *network.parameters(), *loss_func.parameters(), torch.get_rng_state()]


def test_training_is_the_same_to_the_last_bit_under_autocast():
    monitor, watched = train(monitored=True)
    _, unwatched = train(monitored=False)
    assert all(torch.equal(*pair) for pair in zip(watched, unwatched, strict=True))
    recorded = sum(len(readings) for readings in monitor.history.values())
    assert recorded + sum(monitor.skipped.values()) == 3 * len(REGISTRY)
    assert recorded > 0
    claims = {name for name, relation in REGISTRY.items() if relation.kind.value == "refuted" or relation.nan_because}
    assert set(+monitor.violations) <= claims


def test_bfloat16_embeddings_are_read_as_they_are():
    loss_func, monitor = pml.SupConLoss(), SlackMonitor(toys.HOLDS)
    monitor.watch(loss_func)
    loss_func(embeddings().bfloat16(), LABELS)
    value = embeddings().bfloat16().double().square().mean().item()
    assert monitor.history["toy.holds"][0].evaluation.lhs == value


def trainer_of(loss_func, hook=None, iterations=4):
    data = TensorDataset(torch.randn(16, 6), torch.arange(16) % 4)
    trunk = nn.Linear(6, 6)
    return MetricLossOnly(
        models={"trunk": trunk},
        optimizers={"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=0.01)},
        batch_size=8,
        loss_funcs={"metric_loss": loss_func},
        dataset=data,
        iterations_per_epoch=iterations,
        data_device=torch.device("cpu"),
        dataloader_num_workers=0,
        end_of_iteration_hook=hook,
    )


def test_in_pmls_trainer_readings_lie_next_to_its_own_records(tmp_path):
    keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path / "csv"), str(tmp_path / "tensorboard"))
    hooks = logging_presets.get_hook_container(keeper, log_freq=1)
    loss_func = pml.SupConLoss()
    trainer = trainer_of(loss_func, hooks.end_of_iteration_hook)
    monitor = SlackMonitor([toys.HOLDS, toys.VIOLATED, toys.PROXIES], every=3, record_keeper=keeper)
    loss_func(embeddings(), LABELS)  # before the training: no step of it
    with monitor.attach(trainer):
        loss_func(embeddings(), LABELS)
        trainer.train(num_epochs=2)
        assert trainer.end_of_iteration_hook == hooks.end_of_iteration_hook
    keeper.save_records()
    assert steps(monitor, "toy.holds") == [0, 3, 6]

    with (tmp_path / "csv" / "bounds_toy_holds.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    readings = monitor.history["toy.holds"]
    assert [int(row["~iteration~"]) for row in rows] == [0, 3, 6]
    assert [float(row["slack"]) for row in rows] == [reading.evaluation.slack for reading in readings]
    database = sqlite3.connect(tmp_path / "csv" / "logs.db")
    violations = database.execute("select lhs, rhs, violations from bounds_toy_violated").fetchall()
    tables = {name for (name,) in database.execute("select name from sqlite_master")}
    losses = database.execute("select count(*) from loss_histories").fetchone()
    database.close()
    assert [row[2] for row in violations] == [1, 2, 3]
    assert all(lhs > rhs for lhs, rhs, _ in violations)
    assert losses == (8,)
    assert "bounds_toy_proxies" not in tables  # nothing was ever recorded


def test_every_relation_has_a_table_of_its_own():
    tables = []
    keeper = SimpleNamespace(update_records=lambda row, step, parent_name: tables.append(parent_name))
    monitor = SlackMonitor("*", record_keeper=keeper)
    monitor.observe(0, embeddings(), LABELS, torch.randn(4, 6, generator=torch.Generator().manual_seed(1)))
    assert len(tables) == len(set(tables)) == len(REGISTRY)
    assert all(table.isidentifier() for table in tables)


def test_a_training_that_goes_on_has_its_own_iterations():
    loss_func = pml.SupConLoss()
    trainer = trainer_of(loss_func)
    with SlackMonitor(toys.HOLDS, every=5).attach(trainer) as monitor:
        trainer.train(start_epoch=3, num_epochs=4)
    assert steps(monitor, "toy.holds") == [10, 15]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be an integer >= 1, got 0"),
        ({"hyper": {"temperature": float("nan")}}, "temperature must be a finite number, got nan"),
        ({"relations": ["supcon.no"]}, "'supcon.no'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SlackMonitor(**{"relations": "*", **arguments})


def test_what_torch_compiles_can_be_watched():
    loss_func = torch.compile(ProxyAnchorLoss(4, 6), backend="eager", fullgraph=True)
    with SlackMonitor(toys.PROXIES).watch(loss_func) as monitor:
        loss_func(embeddings(), LABELS)
    assert monitor.history["toy.proxies"][0].evaluation.rhs == loss_func.proxies.double().sum().item()
