"""Many negatives as one logit, the hard ones among them with more weight."""

from __future__ import annotations

from torch import Tensor

__all__ = ["negative_logits"]


def negative_logits(logits: Tensor, counts: Tensor, concentration: float, detach_weights: bool) -> Tensor:
    r"""Return for each row the logarithm of the weighted sum over its negatives.

    With :math:`x_{ik}` the logits, :math:`N(i)` the negatives of row i and :math:`K_i` their number,

    .. math::
        \log \sum_{k \in N(i)} a_{ik} e^{x_{ik}}, \qquad
        a_{ik} = \frac{e^{c x_{ik}}}{\frac{1}{K_i} \sum_{j \in N(i)} e^{c x_{ij}}},

    so that the weights have mean 1. Rows without negatives get a finite number that means nothing.

    Args:
        logits: ``(N, M)``.
        counts: ``(N, M)``, of the dtype of the logits; how often each pair counts as a negative, 0 for never.
        concentration: :math:`c \ge 0`.
        detach_weights: whether the weights count as constants in gradients.

    Shapes:
        -> ``(N,)``.

    Example:
        >>> import torch
        >>> logits, counts = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.0, 1.0]])
        >>> negative_logits(logits, counts, concentration=0.0, detach_weights=False)
        tensor([3.3133])
        >>> negative_logits(logits, counts, concentration=1.0, detach_weights=False)
        tensor([3.5068])
    """
    totals = counts.sum(1, keepdim=True)
    # Of a row without negatives all columns are taken: the logarithm of an empty sum has no gradient, not even 0.
    log_counts = counts.where(totals > 0, 1.0).log()
    tilted = concentration * logits
    log_weights = tilted - (tilted + log_counts).logsumexp(1, keepdim=True) + totals.clamp(min=1).log()
    if detach_weights:
        log_weights = log_weights.detach()
    return (logits + log_weights + log_counts).logsumexp(1)
