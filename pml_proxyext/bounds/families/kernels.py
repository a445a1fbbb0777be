"""Kernels and divergences of von Mises-Fisher and Gaussian distributions, and losses averaged over samples of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import logsigmoid, normalize

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.relation import Relation, Side
from pml_proxyext.distances import VMFBhattacharyya, VMFExpectedLikelihood, VMFKLDivergence
from pml_proxyext.distributions import log_vmf_normalizer, vmf_log_partition

__all__ = ["CONCENTRATIONS", "FIRST_AND_LAST", "RELATIONS", "vmf_pair"]

CONCENTRATIONS = {"kappa_1": Hyper(10.0, 0.0, 500.0), "kappa_2": Hyper(10.0, 0.0, 500.0)}
FIRST_AND_LAST = "p is centred on the direction of the first sample of the batch, q on that of the last"

Vectors = tuple[Tensor, Tensor]


def vmf_pair(batch: BoundBatch) -> Vectors:
    """Return the embeddings ``(1, D)`` that stand for the von Mises-Fisher distributions p and q."""
    return batch["kappa_1"] * batch.unit[:1], batch["kappa_2"] * batch.unit[-1:]


def _log_bc(batch: BoundBatch) -> Tensor:
    return VMFBhattacharyya().pairwise_distance(*vmf_pair(batch))[0]


def _log_bc_with(batch: BoundBatch, half: float) -> Tensor:
    """Return it with another number in the place of the half before the log-normalisers of p and q."""
    dim = batch.unit.shape[1]
    partitions = [vmf_log_partition(each.square().sum(), dim) for each in vmf_pair(batch)]
    return _log_bc(batch) + (0.5 - half) * torch.stack(partitions).sum()


def _log_elk(p: Tensor, q: Tensor) -> Tensor:
    return VMFExpectedLikelihood().pairwise_distance(p, q)[0]


def _log_elk_selves(batch: BoundBatch) -> Tensor:
    p, q = vmf_pair(batch)
    return _log_elk(p, p) + _log_elk(q, q)


def _kl(batch: BoundBatch) -> Tensor:
    return VMFKLDivergence().pairwise_distance(*vmf_pair(batch))[0]


def _log_bc_and_suprema(batch: BoundBatch) -> Tensor:
    kappas = batch.unit.new_tensor([batch["kappa_1"], batch["kappa_2"]])
    suprema = log_vmf_normalizer(kappas, batch.unit.shape[1]) + kappas
    return _log_bc(batch) + suprema.sum() / 2


def _zero(batch: BoundBatch) -> Tensor:
    return batch.embeddings.new_zeros(())


def _gaussians(batch: BoundBatch) -> tuple[Vectors, Vectors]:
    """Return the means and variances of p and q; the variances are drawn with a seed that the batch determines."""
    total = batch.embeddings.detach().cpu().numpy().sum()  # torch adds in another order and may round across an integer
    seed = int(abs(np.nan_to_num(total, posinf=0.0, neginf=0.0)) * 1e6) % 2**31
    draws = np.random.default_rng(seed).standard_normal((2, batch.embeddings.shape[1]))
    variances = torch.from_numpy(np.exp(batch["spread"] * draws)).to(batch.embeddings)
    return (batch.embeddings[0], batch.embeddings[-1]), (variances[0], variances[1])


def _gaussian_mahalanobis(batch: BoundBatch) -> Tensor:
    means, variances = _gaussians(batch)
    return ((means[0] - means[1]).square() / (variances[0] + variances[1]) * 2).sum() / 8


def _gaussian_bhattacharyya(batch: BoundBatch) -> Tensor:
    variances = torch.stack(_gaussians(batch)[1])
    return _gaussian_mahalanobis(batch) + (variances.mean(0).log() - variances.log().mean(0)).sum() / 2


def _gaussian_kl(batch: BoundBatch) -> Tensor:
    parameters = zip(*_gaussians(batch), strict=True)  # not validated: NaN is to be seen in the value
    p, q = (Independent(Normal(mean, var.sqrt(), validate_args=False), 1) for mean, var in parameters)
    return kl_divergence(p, q)


def _gaussian_kl_with(batch: BoundBatch, trace: float) -> Tensor:
    """Return it with another factor than 1 before the trace of the covariance of p in that of q."""
    variances = _gaussians(batch)[1]
    return _gaussian_kl(batch) + (trace - 1) / 2 * (variances[0] / variances[1]).sum()


def _samples(embeddings: Tensor, number: int, noise: float, seed: int) -> Tensor:
    """Return ``(number, N, D)``: the embeddings with normal noise, always the same."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, *embeddings.shape, generator=generator, dtype=torch.float64)
    return embeddings + noise * drawn.to(embeddings)


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(0) - math.log(len(values))


