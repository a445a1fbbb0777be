"""What a network has learned without labels: retrieval, and a linear probe, on classes held out."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.optim.swa_utils import update_bn

from pml_proxyext.benchmark.datasets.emoji_drawings import LabelledDrawings
from pml_proxyext.benchmark.evaluation import METRICS

__all__ = ["plain_view", "renew_batch_norm", "score"]

_BATCH = 512
_PROBE_C = 0.1  # inverse strength of the probe's penalty


def plain_view(images: Tensor) -> Tensor:
    """Return whole drawings ``(N, 3, H, W)`` of unsigned bytes as the network sees them after training.

    They are reduced by two to means of four pixels, float32 in [0, 1], as large as the views that it was trained on.
    """
    return avg_pool2d(images.float() / 255, 2)


def renew_batch_norm(network: nn.Module, images: Tensor) -> None:
    """Replace the statistics of batch norm by those of whole drawings.

    In training they are means over crops of several sizes, which differ from method to method.
    """
    update_bn([plain_view(part) for part in images.split(_BATCH)], network)


def score(network: nn.Module, train: LabelledDrawings, held_out: LabelledDrawings) -> dict[str, float]:
    """Return retrieval scores on the drawings held out, and the accuracy of a probe, as fractions.

    In retrieval each drawing is looked up among all others by the cosine, and those of its emoji are relevant. The
    probe is a logistic regression on standardised features: it learns the subgroup of the emoji from the drawings
    trained on, and is asked for those of other emoji, as far as there were any of the subgroup to learn from.

    Returns:
        PML's metrics, and ``subgroup_accuracy``; NaN where features are not finite.
    """
    learned, asked = (_features(network, part.images) for part in (train, held_out))
    if not (learned.isfinite().all() and asked.isfinite().all()):
        return dict.fromkeys((*METRICS, "subgroup_accuracy"), math.nan)
    calculator = AccuracyCalculator(include=METRICS, k="max_bin_count", device=torch.device("cpu"))
    found = calculator.get_accuracy(nn.functional.normalize(asked), held_out.emoji)
    known = torch.isin(held_out.subgroups, train.subgroups)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_PROBE_C, max_iter=1000))
    probe.fit(learned.numpy(), train.subgroups.numpy())
    found["subgroup_accuracy"] = probe.score(asked[known].numpy(), held_out.subgroups[known].numpy())
    return {name: round(float(value), 6) for name, value in found.items()}


@torch.no_grad()
def _features(network: nn.Module, images: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(plain_view(part)) for part in images.split(_BATCH)])
