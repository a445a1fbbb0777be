"""The loop of teacher and student: rounds, reports, refusals, and runs that stop and go on."""

import io

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from pml_proxyext.geometry import GeometricLabel, GeometricVerifier, rigid_residuals, rotation_error
from pml_proxyext.losses import HardestContrastiveLoss
from pml_proxyext.miners import GeometricPseudoLabelMiner
from pml_proxyext.trainers import GeometricSelfSupervisionTrainer
from tests.trainers.geometric_scenes import (
    TAU,
    Oracle,
    bootstrap,
    make_pairs,
    make_student,
    teacher,
    true_labels,
)

VERIFIER = GeometricVerifier(min_matches=4, min_inlier_ratio=0.0, min_inliers=6)


def is_right(label, pair):
    return bool(rotation_error(label.model[:3, :3], pair.truth[:3, :3]) < 5)


def make_trainer(student=None, loss=None, **options):
    student = make_student(loss or SupConLoss()) if student is None else student
    arguments = {"teacher": teacher(), "verifier": VERIFIER, "bootstrap": bootstrap, "judge": is_right, **options}
    return GeometricSelfSupervisionTrainer(student, **arguments)


def weights(student):
    return [value.clone() for value in student.models["trunk"].state_dict().values()]


def same(ones, others):
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def supervised(loss, epochs, **options):
    """Train as the student of the loop is, on labels from the truth."""
    student = make_student(loss, **options)
    student.dataset.label(true_labels(student.dataset.pairs), rigid_residuals)
    student.train(1, epochs)
    return student