def _ntxent_log_probabilities(batch: BoundBatch) -> Tensor:
    """Return ``(samples, positive pairs)``: log-probability of the positive against the anchor's negatives."""
    units = normalize(_samples(batch.unit, 5, batch["noise"], seed=3), dim=2)
    logits = units @ units.mT / batch["temperature"]
    negatives = logits.masked_fill(~batch.different, -math.inf).logsumexp(2, keepdim=True)
    return (logits - torch.logaddexp(logits, negatives))[:, batch.same]


def _hib_log_probabilities(batch: BoundBatch) -> Tensor:
    """Return ``(samples, N, N)``: log-probability that two samples match, by a logistic function of their distance."""
    drawn = _samples(batch.embeddings, 6, batch["noise"], seed=4)
    return logsigmoid(1 - 0.7 * torch.cdist(drawn, drawn, compute_mode="donot_use_mm_for_euclid_dist"))


def _same_place(**hyper: float) -> BoundBatch:
    """Return a batch whose first and last samples, of different classes, are equal."""
    return BoundBatch(torch.eye(3)[[0, 1, 0]], torch.tensor([0, 0, 1]), hyper=hyper, origin="witness")


BHATTACHARYYA = Side("log vMF Bhattacharyya coefficient", _log_bc)
SPREAD = Hyper(1.0, 0.0, 2.0)
GAUSSIANS = "means are the first and the last sample; log-variances are normal draws times spread"
THE_HALF = "the half before the log-normalisers of p and q in the Bhattacharyya coefficient"

