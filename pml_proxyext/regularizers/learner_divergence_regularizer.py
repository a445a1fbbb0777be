r"""The divergence of ABE: the learners of an ensemble must not see the same in an image."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.regularizers import BaseRegularizer
from torch import Tensor
from torch.nn.functional import normalize, relu

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_number
from pml_proxyext.utils.precision import upcast

__all__ = ["LearnerDivergenceRegularizer", "split_learners"]


def split_learners(embeddings: Tensor, num_learners: int, name: str = "embeddings") -> Tensor:
    """Return the learners' parts of concatenated embeddings: ``(N, M k)`` -> ``(N, M, k)``.

    Raises:
        ValueError: if the width is not a multiple of ``num_learners``.

    Example:
        >>> split_learners(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), num_learners=2).tolist()
        [[[1.0, 2.0], [3.0, 4.0]]]
    """
    check_embeddings(embeddings, name=name)
    width = embeddings.shape[1]
    if width == 0 or width % num_learners:
        raise ValueError(
            f"{name} must have a width divisible by num_learners {num_learners}, got shape {tuple(embeddings.shape)}"
        )
    return embeddings.unflatten(1, (num_learners, width // num_learners))


class LearnerDivergenceRegularizer(BaseRegularizer):
    r"""Push apart what the learners of an ensemble make of the same image.

    An embedding is the concatenation of :math:`M` parts :math:`b_1, \dots, b_M`, one from each learner, which are
    normalised here. Per sample,

    .. math::
        \ell = \frac{2}{M (M - 1)} \sum_{p < q} \big[m - |b_p - b_q|^2\big]_+
             = \frac{4}{M (M - 1)} \sum_{p < q} \big[\cos(b_p, b_q) - (1 - m/2)\big]_+

    in :math:`[0, m]`: :math:`m` for learners that agree, 0 if every two are at least :math:`\sqrt m` apart. One learner
    has nothing to diverge from: 0.

    Args:
        num_learners: :math:`M`; the width of the embeddings must be a multiple of it.
        margin: :math:`m > 0`, of squared distances between unit vectors; 1 asks for cosines of at most one half. No
            more than 4 makes a difference.
        **kwargs: ``reducer``, by default the mean over samples.

    Shapes:
        embeddings ``(N, M k)`` floating point -> a scalar.

    Raises:
        ValueError: for invalid arguments, and embeddings of another width.

    Requirements:
        the gradient is proportional to the difference of two learners. It is zero where they are equal, so learners
        that start (nearly) alike are not driven apart: see ``mask_init_std`` of
        :class:`~pml_proxyext.models.AttentionEnsemble`. And learners with private last layers satisfy the term by
        rotating those, for free; it means something where the learners share all but their attention.

    Departs from the paper or the release:
        no official code is known, and of the paper only the abstract and the introduction were at hand: the formula is
        a reconstruction, checked against two public re-implementations. The sum over pairs of learners and samples is
        a mean here, so that its weight means the same for any :math:`M` and any batch; a plain sum over a batch is
        :math:`N M (M - 1) / 2` times as much. The margin of 1 is from memory; one re-implementation has it, the other
        1.6.

    Reference:
        Kim, Goyal, Chawla, Lee, Kwon, "Attention-based Ensemble for Deep Metric Learning", ECCV 2018,
        arXiv:1804.00382.

    Example:
        >>> from pytorch_metric_learning.losses import SupConLoss
        >>> loss_func = SupConLoss(embedding_regularizer=LearnerDivergenceRegularizer(4), embedding_reg_weight=0.5)
        >>> loss_func(torch.randn(6, 32), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(self, num_learners: int, margin: float = 1.0, **kwargs: Any) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: the divergence is defined by squared Euclidean distances")
        super().__init__(**kwargs)
        self.num_learners = check_integer("num_learners", num_learners)
        self.margin = check_number("margin", margin, low=0.0, open_low=True)
        self.add_to_recordable_attributes(list_of_names=["num_learners", "margin"])
        self.add_to_recordable_attributes(name="self_pair_cosine", is_stat=True)

    def compute_loss(self, x: Tensor) -> dict[str, dict[str, Any]]:
        losses = self.sample_losses(x)
        indices = torch.arange(len(x), device=x.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element", "divisor": len(x)}}

    def sample_losses(self, embeddings: Tensor) -> Tensor:
        """Return one value per sample, ``(N,)``, in float32 at least."""
        cosines = self.learner_cosines(embeddings)
        if self.collect_stats and cosines.numel():
            self.self_pair_cosine = cosines.detach().mean().item()
        hinges = relu(self.margin - 2 + 2 * cosines)
        return hinges.sum(1) / max(1, cosines.shape[1])

    def learner_cosines(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of every two learners on each sample, ``(N, M (M - 1) / 2)``; near 1, they have collapsed.

        Example:
            >>> LearnerDivergenceRegularizer(3).learner_cosines(torch.tensor([[1.0, 0.0, 0.0, 2.0, 3.0, 0.0]])).tolist()
            [[0.0, 1.0, 0.0]]
        """
        units = normalize(split_learners(upcast(embeddings), self.num_learners), dim=-1)  # (N, M, k)
        first, second = torch.triu_indices(self.num_learners, self.num_learners, offset=1, device=embeddings.device)
        return (units @ units.mT)[:, first, second]

    def extra_repr(self) -> str:
        return f"num_learners={self.num_learners}, margin={self.margin}"
