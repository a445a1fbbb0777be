r"""A Gaussian model of one side given the other, for the estimators that need a conditional density."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from pml_proxyext.information.critics import Critic
from pml_proxyext.information.mlp_critics import perceptron
from pml_proxyext.utils.checks import check_integer, check_number, check_rows
from pml_proxyext.utils.precision import upcast

__all__ = ["ConditionalGaussian"]


class ConditionalGaussian(Critic):
    r"""The log-density of a learned diagonal Gaussian, :math:`S_{ij} = \log q(y_j | x_i)`.

    .. math::
        q(y | x) = \mathcal N\big(y;\, \mu(x),\, \mathrm{diag}\, e^{v(x)}\big), \qquad v(x) = b \tanh(u(x))

    with :math:`\mu` and :math:`u` the two halves of one network's output. Trained by maximum likelihood: minimise
    :meth:`loss` over pairs. CLUB and the leave-one-out bound take its scores, and :meth:`sample` draws the negatives
    of the variational conditional bound. CLUB is an upper bound only as far as q is right.

    Args:
        x_size: width of x.
        y_size: width of y.
        hidden_sizes: widths of the hidden layers; our choice.
        max_log_variance: :math:`b > 0`; log-variances lie in :math:`(-b, b)`.
        generator: draws the initial weights; None for torch's default generator.

    Shapes and Raises:
        as :class:`Critic`.

    Departs from the paper or the release:
        CLUB's release has a network each for mean and log-variance and :math:`b = 1`, which cannot fit a noise of
        variance below 0.37. One network has both here, and b is 5. The release leaves the constant
        :math:`-\frac{D}{2} \log 2 \pi` out of the density; it cancels in the bounds.

    Reference:
        Cheng, Hao, Dai, Liu, Gan and Carin, "CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information", ICML
        2020, arXiv:2006.12013.

    Example:
        >>> critic = ConditionalGaussian(x_size=3, y_size=2)
        >>> x, y = torch.randn(4, 3), torch.randn(4, 2)
        >>> critic(x, y).shape, critic.loss(x, y).shape, critic.sample(x, n_samples=7).shape
        (torch.Size([4, 4]), torch.Size([]), torch.Size([4, 7, 2]))
    """

    def __init__(
        self,
        x_size: int,
        y_size: int,
        hidden_sizes: Sequence[int] = (64,),
        max_log_variance: float = 5.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(x_size, y_size)
        self.max_log_variance = check_number("max_log_variance", max_log_variance, low=0, open_low=True)
        self.network = perceptron([x_size, *hidden_sizes, 2 * check_integer("y_size", y_size)], generator)

    def embed_x(self, x: Tensor) -> Tensor:
        """Return means and log-variances side by side, ``(R, 2 y_size)``."""
        mean, raw = upcast(self.network(x)).chunk(2, dim=-1)
        return torch.cat([mean, self.max_log_variance * torch.tanh(raw)], dim=-1)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        mean, log_variance = x.chunk(2, dim=1)
        precision = torch.exp(-log_variance)
        if y.ndim == 3:
            squares = (precision[:, None] * (y - mean[:, None]).square()).sum(2)
        else:
            # Squares by matrix products, around the centre of y: far from it they would cancel to rounding errors.
            centre = y.detach().sum(0) / max(len(y), 1)
            mean, y = mean - centre, y - centre
            squares = precision @ y.square().mT - 2 * (precision * mean) @ y.mT
            squares = squares + (precision * mean.square()).sum(1, keepdim=True)
        constant = log_variance.sum(1, keepdim=True) + mean.shape[1] * math.log(2 * math.pi)
        return -0.5 * (squares + constant)

    def distribution(self, x: Tensor) -> Independent[Normal]:
        """Return q(y | x) of each row as a distribution, with ``log_prob``, ``mean`` and ``entropy``."""
        mean, log_variance = self.embed_x(x).chunk(2, dim=1)
        return Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`-\frac1R \sum_i \log q(y_i | x_i)`, to be minimised over pairs of x and y; 0 for none."""
        check_rows(y, x, "y", "x")
        return -self.aligned(x, y).sum() / max(len(x), 1)

    @torch.no_grad()
    def sample(self, x: Tensor, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``(R, n_samples, y_size)`` draws of y for each row, without gradients.

        Args:
            x: ``(R, x_size)``.
            n_samples: of each row.
            generator: source of the noise; None for torch's default generator.
        """
        mean, log_variance = self.embed_x(x)[:, None].chunk(2, dim=2)
        shape = (len(x), check_integer("n_samples", n_samples), mean.shape[2])
        device = mean.device if generator is None else generator.device
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype, device=device).to(mean)
        return mean + torch.exp(0.5 * log_variance) * noise

    def extra_repr(self) -> str:
        return f"max_log_variance={self.max_log_variance}"
