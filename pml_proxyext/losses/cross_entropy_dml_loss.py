r"""Plain cross-entropy as a metric learning loss, with the classifier and the smoothing of its strongest recipe."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pytorch_metric_learning.distances import BaseDistance, DotProductSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pml_proxyext.losses.proxy_loss import ProxyLoss
from pml_proxyext.utils.checks import check_choice, check_number
from pml_proxyext.utils.precision import accumulation_dtype

__all__ = ["CrossEntropyDMLLoss", "Smoothing"]

Smoothing = Literal["boudiaf", "torch"]


class CrossEntropyDMLLoss(ProxyLoss):
    r"""Cross-entropy of a linear classifier: no pairs, no margins, no normalisation.

    .. math::
        L = \frac1N \sum_{i=1}^{N} \mathrm{KL}\big(q_{y_i} \,\|\, \mathrm{softmax}(W d(z_i) + b)\big), \qquad
        q_y(c) = \begin{cases} 1 - \epsilon & c = y \\ \epsilon / (C - 1) & c \ne y \end{cases}

    with :math:`z_i` the embeddings as they come, :math:`d` dropout, and a classifier whose weights :math:`W` (the rows
    of :attr:`proxies`) and bias :math:`b` start at zero. Hence the first loss is :math:`\log C - H(q)`, whatever the
    network, with :math:`H` the entropy. The loss is never negative.

    Args:
        num_classes: number of training classes :math:`C`; labels must lie in ``[0, C)``.
        embedding_size: width :math:`D` of the embeddings; the release takes the 2048 features of a ResNet-50.
        label_smoothing: :math:`\epsilon`; 0.1 in the release. At most :math:`1 - 1/C`, or 1 for ``"torch"``.
        smoothing: ``"boudiaf"``, as released: the formula above. ``"torch"``: that of
            :func:`torch.nn.functional.cross_entropy`, :math:`\epsilon / C` for every class, :math:`1 - \epsilon` more
            for the own one, and without subtracting the entropy. The former at :math:`\epsilon` has the gradients of
            the latter at :math:`\epsilon C / (C - 1)`.
        dropout: probability in [0, 1) with which a coordinate of an embedding is set to zero on its way to the
            classifier while the loss is in training mode; 0.5 in the release.
        generator: draws the dropout; None for torch's default generator.
        **kwargs: see :class:`~pml_proxyext.losses.proxy_loss.ProxyLoss`. The default ``weight_init_func`` is zero, the
            default ``distance`` the plain dot product.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for invalid hyper-parameters, labels or embeddings, and for ``ref_emb``.

    Requires an optimizer:
        ``param_groups(lr)`` trains the classifier at the learning rate of the network, as the release does. It leaves
        the weight decay of :math:`W` to the optimizer (5e-4 in the release) and exempts :math:`b`.

    Recommendations:
        The release ends the network with ``torch.nn.BatchNorm1d(D, affine=False)`` on Cars196, SOP and In-Shop. It
        belongs there and not into the loss: retrieval uses the normalised features, before dropout. Retrieve by cosine.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean. A miner's tuples weight the samples.

    Departs from the paper or the release:
        nothing in the loss. :meth:`init_from` turns rows and keeps their norms, so it leaves rows of zero as they are.

    Reference:
        Boudiaf, Rony, Ziko, Granger, Pedersoli, Piantanida, Ben Ayed, "A Unifying Mutual Information View of Metric
        Learning: Cross-Entropy vs. Pairwise Losses", ECCV 2020, arXiv:2003.08983. Known from its abstract and the
        authors' code.

    Example:
        >>> loss_func = CrossEntropyDMLLoss(num_classes=3, embedding_size=4, label_smoothing=0.0)
        >>> value = loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> round(value.item(), 4), round(math.log(3), 4)
        (1.0986, 1.0986)
    """

    lr_multipliers: ClassVar[dict[str, float]] = {"proxies": 1.0, "bias": 1.0}

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        label_smoothing: float = 0.1,
        smoothing: Smoothing = "boudiaf",
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, embedding_size, **kwargs)
        self.smoothing: Smoothing = check_choice("smoothing", smoothing, ["boudiaf", "torch"])
        highest = 1.0 - 1.0 / num_classes if smoothing == "boudiaf" else 1.0
        self.label_smoothing = check_number("label_smoothing", label_smoothing, low=0.0, high=highest)
        self.dropout = check_number("dropout", dropout)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a finite number >= 0 and < 1, got {dropout!r}")
        self.generator = generator
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.add_to_recordable_attributes(list_of_names=["label_smoothing", "dropout"])

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logits = self.get_logits(self._drop(embeddings))
        epsilon, entropy = self.label_smoothing, 0.0
        if self.smoothing == "boudiaf" and epsilon > 0:
            others = self.num_classes - 1
            entropy = -(1 - epsilon) * math.log(1 - epsilon) - epsilon * (math.log(epsilon) - math.log(others))
            epsilon = min(epsilon / others * self.num_classes, 1.0)  # rounding may pass 1, which torch refuses
        return (cross_entropy(logits, labels, reduction="none", label_smoothing=epsilon) - entropy) * weights

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """Return ``(N, num_classes)``, the classifier's outputs without dropout."""
        logits = super().get_logits(embeddings)
        return logits + self.bias.to(logits)

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the groups of ``proxies``, with the optimizer's weight decay, and of ``bias``, without any.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than the defaults, by parameter name: ``param_groups(1e-3, proxies=10.0)``.
        """
        groups = super().param_groups(lr, **multipliers)
        for group in groups:
            if any(parameter is self.proxies for parameter in group["params"]):
                del group["weight_decay"]
        return groups

    def _drop(self, embeddings: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return embeddings
        device = embeddings.device if self.generator is None else self.generator.device
        # Half precision has too few numbers between 0 and 1 to draw from.
        dtype = accumulation_dtype(embeddings.dtype)
        draws = torch.rand(embeddings.shape, generator=self.generator, dtype=dtype, device=device)
        kept = (draws >= self.dropout).to(embeddings)
        return embeddings * kept / (1 - self.dropout)

    def get_default_distance(self) -> BaseDistance:
        return DotProductSimilarity(normalize_embeddings=False)

    def get_default_weight_init_func(self) -> c_f.TorchInitWrapper:
        return c_f.TorchInitWrapper(nn.init.zeros_)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, smoothing={self.smoothing}"
