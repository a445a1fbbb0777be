r"""DEMI: contrast a part of each sample first, then all of it against negatives that the part does not tell away."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from torch import Tensor

from pml_proxyext.losses.demi_subviews import Subview, TuplesAndSubviews, both_subviews, check_second_view, check_widths
from pml_proxyext.losses.demi_terms import (
    PairCritic,
    Terms,
    class_mean_scores,
    critic_scores,
    terms_of_labels,
    terms_of_pairs,
)
from pml_proxyext.losses.pair_candidates import candidates_of_batch
from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.utils.checks import check_choice, check_number
from pml_proxyext.utils.parameter_groups import parameter_groups

__all__ = ["DEMILoss"]


class DEMILoss(PairLoss):
    r"""The information of two views as a sum of two contrasts: that of a subview, and what the rest adds to it.

    A contrast among :math:`K` candidates cannot show more than :math:`\log K` nats. But for a subview :math:`x'` of
    :math:`x`, as a crop or a part of the coordinates, :math:`I(x; y) = I(x'; y) + I(x; y | x')`, and each part may be
    small enough. With scores :math:`\psi_{ak}` of :math:`x'_a` and :math:`y_k`, :math:`\phi_{ak}` of :math:`x_a` and
    :math:`y_k`, and :math:`N(a)` the :math:`n_a` negatives of a, a positive pair costs
    :math:`\ell_{ap} = \ell'_{ap} + \lambda\, \ell''_{ap}`:

    .. math::
        \ell'_{ap} &= \log \Big(1 + \sum_{k \in N(a)} e^{\psi_{ak} - \psi_{ap}}\Big), \\
        \text{boosted:} \quad
        \ell''_{ap} &= \log \Big(1 + \sum_{k \in N(a)} e^{(\psi + \phi)_{ak} - (\psi + \phi)_{ap}}\Big), \\
        \text{importance-sampled:} \quad
        \ell''_{ap} &= \log \Big(1 + n_a \sum_{k \in N(a)} w_{ak} e^{\phi_{ak} - \phi_{ap}}\Big), \quad
        w_{ak} = \frac{e^{\psi_{ak}}}{\sum_{j \in N(a)} e^{\psi_{aj}}} .

    In :math:`\ell''` the scores :math:`\psi` count as constants, so that :math:`\phi` learns what they lack.

    With class labels as the subview (``conditional="label"``), negatives of an anchor's class are true conditional
    negatives, and need no weights. ``ref_emb`` is then the second view, row by row; :math:`\phi` tells the partner from
    the other samples of the class, and :math:`\psi` tells from the class which sample of the batch the partner is.

    Args:
        subview: from ``(N, D)`` to the subview: a slice of coordinates, or a function, which if it is a module is
            trained as a part of the loss. It is taken of both sides. None is the first half of the coordinates. Not
            used with ``sub_emb``, nor in the label mode.
        conditional: ``"boosted"``, ``"is"`` (importance-sampled) or ``"label"``. The authors train with the first,
            says a reproducibility report.
        temperature: :math:`\tau > 0`; :math:`\phi` is ``distance`` (cosine) over :math:`\tau`. 0.07 as in PML's
            ``NTXentLoss``; we could not see the paper's.
        sub_temperature: the same for :math:`\psi`; None is ``temperature``.
        cond_weight: :math:`\lambda \ge 0`, a plain attribute. 1 is our reading of "the sum"; we could not see whether
            the paper weights it.
        detach_sub: whether :math:`\psi` is constant in :math:`\ell''`.
        critic: :math:`\phi` in place of ``distance`` over ``temperature``, from ``(N, D)`` and ``(M, D)`` to
            ``(N, M)``; a module, as those of :mod:`pml_proxyext.information`, becomes a part of the loss.
        sub_critic: the same for :math:`\psi`. In the label mode it takes labels ``(N,)`` in place of rows; None
            compares a sample with the mean of the others of the class in ``ref_emb``.
        **kwargs: ``distance`` (default: cosine; of a distance that is no similarity the negative is taken),
            ``reducer``, ``embedding_regularizer`` and its weight.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers, ref_emb ``(M, D)``, ref_labels ``(M,)``, or a
        miner's tuples in place of labels; without both, row i of ref_emb belongs to row i of embeddings. sub_emb
        ``(N, E)``: subviews that were embedded apart, with sub_ref_emb ``(M, E)`` to compare them with, by default
        ref_emb -> a scalar, in float32 for half precision. Memory: a few times :math:`N M` numbers, however many pairs
        there are.

    Raises:
        ValueError: for invalid hyper-parameters, embeddings or labels, rows or widths that do not fit, ``ref_emb``
            without ``ref_labels``, and if there are neither labels, nor tuples, nor rows of ``ref_emb``. In the label
            mode also for tuples, subviews, missing labels or ``ref_emb``, and other labels for it.

    Requires an optimizer:
        only if critics or the subview have parameters; ``param_groups(lr)`` has them, at the rate of the network.

    Reducer input:
        **loss**: one value per positive pair, type ``"pos_pair"``. Default reducer: mean. A tuple that occurs several
        times counts several times. Pairs of anchors without negatives count, as zeros.

    Records:
        with ``collect_stats``, in nats: **bound_sub** and **bound_cond**, the means of :math:`\log K_a` minus each
        term, :math:`K_a = n_a + 1`; **ess**, the mean :math:`1 / \sum_k w_{ak}^2`. For random negatives of another
        sample each, bound_sub is a lower bound of :math:`I(x'; y)` in expectation, boosted bound_cond one of *all*
        :math:`I(x; y)`; importance-sampled it is an estimate, which is too high where ess is small. With labels, they
        are values of a loss and no information, except in the label mode.

    Relations:
        - With ``cond_weight=0`` it is PML's ``NTXentLoss`` on the subviews, except that PML takes a single pair with a
          single negative for none, and saturates at large scores.
        - With constant :math:`\psi` both conditional parts are ``NTXentLoss`` on :math:`x`.
        - Scores of a row may all move by one number, in :math:`\psi` and in :math:`\phi`.

    Departs from the paper or the release:
        there is no release, and of the paper we had the abstract. The terms are reconstructed from it and from a
        third-party reproducibility report, and derived anew; equal weights are our reading; that the authors train
        the boosted part is in that report. The label mode is ours.

    Reference:
        Sordoni, Dziri, Schulz, Gordon, Bachman, Tachet des Combes, "Decomposed Mutual Information Estimation for
        Contrastive Representation Learning", ICML 2021, arXiv:2106.13401.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = DEMILoss()
        >>> images, other_crops, small_crops = torch.randn(6, 8), torch.randn(6, 8), torch.randn(6, 8)
        >>> loss_func(images, ref_emb=other_crops, sub_emb=small_crops).shape
        torch.Size([])
        >>> loss_func(images, torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    supports_ref_emb = True

    #: Factor of the learning rate for each beginning of a parameter's name; see :meth:`param_groups`.
    lr_multipliers: ClassVar[dict[str, float]] = {"critic": 1.0, "sub_critic": 1.0, "subview": 1.0}

    def __init__(
        self,
        subview: Subview = None,
        conditional: Literal["boosted", "is", "label"] = "boosted",
        temperature: float = 0.07,
        sub_temperature: float | None = None,
        cond_weight: float = 1.0,
        detach_sub: bool = True,
        critic: PairCritic | None = None,
        sub_critic: PairCritic | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("subview", subview), ("critic", critic), ("sub_critic", sub_critic)):
            if not (value is None or callable(value) or (name == "subview" and isinstance(value, slice))):
                allowed = "None, a slice or a function" if name == "subview" else "None or a function"
                raise ValueError(f"{name} must be {allowed}, got {value!r}")
        self.conditional = check_choice("conditional", conditional, ["boosted", "is", "label"])
        if conditional == "label" and subview is not None:
            raise ValueError("subview is not supported with conditional='label', where the label is the subview")
        self.temperature = check_number("temperature", temperature, low=0.0, open_low=True)
        self.sub_temperature = check_number(
            "sub_temperature", temperature if sub_temperature is None else sub_temperature, low=0.0, open_low=True
        )
        self.cond_weight = check_number("cond_weight", cond_weight, low=0.0)
        self.detach_sub = detach_sub
        self.pairs_rows = conditional == "label"
        self.subview, self.critic, self.sub_critic = subview, critic, sub_critic
        self.add_to_recordable_attributes(list_of_names=["temperature", "sub_temperature", "cond_weight"])
        self.add_to_recordable_attributes(list_of_names=["bound_sub", "bound_cond", "ess"], is_stat=True)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        sub_emb: Tensor | None = None,
        sub_ref_emb: Tensor | None = None,
    ) -> Tensor:
        return super().forward(
            embeddings, labels, TuplesAndSubviews(indices_tuple, sub_emb, sub_ref_emb), ref_emb, ref_labels
        )

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: TuplesAndSubviews,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        if self.conditional == "label":
            for name, value in indices_tuple._asdict().items():
                if value is not None:
                    raise ValueError(f"{name} is not supported with conditional='label'")
            check_second_view(embeddings, labels, ref_emb, ref_labels)
            ref_labels = labels
        return super().compute_loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: TuplesAndSubviews,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        tuples, sub_emb, sub_ref_emb = indices_tuple
        phi = self._scores(self.critic, embeddings, ref_emb, self.temperature)
        if self.conditional == "label":
            assert labels is not None
            terms = terms_of_labels(self._label_scores(labels, ref_emb), phi, labels)
        else:
            subviews = both_subviews(self.subview, embeddings, ref_emb, sub_emb, sub_ref_emb)
            if self.sub_critic is None:
                check_widths(*subviews)
            psi = self._scores(self.sub_critic, *subviews, self.sub_temperature)
            candidates = candidates_of_batch(phi, labels, ref_labels, tuples, ref_emb is embeddings)
            if len(candidates[0]) == 0:
                return self.zero_losses()
            terms = terms_of_pairs(psi, phi, candidates, self.conditional == "boosted", self.detach_sub)
        if self.collect_stats:
            self._record(terms)
        losses = terms.sub_losses + self.cond_weight * terms.cond_losses
        return {
            "loss": {"losses": losses, "indices": terms.pairs, "reduction_type": "pos_pair", "divisor": len(losses)}
        }

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the optimizer groups of critics and subview, each at ``lr`` times its multiplier, without decay.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than 1: ``param_groups(1e-3, sub_critic=10.0)``.
        """
        return parameter_groups(self, lr, multipliers, self.lr_multipliers)

    def _label_scores(self, labels: Tensor, ref_emb: Tensor) -> Tensor:
        score = partial(self._scores, self.sub_critic, temperature=self.sub_temperature)
        if self.sub_critic is not None:
            return score(labels, ref_emb)
        return class_mean_scores(score, labels, self.distance.maybe_normalize(ref_emb))

    def _scores(self, critic: PairCritic | None, rows: Tensor, columns: Tensor, temperature: float) -> Tensor:
        if critic is not None:
            return critic_scores(critic, rows, columns)
        mat = self.distance(rows, columns)
        return (mat if self.distance.is_inverted else -mat) / temperature

    @torch.no_grad()
    def _record(self, terms: Terms) -> None:
        self.bound_sub, self.bound_cond = (bound.mean().item() for bound in terms.bounds())
        self.ess = terms.effective_sample_sizes().mean().item()

    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

    def extra_repr(self) -> str:
        switches = ("conditional", "detach_sub", "subview")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)!r}" for name in switches)])
