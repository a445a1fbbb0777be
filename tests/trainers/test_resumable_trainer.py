"""A run that stops and goes on is the run that never stopped, bit by bit: whatever draws its random numbers."""

import io
import random

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import BaseTrainer
from pytorch_metric_learning.utils import common_functions as c_f
from torch import nn
from torch.utils.data import Dataset, RandomSampler, StackDataset

from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.trainers import CrossModalTrainer
from pml_proxyext.trainers.random_states import random_states, restore_random_states
from pml_proxyext.wrappers import CrossModalMemory

CPU = torch.device("cpu")
ROWS, BATCH = 40, 8  # five batches in a pass
LABELS = torch.arange(ROWS) // 4


class Jittered(Dataset):
    """Rows of two views, moved by noise from every generator there is."""

    def __init__(self):
        generator = torch.Generator().manual_seed(7)
        self.a, self.b = torch.randn(ROWS, 6, generator=generator), torch.randn(ROWS, 5, generator=generator)
        self.generator = torch.Generator().manual_seed(11)

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + torch.rand(()) + torch.rand((), generator=self.generator)
        return {"data": self.a[index] + 0.1 * noise, **self.rest(index)}

    def rest(self, index):
        a, b = self.a[index], self.b[index]
        return {"ref_data": b, "labels": LABELS[index], "input_emb": a.abs(), "ref_input_emb": b.abs()}


class FromTorch(Jittered):
    """Rows with noise from torch alone, which each worker is seeded with."""

    def __getitem__(self, index):
        return {"data": self.a[index] + 0.1 * torch.rand(()), **self.rest(index)}


SAMPLERS = {
    "shuffled": lambda: None,
    "own generator": lambda: RandomSampler(range(ROWS), generator=torch.Generator().manual_seed(3)),
    "with replacement": lambda: RandomSampler(range(ROWS), replacement=True, num_samples=24),
    "per class": lambda: MPerClassSampler(LABELS, m=2, batch_size=BATCH, length_before_new_iter=24),
}


def seed_everything(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def make_trainer(sampler="shuffled", workers=0, kind=CrossModalTrainer, **options):
    """A trainer with all that has a state: dropout, batch norm, momenta, schedules, a memory, parameters of a loss."""
    models = {
        "trunk": nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3)),
        "ref_trunk": nn.Linear(5, 3),
    }
    losses = {"metric_loss": CrossModalMemory(CrossCLRLoss(), 3, 6, 5, memory_size=20), "alignment_loss": NTXentLoss()}
    optimizers = {
        "trunk_optimizer": torch.optim.Adam(models["trunk"].parameters(), lr=0.01),
        "ref_trunk_optimizer": torch.optim.SGD(models["ref_trunk"].parameters(), lr=0.01, momentum=0.9),
    }
    schedulers = {
        "trunk_scheduler_by_iteration": torch.optim.lr_scheduler.ExponentialLR(optimizers["trunk_optimizer"], 0.9),
        "ref_trunk_scheduler_by_epoch": torch.optim.lr_scheduler.StepLR(optimizers["ref_trunk_optimizer"], 1, 0.5),
    }
    defaults = {"dataset": Jittered(), "iterations_per_epoch": 2, "dataloader_num_workers": workers, "data_device": CPU}
    return kind(
        models=models,
        optimizers=optimizers,
        batch_size=BATCH,
        loss_funcs=losses,
        sampler=SAMPLERS[sampler](),
        lr_schedulers=schedulers,
        **{**defaults, **options},
    )


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def leaves(tree, path=""):
    """Yield every tensor and number of a state, with its place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, tree


def different(one, other):
    ones, others = dict(leaves(one)), dict(leaves(other))
    assert ones.keys() == others.keys()
    return [
        key
        for key, value in ones.items()
        if not (torch.equal(value, others[key]) if isinstance(value, torch.Tensor) else value == others[key])
    ]


def run(trainer, until, start=1):
    """Train; return each loss, and the states after each epoch as a file has them."""
    losses, states = [], {}
    trainer.end_of_iteration_hook = lambda trainer: losses.append(trainer.losses["total_loss"].item())
    trainer.end_of_epoch_hook = lambda trainer: states.update({trainer.epoch: through_a_file(trainer.state_dict())})
    trainer.train(start, until)
    return losses, states


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_two_halves_are_the_whole(sampler, stop):
    with torch.random.fork_rng():
        seed_everything(0)
        losses, states = run(make_trainer(sampler), 5)
        assert len(set(losses)) == 10
        seed_everything(1)  # a new process has other numbers
        resumed = make_trainer(sampler)
        assert different(resumed.state_dict()["models"], states[5]["models"])
        start = resumed.load_state_dict(states[stop])
        assert start == stop + 1
        seed_everything(2)  # whatever happens before training goes on
        later_losses, later_states = run(resumed, 5, start)
    assert later_losses == losses[2 * stop :]
    assert different(later_states[5], states[5]) == []


def test_two_halves_are_the_whole_with_worker_processes():
    with torch.random.fork_rng():
        seed_everything(0)
        trainer = make_trainer(workers=1, dataset=FromTorch())
        losses, states = run(trainer, 3)
        seed_everything(1)
        resumed = make_trainer(workers=1, dataset=FromTorch())
        later_losses, later_states = run(resumed, 3, resumed.load_state_dict(states[1]))
    for ended in (trainer, resumed):
        del ended.dataloader_iter  # left to the garbage collector, a worker is waited for five seconds
    assert later_losses == losses[2:]
    assert different(later_states[3], states[3]) == []


class AsInPML(CrossModalTrainer):
    """The same losses on the batches as PML's trainer draws them."""

    initialize_dataloader = BaseTrainer.initialize_dataloader

    def get_batch(self):
        later, batch = c_f.try_next_on_generator(self.dataloader_iter, self.dataloader)
        self.dataloader_iter = iter([batch])
        found = super().get_batch()
        self.dataloader_iter = later
        return found


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batches_and_random_numbers_are_those_of_pml(sampler):
    runs = []
    for kind in (CrossModalTrainer, AsInPML):
        losses = []
        with torch.random.fork_rng():
            seed_everything(0)
            hook = {"end_of_iteration_hook": lambda trainer: losses.append(trainer.losses["total_loss"].item())}  # noqa: B023
            make_trainer(sampler, kind=kind, **hook).train(1, 4)
        runs.append(losses)
    assert len(runs[0]) == 8
    assert runs[0] == runs[1]


