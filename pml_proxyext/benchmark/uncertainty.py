"""What the norm knows: trained networks on clean and degraded glyphs, and whether they know where they go wrong."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from pml_proxyext.benchmark.datasets import MemorySet
from pml_proxyext.benchmark.datasets.degraded import LEVELS, Degraded, degradations
from pml_proxyext.benchmark.jobs import set_threads
from pml_proxyext.benchmark.networks import load_models
from pml_proxyext.benchmark.provenance import commit, environment
from pml_proxyext.benchmark.rejection import nearest_neighbours
from pml_proxyext.benchmark.results import append_result, read_results
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.summaries import select
from pml_proxyext.testers import Rejection, auroc

__all__ = ["CERTAINTIES", "CONDITIONS", "REJECTED", "evaluate_uncertainty", "measure", "read_uncertainty"]

#: The certainties compared: the norm of the embedding, and its cosine with the nearest neighbour, which every method
#: has.
CERTAINTIES = ("norm", "similarity")

#: From the name of a group of queries to the levels in it, ``clean`` being the images as they are.
CONDITIONS: dict[str, list[str]] = {
    "clean": ["clean"],
    **{f"{kind}_{level:g}": [f"{kind}_{level:g}"] for kind, levels in LEVELS.items() for level in levels},
    **{kind: [f"{kind}_{level:g}" for level in levels] for kind, levels in LEVELS.items()},
    "all": ["clean", *(f"{kind}_{level:g}" for kind, levels in LEVELS.items() for level in levels)],
}

#: The fractions of queries turned away for which the error is noted.
REJECTED = np.linspace(0, 0.9, 46)

_DATA, _SEED = "glyphs", 0
_VERSION = 1  # raise it when the measurement changes: old lines are then left aside, and runs are measured again
_FROM_RUN = ("recipe", "seed", "data", "split", "steps", "tuned", "overrides", "smoke", "settings", "environment")

_Floats = npt.NDArray[np.floating[Any]]


def evaluate_uncertainty(
    results: Path,
    recipes: Sequence[str] | None = None,
    split: str = "test",
    smoke: bool = False,
    threads: int = 1,
    progress: bool = True,
) -> int:
    """Measure every finished run on glyphs that has left its models, and append a line for each to the results.

    The lines are in the folder ``uncertainty`` of the results. A run that has a line there is not measured again; two
    commands at once take turns.

    Args:
        results: folder of the runs.
        recipes: the methods to measure (and the untrained line); None for all.
        split: of the classes, as in the runs.
        smoke: measure the runs of ``run --smoke`` instead.
        threads: to compute with.
        progress: whether to show a progress bar.

    Returns:
        the number of runs measured.

    Raises:
        ValueError: if no run has left its models.
    """
    runs = [run for run in select(read_results(results), split, smoke, recipes) if _models(results, run).is_file()]
    runs = [run for run in runs if run["data"] == _DATA]
    if not runs:
        raise ValueError(f"results must hold a run on {_DATA} with its models, got {results} without; train one anew")
    folder = results / "uncertainty"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "runs.lock"):
        measured = {line["key"] for line in read_results(folder)}
        waiting = [run for run in runs if _key(run) not in measured]
        if not waiting:
            return 0
        set_threads(threads)
        clean = Run("untrained", data=_DATA, split=waiting[0]["split"], smoke=smoke).load().evaluation
        assert isinstance(clean, MemorySet)
        degraded = list(degradations(clean.samples, clean.labels, _SEED))
        for run in tqdm(waiting, desc="uncertainty", disable=not progress):
            append_result(folder, _line(run, *measure(load_models(_models(results, run)), clean, degraded)))
    return len(waiting)


def read_uncertainty(results: Path) -> list[dict[str, Any]]:
    """Return the lines that :func:`evaluate_uncertainty` left, without those of another version of the measurement."""
    folder = results / "uncertainty"
    lines = read_results(folder) if folder.is_dir() else []
    return [line for line in lines if line.get("measurement") == _measurement()]


def measure(
    models: Mapping[str, nn.Module], clean: MemorySet, degraded: Sequence[Degraded]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Look up clean and degraded images among the clean ones, and compare errors with certainties.

    An image never finds its own original, nor that of the other image mixed into it.

    Args:
        models: trunk and embedder.
        clean: the gallery, and the undegraded queries.
        degraded: the degraded queries.

    Returns:
        scores by ``condition/name`` for each of :data:`CONDITIONS`, and for each of :data:`CERTAINTIES` the error
        among all queries at the fractions :data:`REJECTED`. The names are ``precision_at_1``, ``median_norm`` and, by
        certainty, ``error_auroc_...`` (wrong or right?), ``degraded_auroc_...`` (degraded or clean?),
        ``rejection_area_...`` and ``rejection_area_normalized_...``. All are NaN if the embeddings are not finite.
    """
    gallery = _embed(models, clean.samples)
    labels = clean.labels.numpy()
    itself = np.arange(len(labels))
    queries = {"clean": _look_up(gallery, gallery, labels, np.stack([itself], axis=1))}
    for part in degraded:
        excluded = np.stack([itself, part.partners.numpy()], axis=1)
        queries[part.name] = _look_up(_embed(models, part.images), gallery, labels, excluded)
    scores = {
        f"{condition}/{name}": round(score, 6)
        for condition, parts in CONDITIONS.items()
        for name, score in _scores([queries[part] for part in parts], queries["clean"]).items()
    }
    everything = _Queries.together([queries[part] for part in CONDITIONS["all"]])
    curves = {name: everything.rejection(name).error_at(REJECTED).round(6).tolist() for name in CERTAINTIES}
    return scores, curves


