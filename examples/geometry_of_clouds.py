"""Learn to register partial scans without being told how they were moved: SGP on the Stanford bunny.

    python -m pml_proxyext.benchmark prepare bunny
    python examples/geometry_of_clouds.py [--smoke]

The first call fetches the bunny by npm; a trial (--smoke) does without. docs/sgp_measured.md says what came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.datasets.bunny import load_bunny, stand_in_mesh
from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.geometry_pairs.arms import TRAINED, GeometryTask, run_arm
from pml_proxyext.benchmark.geometry_pairs.clouds import cloud_pairs
from pml_proxyext.benchmark.geometry_pairs.local_shape import ANGLES_WIDTH
from pml_proxyext.benchmark.geometry_pairs.report import draw_rounds, rounds_table
from pml_proxyext.geometry import (
    GeometricLabel,
    GeometricVerifier,
    RigidTeacher,
    mutual_nearest_neighbors,
    rigid_residuals,
    rotation_error,
    transfer,
)
from pml_proxyext.losses import HardestContrastiveLoss
from pml_proxyext.miners import GeometricPseudoLabelMiner
from pml_proxyext.trainers import GeometricPairs, GeometricStudentTrainer, PointPair

SEEDS, STEPS, META_ITERS = 5, 600, 2
PAIRS = 60  # to train on, and as many to test on
TAU_POS, TAU_NEG = 0.04, 0.1  # shares of the size of the bunny; key points are 0.05 apart
LEARNING_RATE, BATCH, CORRESPONDENCES = 1e-3, 4, 64
VERIFIER = GeometricVerifier.clouds(min_overlap=0.5)
RIGHT_TURN, RIGHT_PLACE = 15.0, 0.1  # degrees, and share of the size
MESHES = {"bunny": cache(load_bunny), "stand-in": cache(stand_in_mesh)}


def bootstrap(pair: PointPair) -> Tensor:
    """Match histograms of angles."""
    return mutual_nearest_neighbors(pair.data_a[:, :ANGLES_WIDTH], pair.data_b[:, :ANGLES_WIDTH])


def all_inputs(pair: PointPair) -> Tensor:
    """Match whatever the student is given."""
    return mutual_nearest_neighbors(pair.data_a, pair.data_b)


def make_student(pairs: Sequence[PointPair], steps: int) -> GeometricStudentTrainer:
    width = pairs[0].data_a.shape[1]
    trunk = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 32))
    return GeometricStudentTrainer(
        {"trunk": trunk},
        {"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=LEARNING_RATE)},
        BATCH,
        {"metric_loss": HardestContrastiveLoss()},
        GeometricPairs(pairs, CORRESPONDENCES, TAU_POS),
        mining_funcs={"tuple_miner": GeometricPseudoLabelMiner(rigid_residuals, TAU_POS, TAU_NEG)},
        iterations_per_epoch=steps,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
    )


def is_right(label: GeometricLabel, pair: PointPair) -> bool:
    """Say whether the turn is right, and the middle of the points comes to the right place."""
    middle = pair.points_a.double().mean(0)
    place = torch.linalg.vector_norm(transfer(label.model, middle) - transfer(pair.truth, middle))
    return bool(rotation_error(label.model[:3, :3], pair.truth[:3, :3]) < RIGHT_TURN and place < RIGHT_PLACE)


@cache
def scans(mesh: str, seed: int, pairs: int) -> tuple[list[PointPair], list[PointPair]]:
    return cloud_pairs(MESHES[mesh](), pairs, 2 * seed), cloud_pairs(MESHES[mesh](), pairs, 2 * seed + 1)


def measure(recipe: str, seed: int, mesh: str, pairs: int, steps: int) -> dict[str, Any]:
    train, test = scans(mesh, seed, pairs)
    task = GeometryTask(
        train=train,
        test=test,
        references={"bootstrap": bootstrap, "inputs": all_inputs},
        make_student=lambda some: make_student(some, steps),
        teacher=RigidTeacher(TAU_POS, iterations=4000),
        verifier=VERIFIER,
        is_right=is_right,
        threshold=TAU_POS,
    )
    metrics, _ = run_arm(recipe, task, META_ITERS)
    return {"data": mesh, "split": "test", "metrics": {name: float(f"{value:.6g}") for name, value in metrics.items()}}


def settings(mesh: str, seeds: int, pairs: int, steps: int) -> list[dict[str, Any]]:
    """Return all arms of a seed, then those of the next."""
    common = {"mesh": mesh, "pairs": pairs, "steps": steps}
    return [
        {"recipe": arm, "seed": seed, **common} for seed in range(seeds) for arm in ["bootstrap", "inputs", *TRAINED]
    ]


EXPERIMENT = Experiment(
    name="geometry_of_clouds",
    settings=settings("bunny", SEEDS, PAIRS, STEPS),
    smoke=settings("stand-in", 1, 6, 2),
    measure=measure,
    tables={
        "geometry_of_clouds": lambda records: rounds_table(
            records, f"off by less than {RIGHT_TURN:g} degrees and {RIGHT_PLACE:g} of the bunny's size"
        )
    },
    draw=draw_rounds,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
