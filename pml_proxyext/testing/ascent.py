"""Gradient ascent on the violation of a relation: an adversary that random search is not."""

from __future__ import annotations

import torch

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Evaluation, Relation

__all__ = ["ascend"]


def ascend(
    relation: Relation, batch: BoundBatch, *, steps: int = 100, lr: float = 0.03
) -> tuple[BoundBatch, Evaluation]:
    """Move the embeddings uphill on ``(lhs - rhs) / (1 + |lhs| + |rhs|)`` with Adam, and return the worst batch seen.

    The ascent ends early where the gradient does (a constant relation, a NaN in the backward pass of a loss): the
    values seen up to there count.

    Args:
        relation: of the form ``lhs <= rhs``; its assumptions must hold for ``batch``.
        batch: where to begin.
        steps: number of steps, at least 0.
        lr: learning rate of Adam.

    Returns:
        The batch of least relative slack on the way, and the relation there.

    Example:
        >>> from pml_proxyext.bounds import REGISTRY
        >>> _ = torch.manual_seed(0)
        >>> batch = BoundBatch(torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> relation = REGISTRY["supcon.ge_ntxent"]
        >>> worst, evaluation = ascend(relation, batch, steps=5)
        >>> evaluation.holds, evaluation.relative_slack <= relation.evaluate(batch).relative_slack
        (True, True)
    """
    embeddings = batch.embeddings.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=lr)
    worst, evaluation = batch, relation.evaluate(batch)
    for _ in range(steps):
        lhs, rhs = relation.sides(batch.moved(embeddings))
        slack = rhs - lhs
        found = Evaluation(float(lhs.detach()), float(rhs.detach()), relation.kind, relation.rtol)
        if found.relative_slack < evaluation.relative_slack:
            worst, evaluation = batch.moved(embeddings.detach().clone()), found
        if not slack.requires_grad:
            break
        optimizer.zero_grad()
        (slack / (1 + lhs.detach().abs() + rhs.detach().abs())).backward()
        if embeddings.grad is None or not embeddings.grad.isfinite().all():
            break
        optimizer.step()
    return worst, evaluation