def test_states_are_complete_before_and_after_training():
    with torch.random.fork_rng():
        seed_everything(0)
        trainer = make_trainer()
        fresh = through_a_file(trainer.state_dict())
        expected, _ = run(trainer, 2)
        seed_everything(1)
        other = make_trainer()
        assert other.load_state_dict(fresh) == 1
        assert different(other.state_dict(), fresh) == []  # loaded and saved again without a step
        assert run(other, 2)[0] == expected


def test_state_within_an_epoch_is_refused():
    trainer = make_trainer(end_of_iteration_hook=lambda trainer: trainer.state_dict())
    with torch.random.fork_rng(), pytest.raises(RuntimeError, match="state_dict must be called between epochs"):
        trainer.train()


def test_a_trainer_of_other_parts_is_refused():
    state = make_trainer().state_dict()
    del state["lr_schedulers"]["trunk_scheduler_by_iteration"]
    with pytest.raises(ValueError, match=r"lr_schedulers must have the keys of the saved run, \['ref_trunk_sch"):
        make_trainer().load_state_dict(state)


def test_data_without_the_place_to_go_on_is_refused():
    with torch.random.fork_rng():
        trainer = make_trainer()
        trainer.train(1, 2)
        state = trainer.state_dict()
        assert state["data"]["batches"] == 4
        shorter = make_trainer("with replacement")  # three batches in a pass
        shorter.load_state_dict(state)
        with pytest.raises(ValueError, match="the data must have 4 batches, which the saved run had read, got 3"):
            shorter.train(3, 3)


@pytest.mark.parametrize(
    ("iterations", "message"),
    [(None, "batch_size must be at most the number of samples"), (2, "the data must have a whole batch for each pass")],
)
def test_data_smaller_than_a_batch_is_named(iterations, message):
    few = StackDataset(StackDataset(torch.ones(5, 6), torch.ones(5, 5)), torch.arange(5))
    trainer = make_trainer(iterations_per_epoch=iterations, dataset=few)
    with torch.random.fork_rng(), pytest.raises(ValueError, match=message):
        trainer.train()


def test_random_states_bring_back_every_generator(monkeypatch):
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(1)

    module, sampler = nn.Sequential(Owner(), Owner()), RandomSampler(range(9), generator=torch.Generator())
    monkeypatch.setattr(c_f, "NUMPY_RANDOM", np.random.RandomState(5))

    def draw():
        own = [torch.rand(2, generator=owner.generator).tolist() for owner in module]
        theirs = [list(sampler), c_f.NUMPY_RANDOM.standard_normal(3).tolist()]
        return own, theirs, np.random.standard_normal(3).tolist(), random.random(), torch.rand(2).tolist()

    with torch.random.fork_rng():
        draw()
        states = through_a_file(random_states([module, sampler, module]))
        first, second = draw(), draw()
        assert first != second
        restore_random_states(states, [module, sampler, module])
        assert draw() == first
        assert draw() == second
        with pytest.raises(ValueError, match="must hold 3 generators, as those of the saved run did, got 2"):
            restore_random_states(states, [module])


def test_random_states_of_numpys_new_generators(monkeypatch):
    monkeypatch.setattr(c_f, "NUMPY_RANDOM", np.random.default_rng(0))
    states = through_a_file(random_states())
    first = c_f.NUMPY_RANDOM.random(3).tolist()
    restore_random_states(states)
    assert c_f.NUMPY_RANDOM.random(3).tolist() == first
