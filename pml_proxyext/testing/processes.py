"""A function on several processes that talk to each other, on one machine and without a GPU."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["run_processes"]


def run_processes(function: Callable[[int], Any], world_size: int = 2, timeout: float = 60.0) -> list[Any]:
    """Return ``[function(0), ..., function(world_size - 1)]``, each run in a process of one gloo group.

    Processes are forked where the system can, which takes a fraction of a second and any function; elsewhere they
    are spawned, and ``function`` must be picklable. Results travel through ``torch.save``.

    Raises:
        AssertionError: if a process fails (with its traceback) or does not end within ``timeout`` seconds.
    """
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads; see _process
            processes = [
                context.Process(target=_process, args=(function, rank, world_size, folder), daemon=True)
                for rank in range(world_size)
            ]
            for process in processes:
                process.start()
        for process in processes:
            process.join(timeout)
        late = [process for process in processes if process.is_alive()]
        for process in late:
            process.kill()
        outcomes = [torch.load(path, weights_only=False) for path in sorted(Path(folder).glob("result_*"))]
    errors = [outcome["error"] for outcome in outcomes if "error" in outcome]
    if errors or late or len(outcomes) < world_size:
        raise AssertionError("\n".join(errors) or f"{len(late)} of {world_size} processes did not end: no result")
    return [outcome["result"] for outcome in outcomes]


def _process(function: Callable[[int], Any], rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork, and must not be waited for
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
        outcome = {"result": function(rank)}
        dist.barrier()
        dist.destroy_process_group()
    except Exception:
        outcome = {"error": traceback.format_exc()}
    torch.save(outcome, Path(folder) / f"result_{rank}")
