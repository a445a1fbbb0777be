"""What goes wrong on one rank must end in an error on all of them, and soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import ContrastiveLoss, NormalizedSoftmaxLoss
from torch import Tensor

from pml_proxyext.losses import NivMFLoss, ProxyAnchorLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.wrappers import ShardedProxies, load_shards, save_shards

C, D, N = 7, 4, 6
WORLD_SIZE = 3
SECONDS = 20.0


def softmax(count: int = C) -> NormalizedSoftmaxLoss:
    return NormalizedSoftmaxLoss(count, D)


def batch(rows: int = N) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, D, requires_grad=True), torch.arange(rows) % C


def message_of(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "no error"


def test_every_invalid_batch_of_one_rank_is_an_error_on_all() -> None:
    """One group for all cases: the ranks are in step again after each."""

    def steps(rank: int) -> list[tuple[str, str]]:
        loss = ShardedProxies(softmax, C)
        embeddings, labels = batch()
        wrong = {
            "labels must lie in [0, 7), got values from 0 to 7": (embeddings, labels + labels.eq(5) * 2),
            "labels must lie in [0, 7), got values from -1 to 4": (embeddings, labels - 1),
            "labels must be integers, got torch.float32": (embeddings, labels.float()),
            "labels are required": (embeddings, None),
            "embeddings must have embedding_size 4, got shape (6, 3)": (embeddings[:, :3], labels),
            "Number of embeddings must equal number of labels (rank 1)": (embeddings, labels[:5]),
            "the shape of embeddings must be the same on all ranks, got [(6, 4), (5, 4), (6, 4)]": batch(5),
            "the dtype of embeddings must be the same on all ranks": (embeddings.double(), labels),
            "whether embeddings need gradients must be the same on all ranks": (embeddings.detach(), labels),
        }
        found = []
        for expected, arguments in wrong.items():
            given = arguments if rank == 1 else (embeddings, labels)
            found.append((expected, message_of(lambda given=given: loss(*given))))
            loss(embeddings, labels).backward()  # nobody is out of step
        loss.train(rank != 1)
        found.append(("whether the loss is in training mode", message_of(lambda: loss(embeddings, labels))))
        return found

    outcomes = run_processes(steps, WORLD_SIZE, timeout=SECONDS)
    for of_ranks in zip(*outcomes, strict=True):
        assert len(set(of_ranks)) == 1  # the same on all ranks
        expected, message = of_ranks[0]
        assert expected in message


def test_loss_that_one_rank_cannot_make_is_an_error_on_all() -> None:
    def steps(rank: int) -> list[str]:
        def fails(count: int) -> NormalizedSoftmaxLoss:
            if rank == 1:
                raise MemoryError("too many proxies")
            return softmax(count)

        makers = [fails, lambda count: ContrastiveLoss() if rank == 1 else softmax(count)]
        found = [message_of(lambda make=make: ShardedProxies(make, C)) for make in makers]
        found.append(message_of(lambda: ShardedProxies(softmax, C + rank)))
        return [*found, message_of(lambda: ShardedProxies(lambda count: NivMFLoss(count, D + rank), C))]

    for memory, kind, size, width in run_processes(steps, WORLD_SIZE, timeout=SECONDS):
        assert "MemoryError: too many proxies (rank 1)" in memory
        assert "got ValueError: loss must be one of" in kind
        assert "num_classes must be the same on all ranks, got [7, 8, 9]" in size
        assert "embedding_size must be the same on all ranks, got [4, 5, 6]" in width


def test_folder_that_one_rank_cannot_write_is_an_error_on_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def step(rank: int) -> str:
        folder = tmp_path / ("file" if rank == 1 else "folder")
        return message_of(lambda: save_shards(ShardedProxies(softmax, C), folder))

    assert all("folder must be writable" in text for text in run_processes(step, WORLD_SIZE, timeout=SECONDS))
    assert not list(tmp_path.glob("folder/*.pt"))  # no half of a checkpoint


def test_file_that_one_rank_cannot_read_is_an_error_on_all_and_changes_nothing(tmp_path: Path) -> None:
    run_processes(lambda rank: save_shards(ShardedProxies(softmax, C), tmp_path), WORLD_SIZE)
    (tmp_path / "classes_2_to_4_of_7.pt").write_bytes(b"half a file")

    def step(rank: int) -> tuple[str, bool]:
        loss = ShardedProxies(softmax, C)
        before = loss.loss.W.detach().clone()
        return message_of(lambda: load_shards(loss, tmp_path)), torch.equal(loss.loss.W, before)

    for text, is_unchanged in run_processes(step, WORLD_SIZE, timeout=SECONDS):
        assert "(rank 1)" in text
        assert "(rank 0)" not in text
        assert is_unchanged


@pytest.mark.parametrize("dies_in", ["forward", "backward"])
def test_rank_that_dies_is_an_error_on_the_others(dies_in: str, tmp_path: Path) -> None:
    def steps(rank: int) -> None:
        loss = ShardedProxies(lambda count: ProxyAnchorLoss(count, D), C)
        loss(*batch()).backward()
        if dies_in == "forward" and rank == 2:
            os._exit(1)
        start = time.monotonic()
        try:
            value = loss(*batch())
            if dies_in == "backward" and rank == 2:
                os._exit(1)
            value.backward()
        except RuntimeError as error:
            (tmp_path / str(rank)).write_text(f"{time.monotonic() - start}\n{error}")
            raise

    with pytest.raises(AssertionError, match="RuntimeError"):
        run_processes(steps, WORLD_SIZE, timeout=SECONDS)
    for rank in range(2):
        seconds = float((tmp_path / str(rank)).read_text().splitlines()[0])
        assert seconds < SECONDS / 2


def test_rank_that_never_comes_is_an_error_on_the_others_after_the_timeout(tmp_path: Path) -> None:
    waited = tmp_path / "seconds"

    def steps(rank: int) -> None:
        dist.barrier()
        dist.destroy_process_group()  # in the place of this group comes one with a timeout that a test can wait for
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/store", rank=rank, world_size=2, timeout=timedelta(seconds=5)
        )
        loss = ShardedProxies(softmax, C)
        start = time.monotonic()
        while rank == 1 and not waited.exists() and time.monotonic() < start + SECONDS / 2:
            time.sleep(0.1)
        if rank == 0:
            with pytest.raises(RuntimeError, match=r"[Tt]imed out"):
                loss(*batch())
            waited.write_text(str(time.monotonic() - start))
        os._exit(0)  # the group is broken, and nobody can leave it in good order

    with pytest.raises(AssertionError):
        run_processes(steps, 2, timeout=SECONDS)
    assert 2 < float(waited.read_text()) < SECONDS / 2
