"""Learn to match two pictures without being told how they correspond: SGP on pairs with turned contrast.

    python examples/geometry_of_pictures.py [--smoke]
    python examples/geometry_of_pictures.py matches [--smoke]

The first call trains and scores; the second one repeats two runs of the first, and draws what they match. Both need the
extra geometry; the pictures are inside the wheel of scikit-image. docs/sgp_measured.md says what came out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.geometry_pairs.arms import TITLES, TRAINED, GeometryTask, run_arm
from pml_proxyext.benchmark.geometry_pairs.pictures import (
    PATCH,
    SIDE,
    TEST_PICTURES,
    TRAIN_PICTURES,
    PicturePair,
    normalized_patches,
    picture_pair,
    picture_pairs,
)
from pml_proxyext.benchmark.geometry_pairs.report import draw_matches, draw_rounds, rounds_table
from pml_proxyext.geometry import (
    GeometricLabel,
    GeometricVerifier,
    HomographyTeacher,
    corner_error,
    homography_residuals,
    mutual_nearest_neighbors,
)
from pml_proxyext.miners import GeometricPseudoLabelMiner
from pml_proxyext.trainers import GeometricPairs, GeometricStudentTrainer, PointPair

SEEDS, STEPS, META_ITERS = 5, 400, 2
TRAIN_PAIRS, TEST_PAIRS = 16, 10  # of each picture
TAU_POS, TAU_NEG = 3.0, 12.0  # pixels; the patch shows 32
TEMPERATURE, LEARNING_RATE, BATCH, CORRESPONDENCES = 0.07, 1e-3, 4, 32
VERIFIER = GeometricVerifier(min_matches=12, min_inlier_ratio=0.25, min_inliers=20)
RIGHT = 5.0  # pixels, the mean error of the corners


def bootstrap(pair: PointPair) -> Tensor:
    """Match patches of 8 x 8 by their correlation."""
    reduced = (avg_pool2d(data.view(-1, 1, PATCH, PATCH), 2).flatten(1) for data in (pair.data_a, pair.data_b))
    return mutual_nearest_neighbors(*map(normalized_patches, reduced))


def root_sift(pair: PicturePair) -> Tensor:
    """Match square roots of SIFT's histograms, upright, around the same corners."""
    found = []
    for picture, points in ((pair.picture_a, pair.corners.points_a), (pair.picture_b, pair.corners.points_b)):
        keys = [cv2.KeyPoint(x, y, 32 / 6, 0) for x, y in points.tolist()]  # a window of 32 pixels
        kept, histograms = cv2.SIFT_create().compute(picture, keys)
        assert len(kept) == len(keys)
        shares = torch.from_numpy(histograms / np.maximum(histograms.sum(1, keepdims=True), 1e-9))
        found.append(shares.sqrt())
    return mutual_nearest_neighbors(*found)


