r"""Embeddings that are spread like a law of one's choice: the cost of optimal transport to samples of it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from pytorch_metric_learning.regularizers import BaseRegularizer
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.utils.checks import check_choice, check_embeddings
from pml_proxyext.utils.precision import upcast

__all__ = ["OptimalTransportRegularizer", "Prior", "optimal_assignment"]

Prior = Literal["sphere", "normal"]


@torch.library.custom_op("pml_proxyext::optimal_assignment", mutates_args=())
def optimal_assignment(cost: Tensor) -> Tensor:
    """Return the column of each row of a square matrix at which the sum is smallest; one operator for torch.compile.

    Entries that are not numbers cost as much as can be, so that the rest is still matched.
    """
    finite = torch.nan_to_num(cost.double(), nan=1e300, posinf=1e300, neginf=-1e300)
    _, columns = linear_sum_assignment(finite.cpu().numpy())
    return torch.from_numpy(columns).to(cost.device, torch.int64)


@optimal_assignment.register_fake
def _(cost: Tensor) -> Tensor:
    return cost.new_empty(len(cost), dtype=torch.int64)


class OptimalTransportRegularizer(BaseRegularizer):
    r"""The squared distances of embeddings to samples of a prior that they are matched with.

    With samples :math:`y_1, \dots, y_N` of the prior, drawn anew for each batch,

    .. math::
        \ell_i = |z_i - y_{\sigma(i)}|^2, \qquad
        \sigma = \arg\min_\sigma \sum_i |z_i - y_{\sigma(i)}|^2,

    so that the mean over the batch is the squared Wasserstein distance of order 2 between two empirical laws. The
    matching is optimal transport between equal weights, and found exactly by scipy. It is held in the backward pass.
    By the envelope theorem the gradient is true all the same, :math:`2 (z_i - y_{\sigma(i)})`, where the matching is
    unique.

    The mean is not zero for embeddings that do follow the prior: two samples of one law have a distance, which falls as
    :math:`N^{-2/d}` only. Its gradient pulls toward the prior all the same, and toward its centre a little; large
    batches help.

    Args:
        prior: ``"sphere"``, the uniform law on the unit sphere, for losses that compare directions: the embeddings are
            normalised here, and cost at most 4 each; or ``"normal"``, the normal law of unit variance in every
            coordinate, for embeddings whose norms count.
        generator: draws the samples; None for torch's default generator. ``torch.compile`` makes whole graphs with
            None only.
        **kwargs: ``reducer``, by default the mean over samples.

    Shapes:
        embeddings ``(N, D)`` floating point -> a scalar; in float32 under half precision.

    Raises:
        ValueError: for an unknown prior, a ``distance``, and embeddings of another shape or dtype.

    Requirements:
        the matching takes :math:`O(N^3)` on the CPU: a few milliseconds for 256 embeddings.

    Departs from the paper:
        which transports the latents of an autoencoder after its training and has no regularizer. This one takes the
        same law of the latents into training, for any loss.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Section 5.

    Example:
        >>> from pytorch_metric_learning.losses import SupConLoss
        >>> loss_func = SupConLoss(embedding_regularizer=OptimalTransportRegularizer(), embedding_reg_weight=0.1)
        >>> loss_func(torch.randn(6, 32), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(self, prior: Prior = "sphere", generator: torch.Generator | None = None, **kwargs: Any) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: the cost is the squared Euclidean distance")
        super().__init__(**kwargs)
        self.prior: Prior = check_choice("prior", prior, get_args(Prior))
        self.generator = generator

    def compute_loss(self, x: Tensor) -> dict[str, dict[str, Any]]:
        check_embeddings(x)
        losses = self.sample_losses(x) if len(x) else 0  # zero for the reducer, which keeps the graph
        indices = torch.arange(len(x), device=x.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element", "divisor": len(x)}}

    def sample_losses(self, embeddings: Tensor) -> Tensor:
        """Return one value per sample, ``(N,)``, in float32 at least."""
        points = upcast(embeddings)
        if self.prior == "sphere":
            points = normalize(points)
        targets = self.prior_samples(points)
        with torch.no_grad():
            # The squares of both norms are the same sum for every matching.
            matching = optimal_assignment(-(points @ targets.T))
        return (points - targets[matching]).square().sum(1)

    def prior_samples(self, points: Tensor) -> Tensor:
        """Return as many samples of the prior as there are points, in their shape, dtype and device."""
        device = points.device if self.generator is None else self.generator.device
        draws = torch.randn(points.shape, generator=self.generator, dtype=points.dtype, device=device).to(points)
        return normalize(draws) if self.prior == "sphere" else draws

    def extra_repr(self) -> str:
        return f"prior={self.prior!r}"