LOSSES = {
    "by ids": lambda: (SupConLoss(), None),
    "by residuals": lambda: (SupConLoss(), GeometricPseudoLabelMiner(rigid_residuals, TAU, 4 * TAU)),
    "hardest": lambda: (HardestContrastiveLoss(), GeometricPseudoLabelMiner(rigid_residuals, TAU, 4 * TAU)),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("rounds", [0, 2])
def test_with_labels_of_an_oracle_the_loop_is_the_supervised_trainer(kind, rounds):
    """In each round, for each starts from the student's first state."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        loss, miner = LOSSES[kind]()
        expected = weights(supervised(loss, 2, miner=miner))
        loss, miner = LOSSES[kind]()
        student = make_student(loss, miner=miner)
        found = []

        def end(trainer):
            found.append(weights(trainer.student))
            torch.manual_seed(5)

        oracle = Oracle(student.dataset.pairs)
        torch.manual_seed(5)
        make_trainer(student, teacher=oracle, meta_iters=rounds, num_epochs=2, end_of_round_hook=end,
                     verifier=lambda label: True).train()  # fmt: skip
    assert len(found) == rounds + 1
    assert all(same(one, expected) for one in found)
    assert not same(expected, weights(make_student(SupConLoss())))


def test_finetuning_is_to_train_on():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        student = supervised(SupConLoss(), 1)
        student.train(1, 1)
        expected = weights(student)
        student = make_student(SupConLoss())
        torch.manual_seed(5)
        oracle = Oracle(student.dataset.pairs)
        make_trainer(student, teacher=oracle, verifier=lambda label: True, meta_iters=1, finetune=True).train()
    assert same(weights(student), expected)


def test_without_rounds_only_the_bootstrap_teaches():
    seen = []

    def watched(pair):
        seen.append(pair)
        return bootstrap(pair)

    trainer = make_trainer(bootstrap=watched, meta_iters=0)
    trainer.matcher = None  # nobody asks the student
    trainer.train()
    assert seen == trainer.student.dataset.pairs
    assert [report.round for report in trainer.reports] == [0]


def test_later_rounds_match_by_the_student_of_the_round_before():
    matches, fitted = [], []

    class Watched:
        def fit(self, points_a, points_b, found):
            fitted.append(found)
            return teacher().fit(points_a, points_b, found)

        residuals = staticmethod(rigid_residuals)

    def end(trainer):
        matches.append([trainer.match(pair) for pair in trainer.student.dataset.pairs])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        trainer = make_trainer(teacher=Watched(), meta_iters=2, num_epochs=3, end_of_round_hook=end)
        trainer.train()
    count = len(trainer.student.dataset.pairs)
    expected = [bootstrap(pair) for pair in trainer.student.dataset.pairs] + matches[0] + matches[1]
    assert len(fitted) == 3 * count
    assert same(fitted, expected)
    assert not all(len(a) == len(b) and torch.equal(a, b) for a, b in zip(matches[0], fitted[:count], strict=True))


class Scripted:
    """A teacher with a label ready for each pair: good, wrong, weak or failed."""

    def __init__(self, pairs, kinds):
        self.kinds = {id(pair.points_a): (kind, pair) for pair, kind in zip(pairs, kinds, strict=True)}

    def fit(self, points_a, points_b, matches):
        kind, pair = self.kinds[id(points_a)]
        if kind == "failed":
            return GeometricLabel.failure(10, size=4)
        turned = pair.truth.clone()
        if kind == "wrong":
            turned[:3, 0] *= -1
            turned[:3, 3] = points_b[0].double() - turned[:3, :3] @ points_a[0].double()
        return GeometricLabel(turned, torch.arange(10) < (2 if kind == "weak" else 8), 0.5)

    residuals = staticmethod(rigid_residuals)


def test_reports_count_what_the_teacher_did():
    student = make_student(SupConLoss())
    kinds = ["good", "good", "wrong", "weak", "failed", "good"]
    trainer = make_trainer(student, teacher=Scripted(student.dataset.pairs, kinds), meta_iters=0)
    trainer.train()
    (report,) = trainer.reports
    assert (report.num_pairs, report.num_failed, report.num_kept) == (6, 1, 4)
    assert (report.num_right, report.num_right_kept) == (4, 3)
    assert (report.survival, report.precision) == (4 / 6, 3 / 4)
    assert report.inlier_ratio == pytest.approx((4 * 0.8 + 0.2 + 0) / 6)
    assert [label is not None for label in trainer.labels] == [True, True, True, False, False, True]


def test_without_a_judge_there_is_no_precision():
    trainer = make_trainer(judge=None, meta_iters=0)
    trainer.train()
    assert trainer.reports[0].precision is None
    assert trainer.reports[0].num_right is None


def test_no_verifier_makes_it_train_on_a_failed_fit():
    student = make_student(SupConLoss(), pairs=make_pairs(3))
    trainer = make_trainer(
        student, teacher=Scripted(student.dataset.pairs, ["good", "failed", "good"]), verifier=lambda label: True
    )
    seen = []
    student.end_of_iteration_hook = lambda student: seen.append(len(student.dataset))
    trainer.train()
    assert {report.num_kept for report in trainer.reports} == {2}
    assert set(seen) == {2}


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["failed"] * 3, "got none of 3 in round 0; 3 had no model"),
        (["weak", "weak", "failed"], "got none of 3 in round 0; 1 had no model"),
        (["good", "weak", "failed"], "batch_size must be at most the number of pairs with a label, 1, got 2"),
    ],
)
def test_too_few_labels_are_refused_before_a_step_is_made(kinds, message):
    student = make_student(SupConLoss(), pairs=make_pairs(3))
    before = weights(student)
    trainer = make_trainer(student, teacher=Scripted(student.dataset.pairs, kinds))
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert same(weights(student), before)


@pytest.mark.parametrize(("name", "value"), [("meta_iters", -1), ("num_epochs", 0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        make_trainer(**{name: value})


def states_of(trainer):
    """Train; return the state at the end of each epoch and of each round, as files have them."""
    states = []
    trainer.student.end_of_epoch_hook = lambda _: states.append(through_a_file(trainer.state_dict()))
    trainer.end_of_round_hook = lambda _: states.append(through_a_file(trainer.state_dict()))
    trainer.train()
    return states


@pytest.mark.parametrize("finetune", [False, True])
@pytest.mark.parametrize("stop", range(9))
def test_a_run_that_stops_and_goes_on_is_the_run_that_never_stopped(stop, finetune):
    """Three rounds of two epochs: stops 2, 5 and 8 are between rounds, the others at the end of an epoch."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole = make_trainer(num_epochs=2, finetune=finetune)
        state = states_of(whole)[stop]
        torch.manual_seed(2)
        student = make_student(SupConLoss(), seed=9)  # a new process has other weights
        resumed = make_trainer(student, num_epochs=2, finetune=finetune)
        resumed.load_state_dict(state)
        torch.manual_seed(3)
        states_of(resumed)
    assert resumed.reports == whole.reports
    assert same(weights(student), weights(whole.student))
    last = [torch.cat([state.flatten() for state in one["state"][0].values()]) for one in
            (trainer.student.optimizers["trunk_optimizer"].state_dict() for trainer in (whole, resumed))]  # fmt: skip
    assert torch.equal(*last)


def test_a_state_before_the_first_round_is_one_too():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole = make_trainer()
        state = through_a_file(whole.state_dict())
        whole.train()
        torch.manual_seed(2)
        resumed = make_trainer(make_student(SupConLoss(), seed=9))
        resumed.load_state_dict(state)
        resumed.train()
    assert same(weights(resumed.student), weights(whole.student))
    assert resumed.reports == whole.reports


def test_a_finished_run_has_nothing_left_to_do():
    trainer = make_trainer(meta_iters=1)
    trainer.train()
    state, before = through_a_file(trainer.state_dict()), weights(trainer.student)
    resumed = make_trainer(make_student(SupConLoss(), seed=9), meta_iters=1)
    resumed.load_state_dict(state)
    resumed.train()
    assert same(weights(resumed.student), before)
    assert len(resumed.reports) == 2


def test_states_of_other_students_and_within_an_epoch_are_refused():
    trainer = make_trainer(meta_iters=0)
    trainer.student.end_of_iteration_hook = lambda _: trainer.state_dict()
    with pytest.raises(RuntimeError, match="between epochs"):
        trainer.train()
    trainer.student.end_of_iteration_hook = lambda _: None
    trainer.train()
    fewer = make_trainer(make_student(SupConLoss(), pairs=make_pairs(2)))
    with pytest.raises(ValueError, match="2 pairs, got 6"):
        fewer.load_state_dict(trainer.state_dict())


def test_learning_from_its_own_labels_helps():
    """A student that knows nothing of the truth matches better than the bootstrap; fixed seeds, no chance."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pairs = make_pairs(40, seed=3)
        student = make_student(SupConLoss(), pairs=pairs, iterations_per_epoch=150)
        trainer = make_trainer(student, meta_iters=1)
        trainer.train()
    held_out = make_pairs(30, seed=4)
    assert _precision(held_out, trainer.match) > _precision(held_out, bootstrap) + 0.02
    assert trainer.reports[1].inlier_ratio > trainer.reports[0].inlier_ratio


def _precision(pairs, match):
    right = total = 0
    for pair in pairs:
        a, b = match(pair).unbind(1)
        right += int((rigid_residuals(pair.truth, pair.points_a[a].double(), pair.points_b[b].double()) < TAU).sum())
        total += len(a)
    return right / total
