r"""PairSupCon: tell entailment from contradiction, and each sentence's partner from all other sentences."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, relu

from pml_proxyext.losses.cross_modal_samples import check_same_ids
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.two_view_loss import TwoViewLoss
from pml_proxyext.losses.weighted_negatives import negative_logits
from pml_proxyext.utils.checks import check_embeddings, check_integer, check_labels, check_number
from pml_proxyext.utils.parameter_groups import parameter_groups
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["PairSupConLoss"]


class PairSupConLoss(TwoViewLoss):
    r"""Learn sentence embeddings from labelled pairs: a classifier of pairs, and contrast with hard negatives.

    Of M pairs of a premise :math:`e_i` and a hypothesis :math:`e'_i` with label :math:`y_i`, P are entailments. With
    :math:`\ell` the loss of :class:`~pml_proxyext.losses.HardNegNTXentLoss`,

    .. math::
        L = \frac{\beta}{2P} \sum_{i: y_i = \mathrm{entailment}} \big(\ell_i + \ell'_i\big)
          + \frac{\alpha}{M} \sum_{i=1}^M \mathrm{CE}\big(W [e_i; e'_i; |e_i - e'_i|], y_i\big) .

    Contrast is between projections :math:`g(e) = W_2 \mathrm{relu}(W_1 e)`. The anchors are the sentences of
    entailment pairs, on both sides; the positive of each is its partner, and its negatives are the 2M - 2 sentences of
    all other pairs, those of contradictions included. Projection and classifier are for training: evaluate the
    embeddings themselves, by their cosine.

    Args:
        embedding_size: width h of the embeddings.
        num_classes: number of pair labels, which must lie in ``[0, num_classes)``.
        temperature: :math:`\tau > 0` (0.05 in the authors' training script).
        beta: :math:`\beta \ge 0`, weight of the contrast (1 in the authors' code).
        classifier_weight: :math:`\alpha \ge 0`; 1 in the authors' code, or 0 in its mode without classifier.
        feat_dim: width of the projections (128 in the authors' code).
        projection: False to contrast the embeddings themselves.
        entailment_label: the label of entailment pairs.
        concentration: how much nearness weighs among negatives: 1 as released, 0 for uniform weights, which is the
            ablation that the release calls "Orig".
        detach_weights: whether those weights count as constants in gradients; not so in the release.
        **kwargs: ``distance`` of projections (default: cosine; of a distance that is no similarity the negative is
            taken), ``reducer``, ``embedding_regularizer`` and its weight.

    Shapes:
        embeddings ``(M, h)``, the premises, and ref_emb ``(M, h)``, the hypotheses, both floating point; labels
        ``(M,)`` integers, one for each pair -> a scalar, in float32 for half precision. Memory: a few times
        :math:`4 M^2` numbers.

    Raises:
        ValueError: for invalid hyper-parameters, embeddings of another width or number, labels that are missing, not
            integers or out of range, ``ref_labels`` that are not the labels, and for ``indices_tuple``.

    Requires an optimizer:
        ``param_groups(lr)`` gives projection and classifier 100 times the learning rate of the network, as the
        authors' code does (5e-6 and 5e-4).

    Reducer input:
        **instdisc_loss**: :math:`\beta` times :math:`\frac{M}{P} \frac{\ell_i + \ell'_i}{2}` for entailments and 0 for
        other pairs. **classification_loss**: :math:`\alpha` times the cross-entropy. Both one value per pair, type
        ``"element"``. Default reducer: mean.

    Relations:
        - The contrast is HardNegNTXentLoss on both sides in one batch, under :func:`~pml_proxyext.utils.pair_labels`.
        - Without projection, with entailments alone and ``concentration=0``, that is NT-Xent of SimCLR.
        - The contrast does not change if premises and hypotheses, or the sentences of a contradiction, are exchanged.

    Departs from the paper or the release:
        of the paper we had the introduction only; the formulas are the release's. Where that gives NaN, for a batch
        without entailment and for a single pair, the contrast is zero here, and the classifier learns all the same.
        As released, sentences that occur in several pairs of a batch are negatives of one another.

    Reference:
        Zhang, Li, Xiao, Zhu, Nallapati, Arnold, Xiang, "Pairwise Supervised Contrastive Learning of Sentence
        Representations", EMNLP 2021, arXiv:2109.05424.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = PairSupConLoss(embedding_size=16)
        >>> premises, hypotheses = torch.randn(4, 16), torch.randn(4, 16)
        >>> loss_func(premises, torch.tensor([1, 0, 1, 0]), ref_emb=hypotheses).shape
        torch.Size([])
    """

    #: Factor of the learning rate for each beginning of a parameter's name; see :meth:`param_groups`.
    lr_multipliers: ClassVar[dict[str, float]] = {"projection": 100.0, "classifier": 100.0}

    def __init__(
        self,
        embedding_size: int,
        num_classes: int = 2,
        temperature: float = 0.05,
        beta: float = 1.0,
        classifier_weight: float = 1.0,
        feat_dim: int = 128,
        projection: bool = True,
        entailment_label: int = 1,
        concentration: float = 1.0,
        detach_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embedding_size = check_integer("embedding_size", embedding_size)
        self.num_classes = check_integer("num_classes", num_classes, low=2)
        self.temperature = check_number("temperature", temperature, low=0.0, open_low=True)
        self.beta = check_number("beta", beta, low=0.0)
        self.classifier_weight = check_number("classifier_weight", classifier_weight, low=0.0)
        self.feat_dim = check_integer("feat_dim", feat_dim)
        self.entailment_label = check_integer("entailment_label", entailment_label, low=0)
        if entailment_label >= num_classes:
            raise ValueError(f"entailment_label must lie in [0, num_classes={num_classes}), got {entailment_label}")
        self.concentration = check_number("concentration", concentration, low=0.0)
        self.detach_weights = detach_weights
        self.classifier = nn.Linear(3 * embedding_size, num_classes, bias=False)
        widths = [embedding_size, embedding_size, feat_dim] if projection else []
        self.projection = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.add_to_recordable_attributes(
            list_of_names=["embedding_size", "num_classes", "temperature", "beta", "classifier_weight", "concentration"]
        )

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        c_f.indices_tuple_not_supported(indices_tuple)
        if labels is None:
            raise ValueError("labels are required, one for each pair, got None")
        check_embeddings(embeddings, self.embedding_size)
        labels = check_labels(labels, self.num_classes)
        check_same_ids(labels, ref_labels)
        return {
            "instdisc_loss": element_loss(self.beta * self._instance_losses(embeddings, ref_emb, labels)),
            "classification_loss": element_loss(
                self.classifier_weight * cross_entropy(self.pair_logits(embeddings, ref_emb), labels, reduction="none")
            ),
        }

    def pair_logits(self, embeddings: Tensor, ref_emb: Tensor) -> Tensor:
        """Return the classifier's logits of pairs, ``(M, num_classes)``."""
        features = torch.cat([embeddings, ref_emb, (embeddings - ref_emb).abs()], dim=1)
        return linear(features, self.classifier.weight.to(features))

    def project(self, embeddings: Tensor) -> Tensor:
        """Return what is contrasted, ``(M, feat_dim)``; the embeddings themselves without projection."""
        for depth, weight in enumerate(self.projection.parameters()):
            embeddings = linear(relu(embeddings) if depth else embeddings, weight.to(embeddings))
        return embeddings

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the loss's optimizer groups, each at ``lr`` times its multiplier and without weight decay.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than the defaults: ``param_groups(5e-6, classifier=10.0)``.
        """
        return parameter_groups(self, lr, multipliers, self.lr_multipliers)

    def _instance_losses(self, embeddings: Tensor, ref_emb: Tensor, labels: Tensor) -> Tensor:
        """Return one value per pair, 0 unless it is an entailment, whose mean is that over all anchors."""
        features = self.project(torch.cat([embeddings, ref_emb]))
        mat = self.distance(features)
        logits = (mat if self.distance.is_inverted else -mat) / self.temperature
        pairs = torch.arange(len(labels), device=logits.device).repeat(2)
        counts = (pairs[:, None] != pairs).to(logits)
        negatives = negative_logits(logits, counts, self.concentration, self.detach_weights)
        partners = torch.cat([logits.diagonal(len(labels)), logits.diagonal(-len(labels))])
        of_pairs = log1p_exp(negatives - partners).view(2, -1).mean(0)
        # A single pair has no negatives.
        is_anchor = (labels == self.entailment_label) & (len(labels) > 1)
        return of_pairs * is_anchor * len(labels) / is_anchor.sum().clamp(min=1)

    def _sub_loss_names(self) -> list[str]:
        return ["instdisc_loss", "classification_loss"]

    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

    def extra_repr(self) -> str:
        switches = ("feat_dim", "entailment_label", "detach_weights")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in switches)])