def augmented(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn, mirror and invert the patches of a batch, both views alike."""
    turns, mirror, sign = (int(torch.randint(high, ())) for high in (4, 2, 2))
    changed = dict(batch)
    for name in ("data_a", "data_b"):
        patches = batch[name].unflatten(-1, (PATCH, PATCH)).rot90(turns, (-2, -1))
        changed[name] = (1 - 2 * sign) * (patches.flip(-1) if mirror else patches).flatten(-2)
    return changed


def make_student(pairs: Sequence[PointPair], steps: int) -> GeometricStudentTrainer:
    layers = [nn.Linear(PATCH**2, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 64)]
    trunk = nn.Sequential(*layers)
    return GeometricStudentTrainer(
        {"trunk": trunk},
        {"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=LEARNING_RATE)},
        BATCH,
        {"metric_loss": SupConLoss(temperature=TEMPERATURE)},
        GeometricPairs(pairs, CORRESPONDENCES, TAU_POS),
        mining_funcs={"tuple_miner": GeometricPseudoLabelMiner(homography_residuals, TAU_POS, TAU_NEG)},
        iterations_per_epoch=steps,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        data_and_label_getter=augmented,
    )


def is_right(label: GeometricLabel, pair: PointPair) -> bool:
    return bool(corner_error(label.model, pair.truth, SIDE, SIDE) < RIGHT)


@cache
def pictures(seed: int, per_picture: int) -> tuple[list[PicturePair], list[PicturePair]]:
    """Return pairs to train and to test on; a smaller number of each picture is a part of a larger one."""
    test = min(per_picture, TEST_PAIRS)
    return picture_pairs(TRAIN_PICTURES, per_picture, 2 * seed), picture_pairs(TEST_PICTURES, test, 2 * seed + 1)


def run(recipe: str, seed: int, pairs: int, steps: int) -> tuple[dict[str, Any], Callable[[PointPair], Tensor]]:
    """Run one arm; return what the line says of it, and how it matches."""
    train, test = pictures(seed, pairs)
    of_corners = {id(pair.corners): pair for pair in test}
    task = GeometryTask(
        train=[pair.corners for pair in train],
        test=[pair.corners for pair in test],
        references={"bootstrap": bootstrap, "root_sift": lambda pair: root_sift(of_corners[id(pair)])},
        make_student=lambda some: make_student(some, steps),
        teacher=HomographyTeacher(TAU_POS),
        verifier=VERIFIER,
        is_right=is_right,
        threshold=TAU_POS,
    )
    metrics, match = run_arm(recipe, task, META_ITERS)
    rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
    return {"data": "scikit-image", "split": "test", "metrics": rounded}, match


def measure(**setting: Any) -> dict[str, Any]:
    return run(**setting)[0]


def measure_matches(**setting: Any) -> dict[str, Any]:
    """Keep the matches of the first test pair of each picture as well."""
    line, match = run(**setting)
    found = {name: match(shown_pair(name, setting["seed"]).corners).tolist() for name in TEST_PICTURES}
    return {**line, "matches": found}


def shown_pair(name: str, seed: int) -> PicturePair:
    return picture_pair(name, [2 * seed + 1, 0])


def settings(seeds: int, pairs: int, steps: int) -> list[dict[str, Any]]:
    """Return all arms of a seed, then those of the next."""
    arms = ["bootstrap", "root_sift", *TRAINED]
    return [{"recipe": arm, "seed": seed, "pairs": pairs, "steps": steps} for seed in range(seeds) for arm in arms]


def right_matches(records: Sequence[dict[str, Any]], name: str) -> dict[str, Tensor]:
    """Return for both arms which matches of the first test pair of a picture are right."""
    corners, found = shown_pair(name, records[0]["seed"]).corners, {}
    for record in records:
        a, b = torch.tensor(record["matches"][name]).view(-1, 2).unbind(1)
        residuals = homography_residuals(corners.truth, corners.points_a[a].double(), corners.points_b[b].double())
        found[record["recipe"]] = residuals < TAU_POS
    return found


def gains(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return for each picture how much larger the share of right matches is after the last round."""
    right = {name: right_matches(records, name) for name in TEST_PICTURES}
    return {name: float(one["sgp"].double().mean() - one["bootstrap"].double().mean()) for name, one in right.items()}


def draw_shown(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the matches of two pairs, where the share of right ones grew most and where it grew least."""
    of_picture = gains(records)
    names = [max(of_picture, key=of_picture.__getitem__), min(of_picture, key=of_picture.__getitem__)]
    titles = {"bootstrap": TITLES["bootstrap"], "sgp": f"SGP, round {META_ITERS}"}
    rows = []
    for name in names:
        right = right_matches(records, name)
        by_title = {titles[one["recipe"]]: (one["matches"][name], right[one["recipe"]]) for one in records}
        rows.append((shown_pair(name, records[0]["seed"]), by_title))
    return draw_matches(rows)


EXPERIMENT = Experiment(
    name="geometry_of_pictures",
    settings=settings(SEEDS, TRAIN_PAIRS, STEPS),
    smoke=settings(1, 2, 2),
    measure=measure,
    tables={
        "geometry_of_pictures": lambda records: rounds_table(records, f"its corners off by less than {RIGHT:g} px")
    },
    draw=draw_rounds,
)
MATCHES = Experiment(
    name="geometry_of_pictures_matches",
    settings=[one for one in EXPERIMENT.settings if one["seed"] == 0 and one["recipe"] in ("bootstrap", "sgp")],
    smoke=[one for one in EXPERIMENT.smoke if one["recipe"] in ("bootstrap", "sgp")],
    measure=measure_matches,
    tables={},
    draw=draw_shown,
)

if __name__ == "__main__":
    is_figure = sys.argv[1:2] == ["matches"]
    (MATCHES if is_figure else EXPERIMENT).main(__doc__, sys.argv[2:] if is_figure else None)
