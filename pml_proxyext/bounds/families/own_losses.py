"""This package's Proxy Anchor, its objective over proxies, and its label-smoothed cross-entropy."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import relu

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.margin_softmax import cosface
from pml_proxyext.bounds.families.proxy_anchor import (
    ALPHA_AND_MARGIN,
    PROXY_ANCHOR,
    at_zero_exponents,
    on_the_wrong_pole,
)
from pml_proxyext.bounds.pml_losses import cross_entropy, with_proxies
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import ProxyAnchorLoss
from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.losses.proxy_anchor_loss import ProxyAnchorVariant

__all__ = ["RELATIONS"]

EPS = Hyper(0.1, 0.0, 0.5)
"""Of label smoothing; beyond one half, two classes would change places."""


def own_proxy_anchor(batch: BoundBatch, variant: ProxyAnchorVariant = "class") -> Tensor:
    """Return this package's Proxy Anchor."""
    sizes = {"num_classes": len(batch.classifier), "embedding_size": batch.classifier.shape[1]}
    loss = ProxyAnchorLoss(**sizes, margin=batch["margin"], alpha=batch["alpha"], variant=variant)
    value: Tensor = with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)
    return value


def over_proxies(batch: BoundBatch) -> Tensor:
    """Return the mean over samples of the binomial deviance over proxies."""
    objective = BinomialDeviance(batch["alpha"], batch["margin"], -batch["margin"], over="proxies")
    return objective(batch.cosine_logits, batch.labels, torch.ones_like(batch.cosine_logits[:, 0])).mean()


def hinges_over_proxies(batch: BoundBatch) -> Tensor:
    """Return the mean over samples of alpha times the hinge of the own proxy and that of the nearest other one."""
    is_own, cosines = batch.one_hot.bool(), batch.cosine_logits
    nearest = cosines.masked_fill(is_own, -math.inf).amax(1)
    return batch["alpha"] * (relu(batch["margin"] - cosines[is_own]) + relu(batch["margin"] + nearest)).mean()


def _over_alpha(batch: BoundBatch, factor: float) -> Tensor:
    alpha = factor * batch["alpha"]
    return own_proxy_anchor(batch.given(alpha=alpha)) / alpha


def _entropy(batch: BoundBatch) -> Tensor:
    """Return the entropy of the smoothed target."""
    eps = torch.tensor(batch["eps"], dtype=torch.float64)
    others = len(batch.classifier) - 1
    return torch.special.entr(1 - eps) + others * torch.special.entr(eps / others)


def _log_classes(batch: BoundBatch) -> Tensor:
    return batch.embeddings.new_tensor(math.log(len(batch.classifier)))


def _zero_head(batch: BoundBatch) -> Tensor:
    return cross_entropy(replace(batch, proxies=torch.zeros_like(batch.classifier)), batch["eps"])


def _smoothing_floor(batch: BoundBatch) -> Tensor:
    return (1 - batch["eps"]) * cross_entropy(batch) + batch["eps"] * _log_classes(batch)


def _softmax_is_target() -> BoundBatch:
    """Return a batch on which the softmax of three classes is the target smoothed by 0.1."""
    axes = witnesses.axes([2, 2, 2], eps=0.1)
    return axes.moved(axes.embeddings * math.log(0.9 * 2 / 0.1))


OVER_PROXIES = Side("binomial deviance over proxies", over_proxies)