RELATIONS = (
    Relation(
        id="vmf.bc_le1",
        title="The Bhattacharyya coefficient of two von Mises-Fisher distributions is at most 1",
        statement=r"\log \int \sqrt{p\,q} = \tfrac12 \log C_D(\kappa_1) + \tfrac12 \log C_D(\kappa_2)"
        r" - \log C_D(\tfrac12 \|\kappa_1 \mu_1 + \kappa_2 \mu_2\|) \le 0",
        source="closed form of an exponential family",
        proof="Cauchy-Schwarz on the square roots of two densities",
        labels=Labels.ANY,
        lhs=BHATTACHARYYA,
        rhs=Side("0", _zero),
        hyper=CONCENTRATIONS,
        assumptions=FIRST_AND_LAST,
        witness=lambda: _same_place(kappa_1=10.0, kappa_2=10.0),
        constant=THE_HALF,
        mutated=lambda batch: (_log_bc_with(batch, 0.495), _zero(batch)),
    ),
    Relation(
        id="vmf.elk_cs",
        title="The expected likelihood of two distributions is at most the geometric mean of both with themselves",
        statement=r"2 \log \int p\,q \le \log \int p^2 + \log \int q^2",
        source="closed form of an exponential family",
        proof="Cauchy-Schwarz",
        labels=Labels.ANY,
        lhs=Side("log vMF expected likelihood", lambda batch: 2 * _log_elk(*vmf_pair(batch)), "times 2"),
        rhs=Side("log vMF expected likelihoods with themselves", _log_elk_selves),
        hyper=CONCENTRATIONS,
        assumptions=FIRST_AND_LAST,
        witness=lambda: _same_place(kappa_1=10.0, kappa_2=10.0),
    ),
    Relation(
        id="vmf.kl_bc",
        title="Minus twice the log of the Bhattacharyya coefficient is at most the Kullback-Leibler divergence",
        statement=r"-2 \log \int \sqrt{p\,q} \le \mathrm{KL}(p \,\|\, q)",
        source="the Renyi divergence of order one half is at most that of order one",
        proof="Jensen: minus twice the log of the mean of sqrt(q / p) under p is at most minus the mean of log(q / p)",
        labels=Labels.ANY,
        lhs=Side(BHATTACHARYYA.name, lambda batch: -2 * _log_bc(batch), "times -2"),
        rhs=Side("vMF Kullback-Leibler divergence", _kl),
        hyper=CONCENTRATIONS,
        assumptions=FIRST_AND_LAST,
        witness=lambda: _same_place(kappa_1=10.0, kappa_2=10.0),
        constant=THE_HALF,
        mutated=lambda batch: (-2 * _log_bc_with(batch, 0.505), _kl(batch)),
    ),
    Relation(
        id="vmf.elk_le_bc",
        title="The expected likelihood is at most the Bhattacharyya coefficient times the root of both suprema",
        statement=r"\log \int p\,q \le \log \int \sqrt{p\,q} + \tfrac12 \log(\sup p \, \sup q)",
        source="ours",
        proof="p q is the square of its own root, and one of the two factors is at most its supremum",
        labels=Labels.ANY,
        lhs=Side("log vMF expected likelihood", lambda batch: _log_elk(*vmf_pair(batch))),
        rhs=Side(BHATTACHARYYA.name, _log_bc_and_suprema, "+ half the log of both largest densities"),
        hyper=CONCENTRATIONS,
        assumptions=FIRST_AND_LAST,
        witness=lambda: _same_place(kappa_1=0.0, kappa_2=0.0),
    ),
    Relation(
        id="gauss.bd_kl",
        title="Twice the Bhattacharyya distance of two diagonal Gaussians is at most their Kullback-Leibler divergence",
        statement=r"2 D_B(p, q) \le \mathrm{KL}(p \,\|\, q)",
        source="the Renyi divergence of order one half is at most that of order one",
        proof="Jensen, as for the von Mises-Fisher distribution",
        labels=Labels.ANY,
        lhs=Side("Gaussian Bhattacharyya distance", lambda batch: 2 * _gaussian_bhattacharyya(batch), "times 2"),
        rhs=Side("Gaussian Kullback-Leibler divergence", _gaussian_kl),
        hyper={"spread": SPREAD},
        assumptions=GAUSSIANS,
        witness=lambda: _same_place(spread=0.0),
        constant="the factor 1 of the trace of one covariance in the other",
        mutated=lambda batch: (2 * _gaussian_bhattacharyya(batch), _gaussian_kl_with(batch, 0.99)),
    ),
    Relation(
        id="gauss.bd_maha",
        title="An eighth of the squared Mahalanobis distance is at most the Bhattacharyya distance",
        statement=r"\tfrac18 (\mu_1 - \mu_2)^\top \bar\Sigma^{-1} (\mu_1 - \mu_2) \le D_B(p, q), \quad"
        r" \bar\Sigma = \tfrac12 (\Sigma_1 + \Sigma_2)",
        source="closed form for diagonal Gaussians",
        proof="the log-determinant is concave",
        labels=Labels.ANY,
        lhs=Side("Gaussian Mahalanobis distance, squared", _gaussian_mahalanobis, "/ 8"),
        rhs=Side("Gaussian Bhattacharyya distance", _gaussian_bhattacharyya),
        hyper={"spread": SPREAD},
        assumptions=GAUSSIANS,
        witness=lambda: BoundBatch(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 1]), hyper={"spread": 0.0}),
    ),
    Relation(
        id="prob.mcinfonce_jensen",
        title="The loss of the mean probability is at most the mean InfoNCE loss over samples",
        statement=r"-\log \tfrac1S \sum_s \sigma_s \le \tfrac1S \sum_s -\log \sigma_s",
        source="Kirchhof et al. 2023 (MC-InfoNCE), from memory; NT-Xent's probabilities here",
        proof="Jensen: minus the logarithm is convex",
        labels=Labels.ANY,
        lhs=Side("MC-InfoNCE", lambda batch: -_log_mean_exp(_ntxent_log_probabilities(batch)).mean()),
        rhs=Side("NT-Xent of noisy embeddings", lambda batch: -_ntxent_log_probabilities(batch).mean()),
        hyper={"temperature": TEMPERATURE, "noise": Hyper(0.3, 0.0, 1.0)},
        assumptions="five samples: unit vectors with normal noise, normalized again",
        witness=lambda: _same_place(temperature=0.5, noise=0.0),
    ),
    Relation(
        id="prob.hib_jensen",
        title="The soft contrastive loss of the mean match probability is at most its mean over samples",
        statement=r"-\log \mathbb{E}\,\sigma(1 - 0.7 d) \le \mathbb{E}[-\log \sigma(1 - 0.7 d)]",
        source="Oh et al. 2019 (hedged instance embeddings), from memory",
        proof="Jensen: minus the logarithm is convex",
        labels=Labels.ANY,
        lhs=Side(
            "soft contrastive of mean probabilities", lambda batch: -_log_mean_exp(_hib_log_probabilities(batch)).mean()
        ),
        rhs=Side("soft contrastive, mean loss", lambda batch: -_hib_log_probabilities(batch).mean()),
        hyper={"noise": Hyper(0.5, 0.0, 2.0)},
        assumptions="six samples: embeddings with normal noise; the mean is over all pairs, with themselves too",
        witness=lambda: _same_place(noise=0.0),
    ),
)
