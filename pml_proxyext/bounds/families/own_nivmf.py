"""This package's nivMF loss against simpler losses, and what its distances of distributions obey."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.families.proxies import SCALE, proxy_nca
from pml_proxyext.bounds.pml_losses import normalized_softmax, with_proxies
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.distances import VMFBhattacharyya, VMFDistance, VMFExpectedLikelihood, VMFKLDivergence
from pml_proxyext.distributions import VonMisesFisher, bessel_ratio, log_sphere_area
from pml_proxyext.losses import NivMFLoss
from pml_proxyext.losses.nivmf_loss import NivMFSimilarity

__all__ = ["RELATIONS"]

IMAGES, PROXIES = {"kappa_1": Hyper(10.0, 0.1, 100.0)}, {"kappa_2": Hyper(10.0, 0.1, 100.0)}
AT_TEMPERATURE = {"temperature": TEMPERATURE}
BOTH = "images are unit directions times kappa_1; all proxies have the concentration kappa_2"


def nivmf(
    batch: BoundBatch,
    similarity: NivMFSimilarity,
    embeddings: Tensor,
    concentration: float = 1.0,
    temperature: float = 1.0,
    **arguments: Any,
) -> Tensor:
    """Return the nivMF loss of ``embeddings`` with one concentration for all proxies."""
    loss = NivMFLoss(len(batch.classifier), embeddings.shape[1], similarity, **arguments)
    with_proxies(loss, batch.classifier)
    # The loss starts them in float32, where they would be off by 1e-8.
    loss.log_temperature = nn.Parameter(embeddings.new_tensor(math.log(temperature)))
    if similarity != "cosine":
        loss.concentrations = nn.Parameter(torch.full_like(loss.concentrations, concentration, dtype=torch.float64))
    value: Tensor = loss(embeddings, batch.labels)
    return value


def _images(batch: BoundBatch) -> Tensor:
    return batch["kappa_1"] * batch.unit


def _of_images(batch: BoundBatch, similarity: NivMFSimilarity, **arguments: Any) -> Tensor:
    return nivmf(batch, similarity, _images(batch), batch["kappa_2"], batch["temperature"], **arguments)


def _el_nivmf_at_1(batch: BoundBatch) -> Tensor:
    return _of_images(batch.given(temperature=1.0), "el_nivmf", estimator="closed_form", warp_samples=False)


def _el_vmf_at_1(batch: BoundBatch) -> Tensor:
    return _of_images(batch.given(temperature=1.0), "el_vmf")


def _by_distance(batch: BoundBatch, distance: VMFDistance) -> Tensor:
    """Return the softmax loss of a distance of the package between images and proxies."""
    logits = distance(_images(batch), batch["kappa_2"] * batch.unit_proxies) / batch["temperature"]
    return cross_entropy(logits if distance.is_inverted else -logits, batch.labels)


def _softmax_of_kl(batch: BoundBatch) -> Tensor:
    mean_length = bessel_ratio(batch.unit.new_tensor(batch["kappa_1"]), batch.unit.shape[1])
    return normalized_softmax(batch.given(temperature=batch["temperature"] / float(mean_length) / batch["kappa_2"]))


def _self_likelihood(embeddings: Tensor) -> Tensor:
    return VMFExpectedLikelihood().pairwise_distance(embeddings, embeddings).mean()


def _entropy(batch: BoundBatch) -> Tensor:
    concentrations = batch.unit.new_tensor(batch["kappa_1"])
    return VonMisesFisher(batch.unit, concentrations, validate_args=False).entropy().mean()


def _log_area(batch: BoundBatch) -> Tensor:
    return batch.unit.new_tensor(log_sphere_area(batch.unit.shape[1]))


def _kl_to_uniform(batch: BoundBatch) -> Tensor:
    images = _images(batch)
    return VMFKLDivergence().pairwise_distance(images, torch.zeros_like(images)).mean()


SOFTMAX = Side("normalized softmax", normalized_softmax)
DISTANCES: dict[NivMFSimilarity, VMFDistance] = {
    "el_vmf": VMFExpectedLikelihood(),
    "b_vmf": VMFBhattacharyya(),
    "kl_vmf": VMFKLDivergence(),
}
ENTROPY = Side("vMF entropy", _entropy)

RELATIONS = (
    Relation(
        id="nivmf.cosine_eq_normalized_softmax",
        title="nivMF with cosines is normalized softmax",
        statement=r"L_{\mathrm{nivMF}}^{\cos,\, T} = L_{\mathrm{NS}}^{\tau = T}",
        source="ours",
        proof="the same softmax",
        labels=Labels.PROXY_ANY,
        lhs=Side("nivMF with cosine", lambda batch: nivmf(batch, "cosine", batch.embeddings, 1, batch["temperature"])),
        rhs=SOFTMAX,
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="nivmf.l2_eq_proxynca",
        title="nivMF with squared distances is ProxyNCA where images and proxies have norm 1",
        statement=r"|e_i| = k_c = 1 \Rightarrow L_{\mathrm{nivMF}}^{\ell_2,\, T} = L_{\mathrm{PNCA}}^{s = 1/T}",
        source="ours",
        proof="the same softmax",
        labels=Labels.PROXY_ANY,
        lhs=Side("nivMF with l2", lambda batch: nivmf(batch, "l2", batch.unit, temperature=1 / batch["scale"])),
        rhs=Side("ProxyNCA", proxy_nca),
        kind=Kind.EQUAL,
        hyper={"scale": SCALE},
        witness=lambda: witnesses.axes([2, 2, 2], scale=1.0),
    ),
    Relation(
        id="nivmf.isotropic_eq_normalized_softmax",
        title="nivMF of points with one concentration for all is normalized softmax at temperature over concentration",
        statement=r"K_c = k I \Rightarrow L_{\mathrm{nivMF}}^{\mathrm{point},\, T} = L_{\mathrm{NS}}^{\tau = T/k}",
        source="ours",
        proof="normaliser and Jacobian are the same for all proxies, and no softmax sees them",
        labels=Labels.PROXY_ANY,
        lhs=Side(
            "isotropic nivMF of points",
            lambda batch: nivmf(batch, "nivmf", batch.embeddings, batch["kappa_2"], batch["temperature"]),
        ),
        rhs=Side(
            SOFTMAX.name,
            lambda batch: normalized_softmax(batch.given(temperature=batch["temperature"] / batch["kappa_2"])),
        ),
        kind=Kind.EQUAL,
        hyper={**AT_TEMPERATURE, **PROXIES},
        witness=lambda: witnesses.axes([2, 2, 2], temperature=5.0, kappa_2=10.0),
    ),
    Relation(
        id="nivmf.kl_eq_normalized_softmax",
        title="With one concentration for images and one for proxies, nivMF with KL is normalized softmax",
        statement=r"L_{\mathrm{nivMF}}^{\mathrm{KL},\, T} = L_{\mathrm{NS}}^{\tau},"
        r" \quad \tau = \frac{T}{A_D(\kappa_1)\, \kappa_2}",
        source="ours",
        proof="of the divergence only the mean cosine depends on the proxy",
        labels=Labels.PROXY_ANY,
        lhs=Side("nivMF with kl_vmf", lambda batch: _of_images(batch, "kl_vmf")),
        rhs=Side(SOFTMAX.name, _softmax_of_kl),
        kind=Kind.EQUAL,
        hyper={**AT_TEMPERATURE, **IMAGES, **PROXIES},
        assumptions=BOTH,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=5.0, kappa_1=10.0, kappa_2=10.0),
    ),
    *(
        Relation(
            id=f"nivmf.{similarity}_eq_distance",
            title=f"nivMF with {similarity} is the softmax loss of {type(distance).__name__}",
            statement=r"L_{\mathrm{nivMF}} = \tfrac1N \sum_i -\log \mathrm{softmax}_{y_i}"
            rf"\big({'' if distance.is_inverted else '-'}d(e_i, k_c m_c) / T\big)",
            source="ours",
            proof="the same formula, by two implementations",
            labels=Labels.PROXY_ANY,
            lhs=Side(f"nivMF with {similarity}", partial(_of_images, similarity=similarity)),
            rhs=Side(f"softmax of {type(distance).__name__}", partial(_by_distance, distance=distance)),
            kind=Kind.EQUAL,
            hyper={**AT_TEMPERATURE, **IMAGES, **PROXIES},
            assumptions=BOTH,
            witness=lambda: witnesses.axes([2, 2, 2], temperature=5.0, kappa_1=10.0, kappa_2=10.0),
        )
        for similarity, distance in DISTANCES.items()
    ),
    Relation(
        id="nivmf.el_nivmf_eq_el_vmf",
        title="Isotropic proxies make the exact expected likelihood of nivMF that of von Mises-Fisher distributions",
        statement=r"K_c = k I,\; T = 1 \Rightarrow L_{\mathrm{nivMF}}^{\mathrm{EL}} = L_{\mathrm{vMF}}^{\mathrm{EL}}",
        source="ours; the closed form, without the warping of samples",
        proof="without a temperature the integral of the product of two exponentials is one normaliser",
        labels=Labels.PROXY_ANY,
        lhs=Side("isotropic nivMF with el_nivmf", _el_nivmf_at_1),
        rhs=Side("nivMF with el_vmf", _el_vmf_at_1),
        kind=Kind.EQUAL,
        hyper={**IMAGES, **PROXIES},
        assumptions=BOTH,
        witness=lambda: witnesses.axes([2, 2, 2], kappa_1=10.0, kappa_2=10.0),
    ),
    Relation(
        id="vmf.el_self_grows",
        title="The expected likelihood of a distribution with itself grows with its concentration",
        statement=r"\log \int f_e^2 \le \log \int f_{\rho e}^2, \quad \rho \ge 1",
        source="ours",
        proof="its derivative with respect to the concentration is twice a difference of Bessel ratios, which grow",
        labels=Labels.ANY,
        lhs=Side("log vMF expected likelihood with itself", lambda batch: _self_likelihood(batch.embeddings)),
        rhs=Side(
            "log vMF expected likelihood with itself, longer",
            lambda batch: _self_likelihood(batch["norm_ratio"] * batch.embeddings),
        ),
        hyper={"norm_ratio": Hyper(2.0, 1.0, 10.0)},
        witness=lambda: witnesses.axes([2, 2, 2], norm_ratio=1.0),
    ),
    Relation(
        id="vmf.entropy_le_uniform",
        title="No von Mises-Fisher distribution has more entropy than the uniform one",
        statement=r"H(\mathrm{vMF}(\mu, \kappa)) \le \log |S^{D-1}|",
        source="Jensen; ours in this form",
        proof="the uniform distribution has the largest entropy on a set of finite area",
        labels=Labels.ANY,
        lhs=ENTROPY,
        rhs=Side("log area of the sphere", _log_area),
        hyper={"kappa_1": Hyper(10.0, 0.0, 500.0)},
        witness=lambda: witnesses.axes([2, 2, 2], kappa_1=0.0),
    ),
    Relation(
        id="vmf.kl_uniform_eq_entropy",
        title="The divergence from the uniform distribution is what is missing to the largest entropy",
        statement=r"\mathrm{KL}(f_e \,\|\, f_0) = \log |S^{D-1}| - H(f_e)",
        source="ours; a distance of this package against a distribution of it",
        proof="the density of the uniform distribution is one over the area",
        labels=Labels.ANY,
        lhs=Side("vMF Kullback-Leibler divergence to uniform", _kl_to_uniform),
        rhs=Side(ENTROPY.name, lambda batch: _log_area(batch) - _entropy(batch), "times -1, + log area"),
        kind=Kind.EQUAL,
        hyper={"kappa_1": Hyper(10.0, 0.0, 500.0)},
        witness=lambda: witnesses.axes([2, 2, 2], kappa_1=10.0),
    ),
)
