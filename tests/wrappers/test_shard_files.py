"""What is saved by some number of processes is read by any other, and by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss
from torch import Tensor

from pml_proxyext.losses import NIRLoss, NivMFLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.testing.subject import seeded
from pml_proxyext.wrappers import ShardedProxies, load_shards, load_whole, save_shards
from pml_proxyext.wrappers.rank_slices import class_range

C, D = 7, 4
MAKERS: dict[str, Callable[[int], Any]] = {
    "nivmf": lambda count: NivMFLoss(count, D, "nivmf", generator=torch.Generator().manual_seed(0)),
    "arcface": lambda count: ArcFaceLoss(count, D),
    "nir": lambda count: NIRLoss(count, D, n_blocks=1, n_layers=2, hidden_size=4),
}


def class_axis(name: str) -> int | None:
    """Return the dimension of the classes in a parameter, or None."""
    return {"proxies": 0, "concentrations": 0, "W": 1}.get(name.rpartition(".")[2])


def whole(name: str) -> Any:
    with seeded(0):
        return MAKERS[name](C)


def trained(name: str, seed: int = 1) -> tuple[ShardedProxies, torch.optim.Optimizer]:
    """Return a loss and its optimizer after two steps of the same batch of random embeddings on each rank."""
    with seeded(seed):
        loss = ShardedProxies(MAKERS[name], C)
        load_whole(loss, whole(name).state_dict())
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
        for _ in range(2):
            step(loss, optimizer, 6)
    return loss, optimizer


def step(loss: ShardedProxies, optimizer: torch.optim.Optimizer, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    optimizer.zero_grad()
    value = loss(torch.randn(rows, D, generator=generator), torch.randint(C, (rows,), generator=generator))
    value.backward()
    optimizer.step()
    return value.detach()


def tensors(loss: ShardedProxies) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in loss.loss.state_dict().items()}


@pytest.mark.parametrize(("writers", "readers"), [(2, 3), (3, 1), (1, 2)])
def test_any_number_of_ranks_reads_what_another_wrote(writers: int, readers: int, tmp_path: Path) -> None:
    def write(rank: int) -> dict[str, dict[str, Tensor]]:
        written = {}
        for name in MAKERS:
            loss, optimizer = trained(name)
            save_shards(loss, tmp_path / name, optimizer)
            written[name] = tensors(loss)
        return written

    def read(rank: int) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
        found = {}
        for name in MAKERS:
            loss = ShardedProxies(MAKERS[name], C)
            optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
            load_shards(loss, tmp_path / name, optimizer)
            found[name] = tensors(loss), {key: dict(optimizer.state[p]) for key, p in loss.loss.named_parameters()}
        return found

    written = run_processes(write, writers)
    for rank, found in enumerate(run_processes(read, readers)):
        first, stop = class_range(C, rank, readers)
        for name, (state, kept) in found.items():
            initial = whole(name).state_dict()
            for key, tensor in state.items():
                axis = class_axis(key)
                parts = [part[name][key] for part in written]
                own = parts[0] if axis is None else torch.cat(parts, axis).narrow(axis, first, stop - first)
                torch.testing.assert_close(tensor, own, rtol=0, atol=0)
                if axis is not None:
                    assert not torch.equal(tensor, initial[key].narrow(axis, first, stop - first))  # it was trained
            for key, of_optimizer in kept.items():
                assert of_optimizer["step"] == 2
                assert of_optimizer["exp_avg_sq"].shape == state[key].shape
                assert of_optimizer["exp_avg_sq"].any() or key.startswith("flow")


def test_training_goes_on_as_it_would_have_with_other_ranks(tmp_path: Path) -> None:
    """The batch is the same on all ranks, so the mean over the whole batch does not depend on their number."""

    def write(rank: int) -> Tensor:
        loss, optimizer = trained("arcface")
        save_shards(loss, tmp_path, optimizer)
        return torch.stack([step(loss, optimizer, 6) for _ in range(3)])

    def go_on(rank: int) -> Tensor:
        loss = ShardedProxies(MAKERS["arcface"], C)
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
        load_shards(loss, tmp_path, optimizer)
        return torch.stack([step(loss, optimizer, 6) for _ in range(3)])

    expected = run_processes(write, 2)[0]
    for values in [*run_processes(go_on, 3), go_on(0)]:
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)


def test_whole_checkpoint_and_back(tmp_path: Path) -> None:
    """One process writes a file of PyTorch's; two take their slices from it; one reads what they write."""
    torch.save(whole("nivmf").state_dict(), tmp_path / "whole.pt")

    def convert(rank: int) -> None:
        loss = ShardedProxies(MAKERS["nivmf"], C)
        load_whole(loss, torch.load(tmp_path / "whole.pt", mmap=True))
        save_shards(loss, tmp_path / "shards")

    run_processes(convert)
    loss = ShardedProxies(MAKERS["nivmf"], C)
    load_shards(loss, tmp_path / "shards")
    for name, tensor in whole("nivmf").state_dict().items():
        torch.testing.assert_close(loss.loss.state_dict()[name], tensor, rtol=0, atol=0)


def test_second_checkpoint_replaces_the_first(tmp_path: Path) -> None:
    for world_size in (3, 2):
        run_processes(lambda rank: save_shards(trained("arcface")[0], tmp_path), world_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes_0_to_3_of_7.pt", "classes_3_to_7_of_7.pt"]


def saved(folder: Path, name: str = "arcface") -> ShardedProxies:
    loss = ShardedProxies(MAKERS[name], C)
    save_shards(loss, folder)
    return loss


def test_missing_and_double_files_are_refused(tmp_path: Path) -> None:
    loss = saved(tmp_path)
    path = tmp_path / "classes_0_to_7_of_7.pt"
    (tmp_path / "classes_0_to_3_of_7.pt").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="files of all 7 classes, each class once, got"):
        load_shards(loss, tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="files of all 7 classes, each class once, got"):
        load_shards(loss, tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        load_shards(loss, tmp_path / "nowhere")


def test_other_losses_are_refused_and_leave_the_loss_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, "nivmf")
    loss = ShardedProxies(MAKERS["arcface"], C)
    before = tensors(loss)
    with pytest.raises(ValueError, match=r"the tensors must be \['W'\], got \['concentrations', "):
        load_shards(loss, tmp_path)
    with pytest.raises(ValueError, match=r"W must have the shape \(4, 7\), got \(5, 7\)"):
        load_whole(loss, {"W": torch.zeros(5, C)})
    assert torch.equal(tensors(loss)["W"], before["W"])


def test_optimizer_that_was_not_saved_is_refused(tmp_path: Path) -> None:
    loss = saved(tmp_path)
    optimizer = torch.optim.Adam(loss.parameters())
    load_shards(loss, tmp_path, optimizer)  # nothing had been kept of it yet, and nothing is read
    assert not optimizer.state
    step(loss, optimizer, 6)
    save_shards(loss, tmp_path, optimizer)
    load_shards(loss, tmp_path)  # without one, its entries are left where they are


def test_state_of_other_classes_is_refused() -> None:
    def exchange(rank: int) -> str:
        loss = ShardedProxies(MAKERS["arcface"], 8)
        loss.load_state_dict(loss.state_dict())
        state = loss.state_dict()
        state["_extra_state"] = {**state["_extra_state"], "first": 4 - state["_extra_state"]["first"]}
        with pytest.raises(ValueError, match="save_shards and load_shards") as raised:
            loss.load_state_dict(state)
        return str(raised.value)

    assert "must be of the classes {'first': 4, 'stop': 8, 'num_classes': 8}" in run_processes(exchange)[1]
