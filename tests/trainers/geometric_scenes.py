"""Small scenes for tests of the geometric trainers: clouds that a rigid motion connects, with noisy codes as data."""

import torch
from torch import nn

from pml_proxyext.geometry import (
    GeometricLabel,
    RigidTeacher,
    mutual_nearest_neighbors,
    rigid_motion,
    rigid_residuals,
    weighted_procrustes,
)
from pml_proxyext.trainers import GeometricPairs, GeometricStudentTrainer, PointPair

CPU = torch.device("cpu")
POINTS, WIDTH, BATCH, TAU = 24, 12, 2, 0.05


NOISE = torch.cat([torch.full((WIDTH // 2,), 0.1), torch.full((WIDTH // 2,), 1.0)])  # half of a code says little


def make_pair(generator, shared=18):
    """Return two clouds of POINTS points, ``shared`` of which are the same, each cloud in an order of its own."""
    cloud, others = (torch.randn(POINTS, 3, generator=generator) for _ in range(2))
    codes, other_codes = (torch.randn(POINTS, WIDTH, generator=generator) for _ in range(2))
    source = torch.randn(4, 3, generator=generator)
    turn = weighted_procrustes(source, torch.randn(4, 3, generator=generator))[:3, :3]
    truth = rigid_motion(turn.double(), torch.randn(3, generator=generator).double())
    same = (torch.arange(POINTS) < shared)[:, None]
    moved = torch.where(same, cloud, others).double() @ truth[:3, :3].T + truth[:3, 3]
    seen = torch.where(same, codes, other_codes)
    a, b = (part + NOISE * torch.randn(POINTS, WIDTH, generator=generator) for part in (codes, seen))
    order = torch.randperm(POINTS, generator=generator)
    return PointPair(cloud, moved.float()[order], a, b[order], truth)


def make_pairs(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [make_pair(generator) for _ in range(count)]


def make_student(loss, pairs=None, miner=None, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = nn.Sequential(nn.Linear(WIDTH, 32), nn.BatchNorm1d(32), nn.Dropout(0.1), nn.ReLU(), nn.Linear(32, 8))
    optimizer = torch.optim.Adam(trunk.parameters(), lr=0.01)
    defaults = {"iterations_per_epoch": 3, "dataloader_num_workers": 0, "data_device": CPU}
    return GeometricStudentTrainer(
        {"trunk": trunk},
        {"trunk_optimizer": optimizer},
        BATCH,
        {"metric_loss": loss},
        GeometricPairs(make_pairs() if pairs is None else pairs, num_correspondences=10, threshold=TAU),
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        lr_schedulers={"trunk_scheduler_by_iteration": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)},
        **{**defaults, **options},
    )


def bootstrap(pair):
    return mutual_nearest_neighbors(pair.data_a, pair.data_b)


def true_labels(pairs):
    return [GeometricLabel(pair.truth, torch.ones(1, dtype=torch.bool), 1.0) for pair in pairs]


class Oracle:
    """A teacher that knows the truth."""

    def __init__(self, pairs):
        self.labels = {id(pair.points_a): label for pair, label in zip(pairs, true_labels(pairs), strict=True)}

    def fit(self, points_a, points_b, matches):
        return self.labels[id(points_a)]

    residuals = staticmethod(rigid_residuals)


def teacher(**options):
    return RigidTeacher(TAU, iterations=500, refine=False, **options)
