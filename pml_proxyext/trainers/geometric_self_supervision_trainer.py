"""Self-supervised geometric perception: a teacher labels pairs of views, a student learns to describe their points."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pml_proxyext.geometry import GeometricLabel, GeometricTeacher, mutual_nearest_neighbors
from pml_proxyext.trainers.geometric_pairs import PointPair
from pml_proxyext.trainers.geometric_student_trainer import GeometricStudentTrainer
from pml_proxyext.utils.checks import check_integer

__all__ = ["GeometricSelfSupervisionTrainer", "RoundReport"]


@dataclass(frozen=True)
class RoundReport:
    """What the teacher had to say in a round.

    Args:
        round: 0 for the labels from the bootstrap.
        num_pairs: of views.
        num_failed: pairs without a model.
        num_kept: pairs to train on.
        inlier_ratio: of the matches, by the labels themselves; the mean over all pairs, a failed fit being 0.
        num_right: right labels among all; None without a judge.
        num_right_kept: right labels among those kept; None without a judge.
    """

    round: int
    num_pairs: int
    num_failed: int
    num_kept: int
    inlier_ratio: float
    num_right: int | None = None
    num_right_kept: int | None = None

    @property
    def survival(self) -> float:
        """Share of the pairs that are trained on."""
        return self.num_kept / self.num_pairs

    @property
    def precision(self) -> float | None:
        """Share of right labels among those kept; None without a judge."""
        return None if self.num_right_kept is None else self.num_right_kept / self.num_kept


class GeometricSelfSupervisionTrainer:
    r"""Alternate between a teacher that fits models to matches and a student that learns from them to match.

    ::

        round 0:  matches of the bootstrap -> teacher -> verifier -> student
        round k:  matches of the student   -> teacher -> verifier -> student         k = 1 .. meta_iters

    No pair needs a label from outside. The teacher is robust, so a model can be right although most matches are wrong;
    by a right model, many more points correspond than were matched, and from those the student learns what the matches
    before could not tell. Nothing proves that it converges; the verifier is there to keep wrong labels out.

    Args:
        student: with the pairs as its data set, and the models, the optimizers and the loss to train.
        teacher: fits a model to the matches of a pair, and tells residuals by it.
        verifier: says which labels to train on, as :class:`~pml_proxyext.geometry.GeometricVerifier` does. Whatever it
            says, failed fits are left out.
        bootstrap: returns the matches ``(M, 2)`` of a pair for the first round, from descriptors made by hand.
        matcher: returns the matches of descriptors ``(N, D)`` and ``(M, D)`` that the student makes.
        meta_iters: rounds after that of the bootstrap. The released code has 2; with 0, only the bootstrap teaches.
        num_epochs: of the student in a round.
        finetune: whether the student goes on from the round before. By default it starts from its first state
            (models, optimizers, schedulers, losses), as in the released code.
        judge: says whether the label of a pair is right, for the reports alone.
        end_of_round_hook: called with this trainer after each round; the report of the round is ``reports[-1]``.

    Raises:
        ValueError: for numbers out of range; by ``train`` if no label survives the verifier, or fewer than the
            student's ``batch_size``.

    State:
        :meth:`state_dict` holds the student's state, its first state, the labels of the round and the reports. Save
        it where the student can be saved: in its ``end_of_epoch_hook``, in ``end_of_round_hook`` or after ``train()``.
        A run that goes on from there is the one that never stopped, to the last bit, if the teacher and the bootstrap
        give the same for the same.

        .. code-block:: python

            student.end_of_epoch_hook = lambda _: torch.save(trainer.state_dict(), "run.pth")

            trainer.load_state_dict(torch.load("run.pth", weights_only=True))
            trainer.train()

    Departs from the paper or the release:
        both train on labels in files, and train networks of their own for a fixed task; here it is any PML loss. The
        release trains on failed fits if the thresholds let them pass.

    Reference:
        Yang, Dong, Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114.

    Example:
        >>> from pytorch_metric_learning.losses import SupConLoss
        >>> from pml_proxyext.geometry import GeometricVerifier, RigidTeacher
        >>> from pml_proxyext.trainers import GeometricPairs
        >>> _ = torch.manual_seed(0)
        >>> clouds, codes = torch.randn(4, 30, 3), torch.randn(4, 30, 8)
        >>> pairs = [PointPair(a, a + 1, code, code + 0.1 * torch.randn(30, 8)) for a, code in zip(clouds, codes)]
        >>> network = torch.nn.Linear(8, 8)
        >>> student = GeometricStudentTrainer(
        ...     {"trunk": network},
        ...     {"trunk_optimizer": torch.optim.Adam(network.parameters())},
        ...     batch_size=2,
        ...     loss_funcs={"metric_loss": SupConLoss()},
        ...     dataset=GeometricPairs(pairs, num_correspondences=10, threshold=0.05),
        ...     dataloader_num_workers=0,
        ... )
        >>> trainer = GeometricSelfSupervisionTrainer(
        ...     student,
        ...     RigidTeacher(0.05),
        ...     GeometricVerifier.clouds(),
        ...     bootstrap=lambda pair: mutual_nearest_neighbors(pair.data_a, pair.data_b),
        ... )
        >>> trainer.train()
        >>> [report.survival for report in trainer.reports]
        [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        student: GeometricStudentTrainer,
        teacher: GeometricTeacher,
        verifier: Callable[[GeometricLabel], bool],
        bootstrap: Callable[[PointPair], Tensor],
        matcher: Callable[[Tensor, Tensor], Tensor] = mutual_nearest_neighbors,
        *,
        meta_iters: int = 2,
        num_epochs: int = 1,
        finetune: bool = False,
        judge: Callable[[GeometricLabel, PointPair], bool] | None = None,
        end_of_round_hook: Callable[[GeometricSelfSupervisionTrainer], Any] | None = None,
    ) -> None:
        self.student, self.teacher, self.verifier = student, teacher, verifier
        self.bootstrap, self.matcher = bootstrap, matcher
        self.meta_iters = check_integer("meta_iters", meta_iters, low=0)
        self.num_epochs = check_integer("num_epochs", num_epochs)
        self.finetune, self.judge, self.end_of_round_hook = finetune, judge, end_of_round_hook
        self.labels: list[GeometricLabel | None] = []
        self.reports: list[RoundReport] = []
        self._rounds_done = 0
        self._next_epoch: int | None = None  # of the student, after a state has been loaded
        self._first_state = copy.deepcopy(student.parts_state())

    def train(self) -> None:
        """Do the rounds that are left."""
        if self._next_epoch is not None:
            self._go_on(self._next_epoch)
        while self._rounds_done <= self.meta_iters:
            self._teach()
            self._learn(1)

    def _go_on(self, next_epoch: int) -> None:
        self._next_epoch = None
        if len(self.reports) > self._rounds_done:
            self._learn(next_epoch)
        elif self.reports:  # between two rounds: to train for no epoch takes over the random states, and that is all
            self.student.train(next_epoch, next_epoch - 1)

    def _learn(self, next_epoch: int) -> None:
        self.student.train(next_epoch, self.num_epochs)
        self._rounds_done += 1
        if self.end_of_round_hook is not None:
            self.end_of_round_hook(self)

    def match(self, pair: PointPair) -> Tensor:
        """Return the matches of a pair, ``(M, 2)``, by the student as it is."""
        return self.matcher(self.student.describe(pair.data_a), self.student.describe(pair.data_b))

    def _teach(self) -> None:
        pairs, number = self.student.dataset.pairs, self._rounds_done
        match = self.match if number else self.bootstrap
        found = [self.teacher.fit(pair.points_a, pair.points_b, match(pair)) for pair in pairs]
        labels = [label if label.success and self.verifier(label) else None for label in found]
        kept = self.student.dataset.label(labels, self.teacher.residuals)
        failed = sum(not label.success for label in found)
        if not kept.any():
            raise ValueError(
                f"the verifier must keep at least one pair to train on, got none of {len(pairs)} in round {number}; "
                f"{failed} had no model"
            )
        right = right_kept = None
        if self.judge is not None:
            labelled = zip(found, pairs, strict=True)
            is_right = torch.tensor([label.success and self.judge(label, pair) for label, pair in labelled])
            right, right_kept = int(is_right.sum()), int((is_right & kept).sum())
        ratio = sum(label.inlier_ratio for label in found) / len(found)
        self.reports.append(RoundReport(number, len(pairs), failed, int(kept.sum()), ratio, right, right_kept))
        self.labels = labels
        if not self.finetune:
            self.student.load_parts_state(self._first_state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run; tensors are not copied, as in torch's own ``state_dict``.

        Raises:
            RuntimeError: within an epoch of the student.
        """
        return {
            "rounds_done": self._rounds_done,
            "reports": [asdict(report) for report in self.reports],
            "labels": [
                None if label is None else [label.model, label.inlier_mask, label.fitness] for label in self.labels
            ],
            "first_state": self._first_state,
            "student": self.student.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned; :meth:`train` then does what is left.

        Raises:
            ValueError: for another number of pairs, and if the student has other models, optimizers or losses.
        """
        labels = [None if label is None else GeometricLabel(*label) for label in state["labels"]]
        self._next_epoch = self.student.load_state_dict(state["student"])
        if labels:
            self.student.dataset.label(labels, self.teacher.residuals)
        self.labels, self._first_state = labels, state["first_state"]
        self.reports = [RoundReport(**report) for report in state["reports"]]
        self._rounds_done = state["rounds_done"]
