"""One run: a recipe with a seed, trained, evaluated, written down, and resumed where it was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from pml_proxyext.benchmark.data_parallel import run_on_processes
from pml_proxyext.benchmark.datasets import DATASETS, RetrievalData, Split, load_data
from pml_proxyext.benchmark.evaluation import Evaluator
from pml_proxyext.benchmark.files import write_whole
from pml_proxyext.benchmark.provenance import commit, environment
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.recipes import get_recipe
from pml_proxyext.benchmark.results import append_result, read_results
from pml_proxyext.benchmark.training import Training
from pml_proxyext.utils.checks import check_choice, check_integer

__all__ = ["Run", "execute", "finished_runs"]

_SMOKE_CLASSES = 24


@dataclass(frozen=True)
class Run:
    """What identifies a run; two runs that differ in any of it are never mixed.

    Args:
        recipe: name of the recipe.
        seed: seeds the initial weights, the batches and the loss's own randomness.
        data: name of the data set.
        split: evaluate on the ``"test"`` or on the ``"validation"`` classes.
        steps: batches to train on; None for the recipe's number.
        tuned: settings that a search chose; see :meth:`Recipe.with_overrides`.
        overrides: settings that replace the recipe's and the tuned ones; tables name them.
        smoke: whether to train and evaluate on next to nothing, to see that all parts fit.
        processes: how many train together, each on its part of the batch. What comes out is that of one up to rounding.
    """

    recipe: str
    seed: int = 0
    data: str = "glyphs"
    split: Split = "test"
    steps: int | None = None
    tuned: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    smoke: bool = False
    processes: int = 1

    def resolved_recipe(self) -> Recipe:
        """Return the recipe with what it leaves open taken from the data set, and tuned settings, overrides, steps."""
        check_choice("data", self.data, DATASETS)
        recipe = get_recipe(self.recipe).with_overrides({**self.tuned, **self.overrides})
        recipe = recipe.completed(DATASETS[self.data].shared)
        if recipe.data not in (None, self.data):
            raise ValueError(f"data must be {recipe.data!r} for the recipe {recipe.name!r}, got {self.data!r}")
        if recipe.loss is None:
            regime = recipe.regime.for_smoke() if self.smoke else recipe.regime
            return dataclasses.replace(recipe, steps=0, regime=regime)
        if self.steps is not None:
            recipe = dataclasses.replace(recipe, steps=check_integer("steps", self.steps))
        return recipe.for_smoke() if self.smoke else recipe

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON would, the number of steps, a hash of the recipe's settings, and the environment.

        So a recipe that is changed in the code, or a default of its loss, is run again, as on another machine or with
        other versions, and the old results stay apart.
        """
        recipe = self.resolved_recipe()
        fields = dataclasses.asdict(self)
        if self.processes == 1:
            del fields["processes"]  # so that runs from before there were several keep their keys
        return {
            **fields,
            "steps": recipe.steps,
            "tuned": dict(sorted(self.tuned.items())),
            "overrides": dict(sorted(self.overrides.items())),
            "settings": _digest(recipe.settings()),
            "environment": environment(),
        }

    @property
    def key(self) -> str:
        """A short name for files: the recipe, the seed, and a hash of the identity."""
        return f"{self.recipe}-{self.seed}-{_digest(self.identity())}"

    def load(self) -> RetrievalData:
        """Return the run's data."""
        data, views = load_data(self.data, self.split), self.resolved_recipe().regime.views
        if self.smoke:
            data = data.first_classes(_SMOKE_CLASSES)
        return data if views is None else data.seen_through(views)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def finished_runs(directory: Path) -> set[str]:
    """Return the keys of the runs that have a line in the directory's result files."""
    return {record["key"] for record in read_results(directory)} if directory.is_dir() else set()


def execute(
    run: Run, directory: Path, *, progress: bool = False, log: bool = False, with_nmi: bool = False
) -> dict[str, Any] | None:
    """Carry out a run and append its line to the results in ``directory``.

    An interrupted run goes on from its last checkpoint, bit for bit as if nothing had happened (on the same machine
    and number of threads).

    Args:
        run: what to do.
        directory: where results, checkpoints, logs and embeddings go.
        progress: whether to show a progress bar.
        log: whether PML's record keeper writes losses and scores to CSV and TensorBoard files.
        with_nmi: whether to compute NMI as well.

    Returns:
        the line as a dictionary, or None if the run is finished already or another process is at it.
    """
    locks = directory / "checkpoints"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{run.key}.lock")  # the system frees it if the process is killed
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    try:
        if run.key in finished_runs(directory):
            return None
        if run.processes == 1:
            return _execute(run, directory, progress, log, with_nmi)
        run_on_processes(partial(_execute, run, directory, progress, log, with_nmi), run.processes)
        return next(record for record in read_results(directory) if record["key"] == run.key)
    finally:
        lock.release()


def _execute(run: Run, directory: Path, progress: bool, log: bool, with_nmi: bool) -> dict[str, Any] | None:
    """Train, evaluate and write; in a group of processes rank 0 does the last two, and the times are its own."""
    cpu_start = time.process_time()
    data = run.load()
    log_directory = directory / "logs" / run.key if log else None
    recipe = run.resolved_recipe()
    training = Training(recipe, data.train, run.seed, log_directory)
    evaluator = Evaluator(
        data.evaluation,
        with_nmi,
        training.end_of_testing_hook,
        gallery=data.gallery,
        recall_at=data.recall_at,
        device=training.device,
        workers=recipe.regime.workers,
    )
    checkpoint = directory / "checkpoints" / f"{run.key}.pt"
    metrics = training.fit(evaluator, checkpoint, progress and training.rank == 0)
    if training.rank:
        return None
    embeddings = directory / "embeddings" / f"{run.key}.npz"
    write_whole(embeddings, partial(np.savez_compressed, **evaluator.embeddings()))
    training.save_models(directory / "models" / f"{run.key}.pt")
    record = {
        "key": run.key,
        **run.identity(),
        "title": recipe.title,
        "metrics": metrics,
        "curve": training.curve,
        "seconds": round(training.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu_start, 1),
        "cpu_seconds_training": round(training.cpu_seconds, 2),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }
    append_result(directory, record)
    checkpoint.unlink(missing_ok=True)
    return record
