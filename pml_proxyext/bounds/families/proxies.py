"""Softmax losses on proxies without a margin of the angle: ProxyNCA and SoftTriple."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.losses import ProxyNCALoss, SoftTripleLoss, SubCenterArcFaceLoss, TripletMarginLoss
from pytorch_metric_learning.reducers import MeanReducer
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import normalize, relu

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import MARGIN
from pml_proxyext.bounds.families.margin_softmax import cosface
from pml_proxyext.bounds.pml_losses import euclidean, normalized_softmax, with_proxies
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["RELATIONS", "proxy_nca"]

SCALE = Hyper(1.0, 0.1, 40.0)
LAMBDA = Hyper(20.0, 0.2, 20.0)
CENTRES = 3


def proxy_nca(batch: BoundBatch, proxies: Tensor | None = None) -> Tensor:
    """Return ProxyNCA with the proxies of the batch, or with others."""
    proxies = batch.classifier if proxies is None else proxies
    loss = ProxyNCALoss(*proxies.shape, softmax_scale=batch["scale"], reducer=MeanReducer())
    value: Tensor = with_proxies(loss, proxies)(batch.embeddings, batch.labels)
    return value


def _softmax(batch: BoundBatch) -> Tensor:
    return normalized_softmax(batch.given(temperature=1 / (2 * batch["scale"])))


def _cosface_at_0(batch: BoundBatch) -> Tensor:
    return cosface(batch.given(scale=2 * batch["scale"]), margin=0.0)


def _softplus_of_paper(batch: BoundBatch) -> Tensor:
    """Return softplus of ProxyNCA as the paper has it, whose denominator lacks the own proxy."""
    squared = 2 - 2 * batch.cosine_logits
    is_own = batch.one_hot.bool()
    others = (-batch["scale"] * squared).masked_fill(is_own, -math.inf).logsumexp(1)
    return log1p_exp(batch["scale"] * squared[is_own] + others).mean()


def _representatives(batch: BoundBatch) -> Tensor:
    """Return unit vectors near the proxies, always the same for one ``eps``."""
    generator = torch.Generator().manual_seed(int(1e6 * batch["eps"]))
    noise = torch.randn(*batch.classifier.shape, generator=generator, dtype=torch.float64)
    return normalize(batch.unit_proxies + batch["eps"] * noise / batch.classifier.shape[1] ** 0.5)


def _change_of_representatives(batch: BoundBatch) -> Tensor:
    return (proxy_nca(batch, _representatives(batch)) - proxy_nca(batch)).abs()


def _farthest_representative(batch: BoundBatch) -> Tensor:
    return torch.linalg.vector_norm(_representatives(batch) - batch.unit_proxies, dim=1).max()


def _triplet(batch: BoundBatch) -> Tensor:
    loss = TripletMarginLoss(margin=batch["margin"], distance=euclidean(), reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _triplet_of_proxies(batch: BoundBatch) -> Tensor:
    """Return the triplet loss with proxies in the places of positives and negatives, and a margin larger by 2 eps."""
    anchors, _, negatives = lmu.get_all_triplets_indices(batch.labels)
    if not len(anchors):
        return batch.embeddings.sum() * 0
    own = batch.labels[anchors]
    exact = torch.cdist(batch.unit, batch.unit_proxies, compute_mode="donot_use_mm_for_euclid_dist")
    eps = exact[torch.arange(len(batch)), batch.labels].max()
    gaps = exact[anchors, own] - exact[anchors, batch.labels[negatives]]
    return relu(gaps + batch["margin"] + 2 * eps).mean()


def _soft_triple(batch: BoundBatch, centres: Tensor, per_class: int) -> Tensor:
    sizes = {"num_classes": len(centres) // per_class, "embedding_size": centres.shape[1]}
    loss = SoftTripleLoss(
        **sizes, centers_per_class=per_class, la=batch["la"], gamma=batch["gamma"], margin=0, reducer=MeanReducer()
    )
    value: Tensor = with_proxies(loss, centres)(batch.embeddings, batch.labels)
    return value


def _soft_triple_against_subcentres(batch: BoundBatch) -> Tensor:
    """Return the difference of SoftTriple and sub-centre ArcFace at margin 0, with three centres around each proxy."""
    classes, size = batch.classifier.shape
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(classes, CENTRES, size, generator=generator, dtype=torch.float64)
    centres = (batch.classifier[:, None] + 0.7 * noise).flatten(0, 1)
    loss = SubCenterArcFaceLoss(
        num_classes=classes,
        embedding_size=size,
        sub_centers=CENTRES,
        margin=0,
        scale=batch["la"],
        reducer=MeanReducer(),
    )
    nearest: Tensor = with_proxies(loss, centres)(batch.embeddings, batch.labels)
    return (_soft_triple(batch, centres, CENTRES) - nearest).abs()


PROXY_NCA = Side("ProxyNCA", proxy_nca)
CHANGE = Side("change of ProxyNCA between proxies and representatives", _change_of_representatives)
AT_SCALE = {"scale": SCALE}
REPRESENTATIVES = "representatives are the proxies with normal noise of about eps, on the unit sphere"

RELATIONS = (
    Relation(
        id="proxynca.eq_normsoftmax",
        title="ProxyNCA is normalized softmax at half of the inverse scale",
        statement=r"L_{\mathrm{PNCA}}^{s} = L_{\mathrm{NS}}^{\tau = 1/(2s)}",
        source="derived",
        proof="on the unit sphere minus the squared distance is twice the cosine, less 2",
        labels=Labels.PROXY_ANY,
        lhs=PROXY_NCA,
        rhs=Side("normalized softmax", _softmax),
        kind=Kind.EQUAL,
        hyper=AT_SCALE,
        witness=lambda: witnesses.axes([2, 2, 2], scale=1.0),
    ),
    Relation(
        id="proxynca.eq_cosface0",
        title="ProxyNCA is CosFace without a margin, at twice the scale",
        statement=r"L_{\mathrm{PNCA}}^{s} = L_{\mathrm{CosFace}}^{m = 0,\, 2s}",
        source="derived",
        proof="the same softmax",
        labels=Labels.PROXY_ANY,
        lhs=Side("CosFace at margin 0", _cosface_at_0),
        rhs=PROXY_NCA,
        kind=Kind.EQUAL,
        hyper=AT_SCALE,
        witness=lambda: witnesses.axes([2, 2, 2], scale=1.0),
    ),
    Relation(
        id="proxynca.softplus_paper",
        title="PML's ProxyNCA is the mean softplus of the paper's",
        statement=r"L_{\mathrm{PNCA}} = \tfrac1N \sum_i \log(1 + e^{\ell_i}), \quad"
        r" \ell_i = s \|x_i - p_{y_i}\|^2 + \log \sum_{c \ne y_i} e^{-s \|x_i - p_c\|^2}",
        source="ours; the paper leaves the own proxy out of the denominator",
        proof="minus the log of a / (a + b) is softplus of log(b / a)",
        labels=Labels.PROXY_ANY,
        lhs=PROXY_NCA,
        rhs=Side("softplus of the paper's ProxyNCA", _softplus_of_paper),
        kind=Kind.EQUAL,
        hyper=AT_SCALE,
        witness=lambda: witnesses.axes([2, 2, 2], scale=1.0),
    ),
    Relation(
        id="proxynca.triplet_proxy",
        title="ProxyNCA changes little between proxies and near representatives of the classes",
        statement=r"|L_{\mathrm{PNCA}}(r) - L_{\mathrm{PNCA}}(p)| \le 2s \cdot 4\varepsilon + 10^{-6}, \quad"
        r" \varepsilon = \max_c \|r_c - p_c\|",
        source="Movshovitz-Attias et al. 2017 (bound of triplets by proxies), smoothed; the last term is for rounding",
        proof="a squared distance changes by at most 4 eps; a log of a sum of exponentials is 1-Lipschitz, twice",
        labels=Labels.PROXY_ANY,
        lhs=CHANGE,
        rhs=Side(
            "largest distance of a representative",
            lambda batch: 8 * batch["scale"] * _farthest_representative(batch) + 1e-6,
            "times 8 times the scale",
        ),
        hyper={"scale": SCALE, "eps": Hyper(0.1, 0.0, 0.5)},
        assumptions=REPRESENTATIVES,
    ),
    Relation(
        id="proxynca.triplet_proxy_cosine",
        title="ProxyNCA changes by at most half of that",
        statement=r"|L_{\mathrm{PNCA}}(r) - L_{\mathrm{PNCA}}(p)| \le 4s\varepsilon, \quad"
        r" \varepsilon = \max_c \|r_c - p_c\|",
        source="ours",
        proof="between unit vectors a squared distance changes by 2 x . (p - r), at most 2 eps",
        labels=Labels.PROXY_ANY,
        lhs=CHANGE,
        rhs=Side(
            "largest distance of a representative",
            lambda batch: 4 * batch["scale"] * _farthest_representative(batch),
            "times 4 times the scale",
        ),
        hyper={"scale": SCALE, "eps": Hyper(0.1, 0.0, 0.5)},
        assumptions=REPRESENTATIVES,
    ),
    Relation(
        id="proxynca.triplet_hinge",
        title="The triplet loss is at most the triplet loss to proxies with a larger margin",
        statement=r"\overline{[d(x,y) - d(x,z) + m]_+} \le \overline{[d(x,p_y) - d(x,p_z) + m + 2\varepsilon]_+},"
        r" \quad \varepsilon = \max_i \|x_i - p_{y_i}\|",
        source="Movshovitz-Attias et al. 2017",
        proof="the triangle inequality twice",
        labels=Labels.PROXY_ANY,
        lhs=Side("triplet hinge", _triplet),
        rhs=Side("triplet hinge of proxies", _triplet_of_proxies, "with a margin larger by 2 eps"),
        hyper={"margin": MARGIN},
        witness=lambda: witnesses.simplex(3, 2, margin=2.0),
        # PML's distances go through cdist, which squares and takes the root for more than 25 samples.
        rtol=1e-7,
    ),
    Relation(
        id="softtriple.eq_ns",
        title="SoftTriple with one centre and no margin is normalized softmax",
        statement=r"L_{\mathrm{ST}}^{K = 1,\, \delta = 0} = L_{\mathrm{NS}}^{\tau = 1/\lambda}",
        source="Qian et al. 2019",
        proof="one centre has all of the weight",
        labels=Labels.PROXY_ANY,
        lhs=Side("SoftTriple with one centre", lambda batch: _soft_triple(batch, batch.classifier, 1)),
        rhs=Side("normalized softmax", lambda batch: normalized_softmax(batch.given(temperature=1 / batch["la"]))),
        kind=Kind.EQUAL,
        hyper={"la": LAMBDA, "gamma": Hyper(0.1, 0.02, 1.0)},
        witness=lambda: witnesses.axes([2, 2, 2], la=4.0),
    ),
    Relation(
        id="softtriple.vs_subcenter",
        title="SoftTriple and the loss of the nearest centre differ by at most lambda gamma log of their number",
        statement=r"|L_{\mathrm{ST}} - L_{\max}| \le \lambda \gamma \log K",
        source="ours; the loss of the nearest centre is sub-centre ArcFace at margin 0",
        proof="the soft similarity is at most gamma log K below the largest; cross-entropy is 1-Lipschitz",
        labels=Labels.PROXY_ANY,
        lhs=Side("difference of SoftTriple and sub-centre ArcFace", _soft_triple_against_subcentres),
        rhs=Side(
            "log number of centres",
            lambda batch: batch.embeddings.new_tensor(batch["la"] * batch["gamma"] * math.log(CENTRES)),
            "times lambda gamma",
        ),
        hyper={"la": LAMBDA, "gamma": Hyper(0.1, 0.02, 1.0)},
        assumptions="three centres per class, around its proxy",
    ),
)
