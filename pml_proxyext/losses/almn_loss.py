r"""ALMN: N-pairs whose positives are pushed from their anchors, by a share of the gap to the nearest negative."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_metric_learning.distances import BaseDistance, DotProductSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import cross_entropy

from pml_proxyext.geometry.virtual_points import angles, nearest_other_angles, virtual_similarities
from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.utils.checks import check_choice, check_number

__all__ = ["ALMNLoss", "MarginMode"]

MarginMode = Literal["negative", "multiplicative"]


class ALMNLoss(PairLoss):
    r"""N-pairs with an angular margin that adapts to each anchor, by a virtual point in the place of its positive.

    **Reconstructed from the abstract; not the authors' exact formula**, which was not at hand. With one pair
    :math:`(a_i, p_i)` for each of :math:`N` classes, :math:`\theta_i = \angle(a_i, p_i)` and :math:`\varphi_i =
    \min_{j \ne i} \angle(a_i, p_j)`,

    .. math::
        \ell_i = \log\Big(1 + \sum_{j \ne i} \exp\big(s\, a_i^\top p_j - s\, a_i^\top v_i\big)\Big), \qquad
        a_i^\top v_i = |a_i|\, |p_i| \cos(\theta_i + \delta_i), \qquad
        \delta_i = \beta \max(0, \varphi_i - \theta_i)

    where :math:`v_i` is the positive, turned away from its anchor by :math:`\delta_i`
    (:func:`~pml_proxyext.geometry.virtual_points`). At :math:`\beta = 1` it is as far from the anchor as the nearest
    negative. Crowded anchors get a small margin, lonely ones a large one, and those whose nearest negative is nearer
    than their positive none.

    Args:
        beta: :math:`\beta \in [0, 1]`; 0 for N-pairs. The default is a choice of this package.
        mode: ``"negative"`` for the margin above; ``"multiplicative"`` for :math:`\delta_i = \min((m - 1) \theta_i,
            \pi - \theta_i)`, the fixed margin of L-Softmax, to compare with.
        m: the factor of the angle in ``"multiplicative"``, at least 1; unused otherwise, as ``beta`` is there.
        detach_margin: whether :math:`\delta_i` counts as a constant in gradients. Otherwise an anchor can also lower
            its loss by drawing its nearest negative closer, which makes the margin smaller. Which one the authors do is
            unknown.
        scale: :math:`s > 0`. 1 is PML's N-pairs; with normalised embeddings 16 does better, as there differences of
            cosines are too small to tell classes apart.
        **kwargs: ``distance``, ``reducer``, ``embedding_regularizer`` and its weight. The distance must be a
            ``DotProductSimilarity`` or a ``CosineSimilarity``; by default it normalises, as that of PML's N-pairs does.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision.
        Memory: :math:`N^2` numbers.

    Raises:
        ValueError: for invalid hyper-parameters or labels, any other distance, missing labels, and for ``ref_emb``.

    Reducer input:
        **loss**: one value per anchor, type ``"element"``. Default reducer: mean.

    Recorded with PML's ``collect_stats``:
        **num_pairs**; **avg_margin**: the mean :math:`\delta_i` in degrees; **frac_active**: the share of anchors with
        :math:`\delta_i > 0`.

    Recommendations:
        As in PML's N-pairs, the first pair of each class in the batch, or in a miner's tuples, is used, and all else is
        left out. So take ``MPerClassSampler(labels, m=2)``, and expect another value for another order of the rows.
        Listing the pairs is PML's, and breaks a graph of ``torch.compile``; do not ask it for ``fullgraph``. Without
        normalisation, keep norms down by ``LpRegularizer(power=2)``. In the benchmark of this package it came out above
        N-pairs at equal settings, with a constant margin only; large shares did well there.

    Relations:
        ``beta=0`` is PML's ``NPairsLoss``. For each anchor the loss is never below that of N-pairs, grows with
        :math:`\beta`, and for unit vectors is at most the larger of that of N-pairs and :math:`\log N`.

    Departs from the paper or the release:
        the formula of the virtual point, its hyper-parameter and the gradient through it are reconstructed. Faithful to
        the abstract are the base, the angular margin that adapts locally, a point made geometrically instead of a
        margin set by hand, and that nothing is mined. There is no release.

    Reference:
        Chen and Deng, "ALMN: Deep Embedding Learning with Geometrical Virtual Point Generating", arXiv:1806.00974.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = ALMNLoss(beta=0.3, scale=16)
        >>> loss_func(torch.randn(6, 32), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    supports_ref_emb = False

    def __init__(
        self,
        beta: float = 0.3,
        mode: MarginMode = "negative",
        m: float = 2.0,
        detach_margin: bool = True,
        scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_inner_product(self.distance)
        self.beta = check_number("beta", beta, low=0.0, high=1.0)
        self.mode: MarginMode = check_choice("mode", mode, ["negative", "multiplicative"])
        self.m = check_number("m", m, low=1.0)
        self.detach_margin = detach_margin
        self.scale = check_number("scale", scale, low=0.0, open_low=True)
        self.add_to_recordable_attributes(list_of_names=["beta", "m", "scale"])
        self.add_to_recordable_attributes(list_of_names=["num_pairs", "avg_margin", "frac_active"], is_stat=True)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        c_f.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
        if labels is None:
            raise ValueError("labels are required, got None")
        anchor_idx, positive_idx = lmu.convert_to_pos_pairs_with_unique_labels(indices_tuple, labels)
        if len(anchor_idx) == 0:
            return self.zero_losses()
        mat = self.distance(embeddings[anchor_idx], embeddings[positive_idx])
        vectors = self.distance.maybe_normalize(embeddings)
        anchors, positives = vectors[anchor_idx], vectors[positive_idx]
        delta = self._margins(anchors, positives)
        own = virtual_similarities(anchors, positives, delta)
        targets = torch.arange(len(mat), device=mat.device)
        logits = torch.where(targets[:, None] == targets, own[:, None], mat)
        losses = cross_entropy(self.scale * logits, targets, reduction="none")
        return {"loss": {"losses": losses, "indices": anchor_idx, "reduction_type": "element"}}

    def _margins(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """Return the angles, ``(N,)``, by which positives are turned away from their anchors."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_margin):
            theta = angles(anchors, positives)
            if self.mode == "negative":
                delta = self.beta * (nearest_other_angles(anchors, positives) - theta).relu()
            else:
                delta = torch.minimum((self.m - 1) * theta, torch.pi - theta)
        if self.collect_stats:
            self.num_pairs = len(delta)
            self.avg_margin = delta.detach().rad2deg().mean().item()
            self.frac_active = (delta.detach() > 0).float().mean().item()
        return delta

    def get_default_distance(self) -> BaseDistance:
        return DotProductSimilarity()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}, detach_margin={self.detach_margin}"


def _check_inner_product(distance: BaseDistance) -> None:
    # The loss turns vectors by angles: that is an inner product of other vectors, and of no other similarity.
    if not isinstance(distance, DotProductSimilarity) or distance.p != 2 or distance.power != 1:
        found = f"{type(distance).__name__} with p={distance.p} and power={distance.power}"
        raise ValueError(f"distance must be a DotProductSimilarity or CosineSimilarity, p=2, power=1, got {found}")