RELATIONS = (
    Relation(
        id="proxyanchor.ours_eq_pml",
        title="This package's Proxy Anchor is PML's",
        statement=r"L_{\mathrm{PA}}^{\mathrm{ours}} = L_{\mathrm{PA}}^{\mathrm{PML}}",
        source="ours",
        proof="the same formula; the term of a proxy is shared out among its samples, and their mean adds it up again",
        labels=Labels.PROXY_ANY,
        lhs=Side("Proxy Anchor of this package", own_proxy_anchor),
        rhs=PROXY_ANCHOR,
        kind=Kind.EQUAL,
        hyper=ALPHA_AND_MARGIN,
        witness=on_the_wrong_pole,
    ),
    Relation(
        id="proxyanchor.sample_eq_class",
        title="With equally many samples per class, averaging over samples and over classes is one",
        statement=r"n_c = n \Rightarrow L_{\mathrm{PA}}^{\mathrm{sample}} = L_{\mathrm{PA}}",
        source="ours; the released code of NIR and nivMF averages over samples",
        proof="a class counts n times among N samples, or once among N / n classes",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("Proxy Anchor, mean over samples", lambda batch: own_proxy_anchor(batch, "sample")),
        rhs=Side("Proxy Anchor of this package", own_proxy_anchor),
        kind=Kind.EQUAL,
        hyper=ALPHA_AND_MARGIN,
        witness=on_the_wrong_pole,
    ),
    Relation(
        id="proxyanchor.alpha_monotone",
        title="Proxy Anchor divided by alpha falls as alpha grows",
        statement=r"\frac{1}{\rho\alpha} L_{\mathrm{PA}}^{\rho\alpha} \le \frac{1}{\alpha} L_{\mathrm{PA}}^{\alpha},"
        r" \quad \rho \ge 1",
        source="ours",
        proof="the derivative of log(1 + sum exp(a x)) / a with respect to a is minus an entropy over a squared",
        labels=Labels.PROXY_ANY,
        lhs=Side("Proxy Anchor at a larger alpha", lambda batch: _over_alpha(batch, batch["alpha_ratio"]), "/ alpha"),
        rhs=Side("Proxy Anchor of this package", lambda batch: _over_alpha(batch, 1.0), "/ alpha"),
        hyper={**ALPHA_AND_MARGIN, "alpha_ratio": Hyper(2.0, 1.0, 10.0)},
        witness=lambda: at_zero_exponents().given(alpha_ratio=1.0),
    ),
    Relation(
        id="proxyanchor.nca_ge_cosface",
        title="CosFace at twice the margin is at most Proxy Anchor over the proxies of a sample",
        statement=r"L_{\mathrm{CosFace}}^{2\delta,\, s = \alpha} \le L_{\mathrm{PA}}^{\mathrm{nca}}",
        source="ours; the release of NIR calls this variant ProxyNCA",
        proof="1 + a b is at most (1 + a)(1 + b), a and b the exponentials of the own proxy and the sum of the others",
        labels=Labels.PROXY_ANY,
        lhs=Side("CosFace", lambda batch: cosface(batch.given(scale=batch["alpha"]), 2 * batch["margin"])),
        rhs=Side("Proxy Anchor over proxies", lambda batch: own_proxy_anchor(batch, "nca")),
        hyper=ALPHA_AND_MARGIN,
        witness=on_the_wrong_pole,
    ),
    Relation(
        id="binomial.ge_hinges",
        title="The binomial deviance over proxies is at least alpha times its hardest hinges",
        statement=r"\frac{\alpha}{N} \sum_i [\delta - s_{i y_i}]_+ + [\delta + \max_{c \ne y_i} s_{ic}]_+"
        r" \le L_{\mathrm{BD}}",
        source="ours",
        proof="softplus is at least the hinge, and the log of a sum at least its largest term",
        labels=Labels.PROXY_ANY,
        lhs=Side("hardest hinges over proxies", hinges_over_proxies),
        rhs=OVER_PROXIES,
        hyper=ALPHA_AND_MARGIN,
        witness=on_the_wrong_pole,
    ),
    Relation(
        id="binomial.le_hinges_log",
        title="The binomial deviance over proxies is at most alpha times its hardest hinges plus log 2 + log C",
        statement=r"L_{\mathrm{BD}} \le \frac{\alpha}{N} \sum_i \big([\delta - s_{i y_i}]_+"
        r" + [\delta + \max_{c \ne y_i} s_{ic}]_+\big) + \log 2 + \log C",
        source="ours",
        proof="a log of C terms is at most the largest plus log C",
        labels=Labels.PROXY_ANY,
        lhs=OVER_PROXIES,
        rhs=Side(
            "hardest hinges over proxies",
            lambda batch: hinges_over_proxies(batch) + math.log(2) + _log_classes(batch),
            "+ log 2 + log C",
        ),
        hyper=ALPHA_AND_MARGIN,
        witness=at_zero_exponents,
    ),
    Relation(
        id="crossentropy.zero_head",
        title="A classifier that starts at zero has the loss log C minus the entropy of the target",
        statement=r"W = 0 \Rightarrow \mathrm{KL}(q \,\|\, \mathrm{softmax}(W z)) = \log C - H(q)",
        source="ours; the released code of Boudiaf et al. 2020 starts so",
        proof="the softmax is uniform",
        labels=Labels.PROXY_ANY,
        lhs=Side("label-smoothed cross-entropy of a zero classifier", _zero_head),
        rhs=Side("log C", lambda batch: _log_classes(batch) - _entropy(batch), "- entropy"),
        kind=Kind.EQUAL,
        hyper={"eps": EPS},
        witness=lambda: witnesses.axes([2, 2, 2], eps=0.1),
    ),
    Relation(
        id="crossentropy.nonnegative",
        title="Label-smoothed cross-entropy, as a divergence from the target, is at least 0",
        statement=r"0 \le \mathrm{CE}_{q} - H(q)",
        source="Gibbs' inequality",
        proof="it is a Kullback-Leibler divergence",
        labels=Labels.PROXY_ANY,
        lhs=Side("0", lambda batch: batch.embeddings.new_zeros(())),
        rhs=Side("label-smoothed cross-entropy", lambda batch: cross_entropy(batch, batch["eps"])),
        hyper={"eps": EPS},
        witness=_softmax_is_target,
        constant="the factor 1 of the entropy",
        mutated=lambda batch: (
            batch.embeddings.new_zeros(()),
            cross_entropy(batch, batch["eps"]) - 0.01 * _entropy(batch),
        ),
    ),
    Relation(
        id="crossentropy.smoothing_floor",
        title="Smoothing mixes the loss with something that is at least log C",
        statement=r"(1 - \epsilon)\,\mathrm{CE} + \epsilon \log C \le \mathrm{CE}_{\epsilon}",
        source="ours; smoothing as torch has it",
        proof="the mean of minus the log-probabilities over all classes is at least log C, by Jensen",
        labels=Labels.PROXY_ANY,
        lhs=Side("cross-entropy", _smoothing_floor, "times 1 - eps, + eps log C"),
        rhs=Side("label-smoothed cross-entropy of torch", lambda batch: cross_entropy(batch, batch["eps"], "torch")),
        hyper={"eps": EPS},
        witness=lambda: at_zero_exponents().given(eps=0.1),
    ),
)
