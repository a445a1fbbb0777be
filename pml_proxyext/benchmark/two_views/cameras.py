"""One run: two cameras that see different things each, and the latents or descriptors that find what both have seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler, TensorDataset

from pml_proxyext.benchmark.datasets.emoji_cameras import CameraPairs
from pml_proxyext.benchmark.trainer import without_inner_bars
from pml_proxyext.models import JointDiscriminator, LatentAligner, conv_decoder, conv_encoder
from pml_proxyext.testers import CrossCameraAccuracyCalculator, camera_labels
from pml_proxyext.trainers import CrossViewGANTrainer
from pml_proxyext.trainers.joint_readings import JointReading

__all__ = ["CURVE_RANKS", "CameraMethod", "score_cameras", "train_cameras"]

#: The ranks of a CMC curve.
CURVE_RANKS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)

_LATENT, _WIDTH, _BATCH = 64, 16, 64
_LR, _CRITIC_LR, _BETAS = 1e-3, 2e-4, (0.5, 0.999)


@dataclass(frozen=True)
class CameraMethod:
    """What is trained: the weights of terms that differ from the trainer's defaults, and who plays against whom."""

    title: str
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    reading: JointReading = "mapped"


def train_cameras(method: CameraMethod, data: CameraPairs, steps: int) -> CrossViewGANTrainer:
    """Return the trainer of small convolutional networks, after ``steps`` batches and in evaluation mode.

    Initial weights and batches depend on torch's generator, and not on the method.
    """
    models: dict[str, nn.Module] = {name: conv_encoder(_LATENT, width=_WIDTH) for name in ("trunk", "ref_trunk")}
    models |= {name: conv_decoder(_LATENT, width=_WIDTH) for name in ("decoder", "ref_decoder")}
    models |= {"aligner": LatentAligner(_LATENT), "ref_aligner": LatentAligner(_LATENT)}
    models["discriminator"] = JointDiscriminator(_LATENT)
    optimizers = {
        f"{name}_optimizer": torch.optim.Adam(
            part.parameters(), lr=_CRITIC_LR if name == "discriminator" else _LR, betas=_BETAS
        )
        for name, part in models.items()
    }
    draws = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    order = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    pairs = TensorDataset(data.a, data.b, torch.arange(len(data)))
    trainer = CrossViewGANTrainer(
        models,
        optimizers,
        batch_size=min(_BATCH, len(data)),
        loss_funcs={},
        dataset=pairs,
        sampler=RandomSampler(pairs, generator=order),
        iterations_per_epoch=steps,
        loss_weights=dict(method.loss_weights),
        reading=method.reading,
        generator=draws,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
    )
    with without_inner_bars():
        trainer.train()
    trainer.set_to_eval()
    return trainer


def score_cameras(a: Tensor, b: Tensor) -> dict[str, Any]:
    """Return the scores of finding row i of one camera by row i of the other, by cosine, averaged over directions.

    Returns:
        ``metrics``: recall at 1, 5 and 10 and mAP; ``curve``: recall at all of ``CURVE_RANKS``. NaN stays NaN.

    Example:
        >>> score_cameras(torch.eye(4), torch.eye(4))["metrics"]["recall_at_1"]
        1.0
    """
    ids = torch.arange(len(a))
    labels = [camera_labels(ids, torch.full_like(ids, camera), num_cameras=2) for camera in (0, 1)]
    calculator = CrossCameraAccuracyCalculator(num_cameras=2, recall_at=CURVE_RANKS, device=torch.device("cpu"))
    directions = [
        calculator.get_accuracy(a, labels[0], b, labels[1]),
        calculator.get_accuracy(b, labels[1], a, labels[0]),
    ]
    means = {name: round(float(sum(one[name] for one in directions)) / 2, 6) for name in directions[0]}
    shown = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_average_precision")
    return {
        "metrics": {name: means[name] for name in shown},
        "curve": [means[f"recall_at_{rank}"] for rank in CURVE_RANKS],
    }
