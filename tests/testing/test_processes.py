from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist

from pml_proxyext.testing.processes import run_processes


def test_processes_form_one_group_and_return_in_order() -> None:
    def total(rank: int) -> tuple[int, float]:
        numbers = torch.tensor([10.0**rank])
        dist.all_reduce(numbers)
        return rank, numbers.item()

    assert run_processes(total, world_size=3) == [(0, 111.0), (1, 111.0), (2, 111.0)]


def test_error_of_one_process_is_told() -> None:
    def fails(rank: int) -> None:
        if rank == 1:
            raise RuntimeError("rank one is unwell")

    with pytest.raises(AssertionError, match="rank one is unwell"):
        run_processes(fails, timeout=20)


def test_process_that_does_not_end_is_killed() -> None:
    with pytest.raises(AssertionError, match="did not end"):
        run_processes(lambda rank: time.sleep(60), timeout=1)
