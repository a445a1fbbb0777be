"""Many runs, one after the other or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import torch
from tqdm import tqdm

from pml_proxyext.benchmark.run import Run, execute, finished_runs

__all__ = ["run_all", "set_threads"]


def set_threads(threads: int) -> None:
    """Let torch and faiss compute with this many threads."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


def _begin_process(threads: int) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in what a shell started in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process, not just the run that it is at
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(threads)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; nothing else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_all(
    runs: Sequence[Run], directory: Path, jobs: int = 1, threads: int = 1, progress: bool = True, **options: Any
) -> int:
    """Carry out the runs that are not finished yet.

    Args:
        runs: what to do.
        directory: where the results go.
        jobs: how many processes to use.
        threads: how many threads each may use.
        progress: whether to show progress bars.
        **options: of :func:`~pml_proxyext.benchmark.run.execute`.

    Returns:
        the number of runs carried out.

    Raises:
        KeyboardInterrupt: at Ctrl-C, at once; the same call goes on later where the runs were.
        OSError: if results cannot be written. Of this, as of any other error of a run, the others are interrupted.
    """
    finished = finished_runs(directory)
    waiting = [run for run in runs if run.key not in finished]
    if jobs == 1:
        set_threads(threads)
        return sum(execute(run, directory, progress=progress, **options) is not None for run in waiting)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the libraries that the new processes load
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin_process, initargs=(threads,))
    with pool, tqdm(total=len(waiting), desc="runs", disable=not progress) as bar:
        futures = {pool.submit(partial(execute, run, directory, **options)): run for run in waiting}
        done = 0
        try:
            for future in as_completed(futures):
                done += future.result() is not None
                bar.set_postfix_str(futures[future].recipe)
                bar.update()
        except BaseException:  # an interruption, or a run that cannot be carried out
            for process in multiprocessing.active_children():
                process.terminate()  # what it was at goes on from its last checkpoint another time
            raise
    return done
