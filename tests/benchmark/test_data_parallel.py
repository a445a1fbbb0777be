"""Two processes must train as one does; the expected numbers are those of one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn

from pml_proxyext.benchmark.__main__ import main
from pml_proxyext.benchmark.data_parallel import RankBatchNorm, RankRows, share_statistics
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.benchmark.training import Training
from pml_proxyext.testing.processes import run_processes

RECIPES = ["proxy_anchor", "el_nivmf", "nir_proxy_anchor", "multi_similarity"]


@pytest.fixture(scope="module")
def data() -> Any:
    return Run("supcon", smoke=True).load().train


State = dict[str, Tensor]


def trained(name: str, data: Any, path: Path) -> tuple[State, State]:
    """Return all weights before and after two steps; SGD, for Adam would hide gradients of another size."""
    recipe = dataclasses.replace(Run(name).resolved_recipe(), batch_size=16, steps=2, lr=1e-2)
    regime = dataclasses.replace(recipe.regime, evaluations=2, optimizer=Part("torch.optim.SGD"))
    training = Training(dataclasses.replace(recipe, regime=regime), data, seed=3)

    def state() -> State:
        parts = {**training.models, "loss": training.loss}
        return {f"{part}.{key}": value.clone() for part, m in parts.items() for key, value in m.state_dict().items()}

    before = state()
    training.fit(lambda models, epoch: {"mean_average_precision_at_r": 0.0}, path / "checkpoint.pt")
    return before, state()


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_network_and_loss_as_one_does(name: str, data: Any, tmp_path: Path) -> None:
    """In the trunk, single units turn on or off by rounding, so that it is met in the mean over its weights."""
    (tmp_path / "one").mkdir()
    before, expected = trained(name, data, tmp_path / "one")
    for start, found in run_processes(lambda rank: trained(name, data, tmp_path)):
        assert set(found) == set(expected)
        for key, value in expected.items():
            torch.testing.assert_close(start[key], before[key], rtol=0, atol=0)
            if not value.is_floating_point():
                assert found[key].equal(value)
                continue
            change, error = ((value - other).norm().item() for other in (before[key], found[key]))
            assert change > 0 or value.ndim < 2, key
            assert error <= (2e-2 if key.startswith("trunk") else 1e-3) * change + 1e-6, key
    assert (tmp_path / "checkpoint.pt").exists()


def test_batches_joined_over_ranks_are_those_of_the_sampler() -> None:
    labels = torch.arange(60) % 10

    def drawn() -> MPerClassSampler:
        return MPerClassSampler(labels, 3, 12, 120)

    def rows(rank: int) -> list[int]:
        with seeded(0, 0):
            sampler = RankRows(drawn(), 12)
            assert len(sampler) == 60
            return list(sampler)

    with seeded(0, 0):
        expected = torch.tensor(list(drawn())).reshape(10, 12)
    joined = torch.cat([torch.tensor(found).reshape(10, 6) for found in run_processes(rows)], dim=1)
    assert joined.equal(expected)
    assert set(Counter(labels[joined[0]].tolist()).values()) == {3}


def test_rows_need_a_batch_that_can_be_shared() -> None:
    def refused(rank: int) -> str:
        with pytest.raises(ValueError, match="batch_size must be a multiple") as error:
            RankRows(MPerClassSampler(torch.arange(9), 1, 9), 9)
        return str(error.value)

    assert run_processes(refused) == 2 * ["batch_size must be a multiple of the number of processes, 2, got 9"]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_batch_norm_of_two_ranks_is_that_of_one(layer: type[nn.Module], momentum: float | None) -> None:
    shape = (8, 3) if layer is nn.BatchNorm1d else (8, 3, 4, 5)
    generator = torch.Generator().manual_seed(0)
    inputs, cotangent = torch.randn(2, *shape, dtype=torch.float64, generator=generator)

    def model() -> nn.Module:
        with seeded(0, 0):
            return nn.Sequential(layer(3, momentum=momentum, affine=layer is nn.BatchNorm2d)).double()

    def step(net: nn.Module, rows: slice) -> list[Tensor]:
        part = inputs[rows].clone().requires_grad_()
        for _ in range(2):
            output = net(part)
        output.mul(cotangent[rows]).sum().backward()
        gradients = [p.grad for p in net.parameters()]
        for gradient in gradients if dist.is_initialized() else []:
            dist.all_reduce(gradient)
        return [output.detach(), part.grad, *gradients, *net.buffers(), net.eval()(part).detach()]

    def on_rank(rank: int) -> list[Tensor]:
        net = share_statistics(model())
        assert isinstance(net[0], RankBatchNorm)
        return step(net, slice(4 * rank, 4 * rank + 4))

    expected = step(model(), slice(None))
    halves = run_processes(on_rank)
    for one, other, whole in zip(*halves, expected, strict=True):
        joined = torch.cat([one, other]) if whole.shape == inputs.shape else one
        torch.testing.assert_close(joined, whole)


def test_without_a_group_nothing_changes() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    assert share_statistics(model) is model
    assert type(model[0]) is nn.BatchNorm1d
    assert list(RankRows(torch.utils.data.SequentialSampler(range(6)), 3)) == list(range(6))


def test_runs_of_one_process_keep_their_identity() -> None:
    assert "processes" not in Run("supcon").identity()
    assert Run("supcon", processes=2).identity()["processes"] == 2
    assert Run("supcon", processes=2).key != Run("supcon").key


@pytest.mark.slow
def test_command_line_trains_on_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--quiet", "--smoke", "--steps", "2", "--recipes", "proxy_anchor", "--settings", "none"]
    for nproc in (1, 2):
        assert main([*arguments, "--nproc", str(nproc), "--results", str(tmp_path / str(nproc))]) == 0
    one, two = (
        next(record for record in read_results(tmp_path / folder) if record["recipe"] == "proxy_anchor")
        for folder in ("1", "2")
    )
    assert two["processes"] == 2
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, abs=0.02)  # ranks of neighbours can change by rounding
    assert main([*arguments, "--nproc", "3", "--results", str(tmp_path / "3")]) == 2
    assert "batch_size must be a multiple of the number of processes, 3, got 16" in capsys.readouterr().err