@dataclass(frozen=True)
class _Queries:
    """Whether each query goes wrong, and its certainties."""

    wrong: npt.NDArray[np.bool_]
    certainty: dict[str, _Floats]

    @classmethod
    def together(cls, parts: Sequence[_Queries]) -> _Queries:
        certainty = {name: np.concatenate([part.certainty[name] for part in parts]) for name in CERTAINTIES}
        return cls(np.concatenate([part.wrong for part in parts]), certainty)

    def rejection(self, certainty: str) -> Rejection:
        return Rejection(self.wrong, self.certainty[certainty])


def _scores(parts: Sequence[_Queries], clean: _Queries) -> dict[str, float]:
    queries = _Queries.together(parts)
    degraded = [part for part in parts if part is not clean]
    scores = {
        "precision_at_1": 1 - float(queries.rejection("norm").error[0]),  # NaN where certainties are
        "median_norm": float(np.median(queries.certainty["norm"])),
    }
    for name in CERTAINTIES:
        rejection = queries.rejection(name)
        scores[f"error_auroc_{name}"] = rejection.auroc
        scores[f"rejection_area_{name}"] = rejection.area
        scores[f"rejection_area_normalized_{name}"] = rejection.normalized_area
        if degraded:
            both = _Queries.together([clean, *degraded]).certainty[name]
            scores[f"degraded_auroc_{name}"] = auroc(np.arange(len(both)) >= len(clean.wrong), -both)
    return scores


def _look_up(
    queries: _Floats, gallery: _Floats, labels: npt.NDArray[np.int64], excluded: npt.NDArray[np.int64]
) -> _Queries:
    nearest, similarity = nearest_neighbours(queries, gallery, excluded)
    norm = np.where(np.isnan(similarity), np.nan, np.linalg.norm(queries, axis=1))
    return _Queries(labels[nearest] != labels, {"norm": norm, "similarity": similarity})


@torch.no_grad()
def _embed(models: Mapping[str, nn.Module], images: Tensor) -> _Floats:
    parts = [models["embedder"](models["trunk"](part.float() / 255)) for part in images.split(512)]
    return torch.cat(parts).numpy()


def _models(results: Path, run: Mapping[str, Any]) -> Path:
    return results / "models" / f"{run['key']}.pt"


def _measurement() -> str:
    settings = [_VERSION, LEVELS, _SEED, REJECTED.tolist()]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _key(run: Mapping[str, Any]) -> str:
    return f"{run['key']}-{_measurement()}"


def _line(run: Mapping[str, Any], scores: dict[str, float], curves: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "key": _key(run),
        "run": run["key"],
        "title": run.get("title", run["recipe"]),
        **{name: run[name] for name in _FROM_RUN if name in run},
        "measurement": _measurement(),
        "metrics": {**run["metrics"], **scores},
        "rejection": curves,
        "measured_in": environment(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
    }
