"""One run: matches by what is not trained, by a student of the loop, or by one that is told the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.benchmark.trainer import without_inner_bars
from pml_proxyext.geometry import GeometricLabel, GeometricTeacher, mutual_nearest_neighbors
from pml_proxyext.trainers import GeometricSelfSupervisionTrainer, GeometricStudentTrainer, PointPair

__all__ = ["TITLES", "TRAINED", "GeometryTask", "cosine_matches", "run_arm"]

#: Names of the arms that need a student, in the order of tables.
TRAINED = {
    "untrained": "Untrained student",
    "sgp": "SGP",
    "no_verifier": "SGP without verifier",
    "oracle": "Student told the truth",
}
#: Names of all arms that an experiment may have.
TITLES = {"bootstrap": "Bootstrap", "inputs": "Inputs of the student", "root_sift": "RootSIFT, upright", **TRAINED}

_SEEN = 0.05  # share of right matches above which a pair counts for feature match recall

Matcher = Callable[[PointPair], Tensor]


@dataclass(frozen=True)
class GeometryTask:
    """What all arms of an experiment have in common.

    Args:
        train: pairs to learn from; the truth of them is for the oracle and for reports.
        test: pairs to score.
        references: what is not trained, by name; ``"bootstrap"`` is also what the loop starts from.
        make_student: a new student of pairs.
        teacher: of the loop, and of every arm when it is scored.
        verifier: of the loop.
        is_right: whether a label is near enough to the truth.
        threshold: the largest residual, by the truth, of a right match.
    """

    train: Sequence[PointPair]
    test: Sequence[PointPair]
    references: Mapping[str, Matcher]
    make_student: Callable[[Sequence[PointPair]], GeometricStudentTrainer]
    teacher: GeometricTeacher
    verifier: Callable[[GeometricLabel], bool]
    is_right: Callable[[GeometricLabel, PointPair], bool]
    threshold: float

    def score(self, match: Matcher) -> dict[str, float]:
        """Return the means over test pairs.

        ``recall`` is the share of right fits, ``inlier_ratio`` that of right matches, and ``feature_match_recall`` that
        of pairs with more than 5 % right matches.
        """
        right, shares = [], []
        for pair in self.test:
            truth, matches = _truth(pair), match(pair)
            label = self.teacher.fit(pair.points_a, pair.points_b, matches)
            right.append(label.success and self.is_right(label, pair))
            a, b = pair.points_a[matches[:, 0]].double(), pair.points_b[matches[:, 1]].double()
            is_match = self.teacher.residuals(truth, a, b) < self.threshold
            shares.append(float(is_match.double().mean()) if len(matches) else 0.0)
        count = len(self.test)
        seen = sum(share > _SEEN for share in shares)
        return {"recall": sum(right) / count, "inlier_ratio": sum(shares) / count, "feature_match_recall": seen / count}


def cosine_matches(descriptors_a: Tensor, descriptors_b: Tensor) -> Tensor:
    """Return the pairs of descriptors each of which has the largest cosine with the other."""
    return mutual_nearest_neighbors(normalize(descriptors_a), normalize(descriptors_b))


def run_arm(arm: str, task: GeometryTask, meta_iters: int) -> tuple[dict[str, float], Matcher]:
    """Return the scores of an arm, and how it matches in the end.

    An arm with rounds has the scores of each, with its number behind the name, and what its labels were worth:
    ``kept`` of all, ``precision`` of those kept, and ``right`` of all.

    Args:
        arm: one of the task's references or of :data:`TRAINED`.
        task: what to learn and to score.
        meta_iters: rounds after that of the bootstrap.
    """
    if arm in task.references:
        return task.score(task.references[arm]), task.references[arm]
    student = task.make_student(task.train)

    def match(pair: PointPair) -> Tensor:
        return cosine_matches(student.describe(pair.data_a), student.describe(pair.data_b))

    metrics: dict[str, float] = {}
    with without_inner_bars():
        if arm == "oracle":
            told = [GeometricLabel(_truth(pair), torch.ones(1, dtype=torch.bool), 1.0) for pair in task.train]
            student.dataset.label(told, task.teacher.residuals)
            student.train()
        elif arm != "untrained":

            def end(trainer: GeometricSelfSupervisionTrainer) -> None:
                report = trainer.reports[-1]
                found = {**task.score(match), "kept": report.survival, "precision": report.precision or 0.0}
                found["right"] = (report.num_right or 0) / report.num_pairs
                metrics.update({f"{name}_{report.round}": value for name, value in found.items()})

            GeometricSelfSupervisionTrainer(
                student,
                task.teacher,
                task.verifier if arm == "sgp" else _accept,
                task.references["bootstrap"],
                cosine_matches,
                meta_iters=meta_iters,
                judge=task.is_right,
                end_of_round_hook=end,
            ).train()
    return metrics or task.score(match), match


def _accept(label: Any) -> bool:
    return True


def _truth(pair: PointPair) -> Tensor:
    if pair.truth is None:
        raise ValueError("truth is required to score a pair, got one without")
    return pair.truth
