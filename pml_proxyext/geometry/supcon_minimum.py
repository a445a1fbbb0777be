r"""The exact minimum of the supervised contrastive loss over all embeddings of one batch, with a proof of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize, root
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.geometry.quantities import class_counts
from pml_proxyext.utils.checks import check_number

__all__ = ["SupConMinimum", "supcon_batch_minimum"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SupConMinimum:
    """What :func:`supcon_batch_minimum` found.

    Attributes:
        minimum: the smallest loss, a scalar in float64: that of classes with the cosines ``class_gram``.
        lower_bound: no embeddings of any width have a smaller loss than this, by the dual certificate.
        class_gram: ``(K, K)``, the cosines between the classes, in the order of the counts without the zeros. Those
            between classes of one member are not determined, for no anchor sees them, and at low temperatures neither
            are those that change the loss by less than rounding.
    """

    minimum: Tensor
    lower_bound: Tensor
    class_gram: Tensor

    @property
    def gap(self) -> float:
        """How far the minimum can be from the true one: below 1e-9 in all that was measured, up to 128 classes."""
        return float(self.minimum - self.lower_bound)


@torch.enable_grad()  # the search needs slopes, also where the caller wants none
def supcon_batch_minimum(counts: Sequence[int] | Tensor, temperature: float | Tensor) -> SupConMinimum:
    r"""Return the smallest supervised contrastive loss of a batch with the given class counts, certified.

    .. math::
        \min_{A \succeq 0,\, A_{yy} = 1}\; f(A), \qquad f(A) = \sum_{y: n_y \ge 2} \frac{n_y}{|I|}
        \log\Big(n_y - 1 + \sum_{k \ne y} n_k e^{(A_{yk} - 1) / \tau}\Big)

    Ours. The loss is convex in the Gram matrix of the embeddings and does not see which sample of a class is which.
    So the mean over the permutations within classes is no worse, and neither is the collapse of each class to a
    point. What remains is a convex problem in the K x K cosines A of the classes. It is solved as
    :math:`A = V V^\top` with unit rows, by L-BFGS and then by Newton's method on the gradient, which goes on where the
    values are too flat to compare.

    With :math:`G` the symmetric gradient of :math:`f` at the result :math:`A_0` and :math:`\lambda_i = (G A_0)_{ii}`,
    convexity proves for each admissible :math:`A`

    .. math::
        f(A) \ge f(A_0) + \langle G, A - A_0 \rangle
             \ge f(A_0) + K \min(0, \lambda_{\min}(G - \mathrm{diag}\, \lambda)).

    That is ``lower_bound``, whatever the solver did. It holds for embeddings of every width D, and is attained if D is
    at least the rank of the optimal Gram matrix (K - 1 on a balanced batch, 1 for two classes).

    Args:
        counts: numbers of samples of the classes; zeros are left out.
        temperature: :math:`\tau > 0`, one number.

    Shapes:
        -> :class:`SupConMinimum` of float64 tensors without a graph. Without a class of two samples the minimum is 0,
        PML's loss of such a batch. A single class has the minimum :math:`\log(b - 1)`, where PML returns 0.

    Raises:
        ValueError: for counts that are negative, not integers or all zero, and a temperature that is not positive.

    Departs from the paper or the release:
        not in the paper, whose theorem is about the sum over all batches (:func:`supcon_total_floor`).

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817;
        Burer, Monteiro, "A Nonlinear Programming Algorithm for Solving Semidefinite Programs via Low-rank
        Factorization", Mathematical Programming 95, 2003.

    Example:
        >>> found = supcon_batch_minimum([8, 2, 2], temperature=1.0)  # the simplex has 1.7682
        >>> found.minimum, found.gap < 1e-8
        (tensor(1.7494, dtype=torch.float64), True)
    """
    present = class_counts(counts).cpu()
    tau = check_number("temperature", float(temperature), low=0.0, open_low=True)

    def value_and_gradient(flat: _Floats) -> tuple[float, _Floats]:
        rows = torch.from_numpy(flat).view(len(present), -1).requires_grad_()
        value = _collapsed_loss(_gram(rows), present, tau)
        (gradient,) = torch.autograd.grad(value, rows)
        return value.item(), gradient.flatten().numpy()

    # V is square, where every local minimum is global, so any start in general position does.
    start = np.random.default_rng(0).standard_normal(len(present) ** 2)
    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 0.0, "gtol": 1e-12}
    descended = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    candidates = [_certified(flat, present, tau) for flat in (descended, _polished(value_and_gradient, descended))]
    return max(candidates, key=lambda candidate: candidate.lower_bound.item())


def _polished(value_and_gradient: Callable[[_Floats], tuple[float, _Floats]], start: _Floats) -> _Floats:
    """Look for a root of the gradient: it is sharper than the values, whose rounding ends L-BFGS at slopes of 1e-8."""
    options = {"fatol": 1e-15, "maxiter": 10}
    try:
        with np.errstate(invalid="ignore", divide="ignore"):  # its test of convergence divides by the last step
            return root(lambda flat: value_and_gradient(flat)[1], start, method="krylov", options=options).x
    except (ArithmeticError, ValueError):  # raised where the slope at the start is too small to have differences
        return start


def _gram(rows: Tensor) -> Tensor:
    directions = normalize(rows)
    return directions @ directions.T


def _collapsed_loss(gram: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Return f(A), with the own class's cosine of 1 as an entry of A."""
    paired = counts >= 2
    others = counts - torch.eye(len(counts), dtype=counts.dtype)[paired]  # an anchor does not compare with itself
    terms = torch.logsumexp((gram[paired] - 1) / temperature + torch.log(others), dim=1)
    return (counts[paired] * terms).sum() / counts[paired].sum().clamp_min(1)


def _certified(flat: _Floats, counts: Tensor, temperature: float) -> SupConMinimum:
    gram = _gram(torch.from_numpy(flat).view(len(counts), -1)).fill_diagonal_(1.0).requires_grad_()
    value = _collapsed_loss(gram, counts, temperature)
    (slope,) = torch.autograd.grad(value, gram)
    gram, value, slope = gram.detach(), value.detach(), (slope + slope.T) / 2
    multipliers = (slope * gram).sum(1)
    least = torch.linalg.eigvalsh(slope - torch.diag(multipliers))[0]
    return SupConMinimum(value, value + len(counts) * least.clamp_max(0.0), gram)
