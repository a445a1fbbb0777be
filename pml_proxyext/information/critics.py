r"""Critics: functions of a pair that score how well its two sides go together, and the ones that need no network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.utils.checks import check_integer, check_number, check_rows
from pml_proxyext.utils.precision import upcast

__all__ = ["BilinearCritic", "CosineCritic", "Critic", "DotCritic"]


class Critic(nn.Module):
    r"""Base of the critics :math:`f(x, y)`: both sides are embedded by themselves, then all pairs are compared.

    .. math::
        S_{ij} = c(g(x_i), h(y_j))

    A subclass overrides what differs of :meth:`embed_x` (:math:`g`), :meth:`embed_y` (:math:`h`) and :meth:`compare`
    (:math:`c`); here both embeddings are what comes in, and :math:`c` is the dot product. So every critic scores all
    pairs of a batch, candidates that each row has for itself, and aligned pairs.

    Args:
        x_size: width of x; None takes any.
        y_size: width of y; None takes any.

    Shapes:
        x ``(R, x_size)`` with y ``(M, y_size)`` -> ``(R, M)``, all pairs; with y ``(R, n, y_size)`` -> ``(R, n)``, the
        candidates of each row. Scores are in float32 for half precision and under autocast.

    Raises:
        ValueError: for x or y of another shape or width or not floating point, and for candidates that have not one
            row for each row of x.
    """

    def __init__(self, x_size: int | None = None, y_size: int | None = None) -> None:
        super().__init__()
        self.x_size = None if x_size is None else check_integer("x_size", x_size)
        self.y_size = None if y_size is None else check_integer("y_size", y_size)

    def embed_x(self, x: Tensor) -> Tensor:
        """Return ``(R, E)`` from ``(R, x_size)``."""
        return x

    def embed_y(self, y: Tensor) -> Tensor:
        """Return ``(..., E)`` from ``(..., y_size)``."""
        return y

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the scores ``(R, M)`` or ``(R, n)`` of what is embedded; this runs in full precision."""
        return x @ y.mT if y.ndim == 2 else (y @ x[:, :, None]).squeeze(2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        _check_side("x", x, self.x_size, (2,), "(R, x_size)")
        _check_side("y", y, self.y_size, (2, 3), "(M, y_size) or (R, n, y_size)")
        if y.ndim == 3:
            check_rows(y, x, "y", "x")
        x, y = self.embed_x(x), self.embed_y(y)
        with torch.autocast(x.device.type, enabled=False):
            return self.compare(upcast(x), upcast(y))

    def aligned(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the scores ``(R,)`` of the pairs of x ``(R, x_size)`` and y ``(R, y_size)`` in the same row."""
        _check_side("y", y, self.y_size, (2,), "(R, y_size)")
        return self(x, y[:, None]).squeeze(1)

    def with_negatives(self, x: Tensor, y: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """Return positive scores ``(R,)`` and negative ones ``(R, n)``, as the estimators take them.

        Args:
            x: ``(R, x_size)``.
            y: ``(R, y_size)``, the partner of each row.
            negatives: ``(n, y_size)``, shared by all rows, as a queue is; or ``(R, n, y_size)``, of each row alone.

        Example:
            >>> DotCritic().with_negatives(torch.eye(2), torch.eye(2), torch.ones(3, 2))
            (tensor([1., 1.]), tensor([[1., 1., 1.],
                    [1., 1., 1.]]))
        """
        return self.aligned(x, y), self(x, negatives)


class DotCritic(Critic):
    r"""The dot product of both sides over a temperature, :math:`S_{ij} = x_i^\top y_j / \tau`.

    Args:
        temperature: :math:`\tau > 0`; 1 leaves scale to the networks below.

    Shapes and Raises:
        as :class:`Critic`; both sides are as wide.

    Example:
        >>> DotCritic(temperature=0.5)(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        tensor([[2., 6.]])
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = check_number("temperature", temperature, low=0, open_low=True)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        if x.shape[-1] != y.shape[-1]:
            raise ValueError(f"y must be as wide as x, got shapes {tuple(x.shape)} and {tuple(y.shape)}")
        return super().compare(x, y) / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class CosineCritic(DotCritic):
    r"""The cosine of both sides over a temperature, :math:`S_{ij} = \cos(x_i, y_j) / \tau`; a zero vector scores 0.

    Scores lie within :math:`\pm 1/\tau`, so that no contrast of them exceeds :math:`2/\tau`.

    Args:
        temperature: :math:`\tau > 0`; 0.07 is MoCo's.

    Shapes and Raises:
        as :class:`DotCritic`.

    Example:
        >>> CosineCritic(temperature=0.5)(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
        tensor([[0., 2.]])
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__(temperature)

    def embed_x(self, x: Tensor) -> Tensor:
        return normalize(upcast(x), dim=-1)

    def embed_y(self, y: Tensor) -> Tensor:
        return normalize(upcast(y), dim=-1)


class BilinearCritic(Critic):
    r"""A learned bilinear form, :math:`S_{ij} = x_i^\top W y_j`.

    Args:
        x_size: width of x.
        y_size: width of y.
        generator: draws :math:`W`; None for torch's default generator. Its entries are normal with variance
            :math:`1 / (D_x D_y)`, our choice: scores of two independent standard normal vectors have variance 1 then.

    Shapes and Raises:
        as :class:`Critic`.

    Reference:
        van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
        arXiv:1807.03748 (the log-bilinear model, equation 3).

    Example:
        >>> critic = BilinearCritic(x_size=3, y_size=2, generator=torch.Generator().manual_seed(0))
        >>> critic(torch.randn(4, 3), torch.randn(5, 2)).shape
        torch.Size([4, 5])
    """

    def __init__(self, x_size: int, y_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__(x_size, y_size)
        self.weight = nn.Parameter(torch.empty(x_size, y_size))
        nn.init.normal_(self.weight, std=(x_size * y_size) ** -0.5, generator=generator)

    def embed_x(self, x: Tensor) -> Tensor:
        return x @ self.weight.to(x)

    def extra_repr(self) -> str:
        return f"x_size={self.x_size}, y_size={self.y_size}"


def _check_side(name: str, tensor: Tensor, size: int | None, dims: tuple[int, ...], allowed: str) -> None:
    if tensor.ndim not in dims:
        raise ValueError(f"{name} must have shape {allowed}, got shape {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {tensor.dtype}")
    if size is not None and tensor.shape[-1] != size:
        raise ValueError(f"{name} must have {name}_size {size}, got shape {tuple(tensor.shape)}")
