r"""Weights that turn negatives of p(y) into negatives of p(y | x'), and how many of them count."""

from __future__ import annotations

from torch import Tensor

from pml_proxyext.information.scores import Scores, split_scores

__all__ = ["effective_sample_size", "log_importance_weights"]


def log_importance_weights(psi: Scores) -> Tensor:
    r"""Return the logarithms of the self-normalised weights of the negatives of each row.

    .. math::
        w_{ij} = \frac{e^{\psi_{ij}}}{\sum_{l \ne i} e^{\psi_{il}}}, \quad j \ne i

    With :math:`\psi = \log p(y | x') / p(y)`, negatives drawn from :math:`p(y)` and so weighted stand for draws of
    :math:`p(y | x')`. The positive, which is such a draw already, has no weight.

    Args:
        psi: scores of the subview, a square matrix or a pair.

    Shapes:
        ``(N, N)`` -> ``(N, N - 1)``, or ``(R,)`` and ``(R, n)`` -> ``(R, n)``.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Example:
        >>> import torch
        >>> log_importance_weights((torch.zeros(1), torch.tensor([[0.0, 0.0, 1.0986]]))).exp()
        tensor([[0.2000, 0.2000, 0.6000]])
    """
    return split_scores(psi, "psi")[1].log_softmax(1)


def effective_sample_size(psi: Scores) -> Tensor:
    r"""Return :math:`1 / \sum_j w_{ij}^2`, ``(R,)``: how many equally weighted negatives the weights are worth.

    It lies between 1 and the number of negatives. Where it is small, :class:`CNCEImportance` rests on few negatives,
    and tends to exceed the information.

    Args:
        psi: scores of the subview, as for :func:`log_importance_weights`.

    Example:
        >>> import torch
        >>> effective_sample_size((torch.zeros(2), torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 50.0]])))
        tensor([4., 1.])
    """
    return (-(2 * log_importance_weights(psi)).logsumexp(1)).exp()
