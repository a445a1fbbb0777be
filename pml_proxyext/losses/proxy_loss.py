"""What every loss with proxies shares: the proxies, the checks of its inputs, optimizer groups, and logits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_labels
from pml_proxyext.utils.parameter_groups import parameter_groups
from pml_proxyext.utils.precision import accumulation_dtype, upcast

__all__ = ["ProxyLoss", "check_proxy_batch", "class_sums", "element_loss"]


def element_loss(losses: Tensor) -> dict[str, Any]:
    """Describe one loss per sample of the batch to PML's reducers (``DivisorReducer`` included)."""
    indices = torch.arange(len(losses), device=losses.device)
    return {"losses": losses, "indices": indices, "reduction_type": "element", "divisor": len(losses)}


def check_proxy_batch(
    embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor, num_classes: int, embedding_size: int
) -> Tensor:
    """Return the labels as int64 if a loss with proxies can take this batch, or raise ValueError."""
    c_f.labels_required(labels)
    c_f.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
    check_embeddings(embeddings, embedding_size)
    return check_labels(labels, num_classes)


def class_sums(embeddings: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the sums of the normalised embeddings of each class, ``(C, D)`` in float64, and their numbers ``(C,)``."""
    directions = normalize(embeddings.double())
    labels = check_labels(labels, num_classes).to(directions.device)
    sums = directions.new_zeros(num_classes, directions.shape[1]).index_add(0, labels, directions)
    return sums, torch.bincount(labels, minlength=num_classes)


class ProxyLoss(WeightRegularizerMixin, BaseMetricLossFunction):
    r"""Base of the losses that learn one proxy :math:`p_c` per class.

    A subclass implements :meth:`sample_losses`; inputs are checked before, and the proxies are regularised after it.
    The proxies are float32 masters: a batch in another dtype or on another device sees a converted copy.

    Args:
        num_classes: number of training classes :math:`C`; labels must lie in ``[0, C)``.
        embedding_size: width :math:`D` of the embeddings.
        **kwargs: ``distance``, ``reducer``, ``embedding_regularizer``, ``weight_regularizer``, ``weight_init_func``
            and the other keywords of PML's losses.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for labels that are missing, not integers or out of range, embeddings of another width or dtype,
            and for ``ref_emb``, which a proxy loss has no use for.
    """

    #: Factor of the learning rate for each beginning of a parameter's name; see :meth:`param_groups`.
    lr_multipliers: ClassVar[dict[str, float]] = {"proxies": 100.0}

    def __init__(self, num_classes: int, embedding_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = check_integer("num_classes", num_classes)
        self.embedding_size = check_integer("embedding_size", embedding_size)
        self.proxies = nn.Parameter(torch.empty(num_classes, embedding_size))
        self.weight_init_func(self.proxies)
        self.add_to_recordable_attributes(list_of_names=["num_classes", "embedding_size"])

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Return one loss per sample, ``(N,)``; ``weights`` in [0, 1] say how often a miner chose each sample."""
        raise NotImplementedError

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor
    ) -> dict[str, dict[str, Any]]:
        labels = check_proxy_batch(embeddings, labels, ref_emb, ref_labels, self.num_classes, self.embedding_size)
        if len(embeddings) == 0:
            return self.zero_losses()
        weights = lmu.convert_to_weights(indices_tuple, labels, dtype=accumulation_dtype(embeddings.dtype))
        losses = {"loss": element_loss(self.sample_losses(embeddings, labels, weights))}
        self.add_weight_regularization_to_loss_dict(losses, self.proxies)
        return losses

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """Return ``(N, num_classes)`` similarities to the proxies: larger means nearer, whatever the distance."""
        mat = self.distance(embeddings, self.proxies.to(embeddings))
        return upcast(mat if self.distance.is_inverted else -mat)

    @torch.no_grad()
    def init_from(self, embeddings: Tensor, labels: Tensor) -> None:
        """Turn each proxy towards the mean direction of its class; its norm stays, and so does an absent class's proxy.

        Args:
            embeddings: ``(N, D)``, of training images without augmentation, from the network as it is.
            labels: ``(N,)`` integers in ``[0, num_classes)``.

        Raises:
            ValueError: as in a call of the loss.
        """
        check_embeddings(embeddings, self.embedding_size)
        sums, counts = class_sums(embeddings, labels, self.num_classes)
        means = normalize(sums).to(self.proxies) * self.proxies.norm(dim=1, keepdim=True)
        self.proxies.copy_(torch.where((counts > 0)[:, None].to(self.proxies.device), means, self.proxies))

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the loss's optimizer groups, each at ``lr`` times its multiplier and without weight decay.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than the defaults, by parameter name: ``param_groups(1e-3, proxies=30.0)``.
        """
        return parameter_groups(self, lr, multipliers, self.lr_multipliers)

    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._record_these)
