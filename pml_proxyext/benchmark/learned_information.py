r"""Critics that learn the information of Gaussian views from samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.gaussian_information import GaussianViews, mean_and_error
from pml_proxyext.information import CNCEBoosted, CNCEImportance, InfoNCE
from pml_proxyext.information.critics import Critic
from pml_proxyext.information.mlp_critics import SeparableCritic
from pml_proxyext.utils.checks import check_choice

__all__ = ["CRITICS", "QuadraticCritic", "learned_estimates", "split_groups"]


class QuadraticCritic(Critic):
    r"""Bilinear in both sides and quadratic in y, :math:`S_{ij} = x_i^\top W y_j + u^\top y_j^2`, zero to begin with.

    The best critics between normal variables are of this form, up to functions of x, which cost InfoNCE nothing.
    """

    def __init__(self, x_size: int, y_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__(x_size, y_size)
        self.bilinear = nn.Parameter(torch.zeros(x_size, y_size))
        self.quadratic = nn.Parameter(torch.zeros(y_size))

    def embed_x(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.bilinear.to(x), self.quadratic.to(x).expand(len(x), -1)], dim=1)

    def embed_y(self, y: Tensor) -> Tensor:
        return torch.cat([y, y.square()], dim=-1)


#: The best critics are among the first; the second have to approximate them.
CRITICS: dict[str, type[QuadraticCritic] | type[SeparableCritic]] = {"quad": QuadraticCritic, "mlp": SeparableCritic}


def split_groups(scores: Tensor, candidates: int) -> tuple[Tensor, Tensor]:
    """Return positives and negatives of a batch in groups of K, whose other members are the negatives of each.

    Args:
        scores: ``(N, N)``, positives on the diagonal; N is a multiple of K.
        candidates: K.

    Shapes:
        -> ``(N,)`` and ``(N, K - 1)``.

    Example:
        >>> split_groups(torch.arange(16.0).view(4, 4), 2)
        (tensor([ 0.,  5., 10., 15.]), tensor([[ 1.],
                [ 4.],
                [11.],
                [14.]]))
    """
    groups = len(scores) // candidates
    blocks = scores.view(groups, candidates, groups, candidates).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    is_negative = ~torch.eye(candidates, dtype=torch.bool)
    return scores.diagonal(), blocks[:, is_negative].view(-1, candidates - 1)


def learned_estimates(
    kind: str,
    views: GaussianViews,
    candidates: int,
    steps: int,
    lr: float,
    generator: torch.Generator,
    rows: int = 128,
    held_out: int = 200,
) -> dict[str, float]:
    r"""Train four critics side by side on fresh samples, and return what the estimators say of other samples.

    They are that of InfoNCE between both whole views, :math:`\psi` of the subview, and two for what the rest adds: one
    trained by the boosted contrast, one by the importance-weighted one. Adam, with a cosine to zero.

    Args:
        kind: of the critics, one of :data:`CRITICS`.
        views: what to draw.
        candidates: K; a batch falls into groups of K.
        steps: of training.
        lr: learning rate.
        generator: source of samples and initial weights.
        rows: pairs of a batch.
        held_out: batches of the evaluation.
    """
    make, dim = CRITICS[check_choice("kind", kind, CRITICS)], views.dim
    widths = {"direct": 2 * dim, "psi": dim, "boosted": 2 * dim, "importance": 2 * dim}
    critics = nn.ModuleDict({name: make(width, dim, generator=generator) for name, width in widths.items()})
    optimizer = torch.optim.Adam(critics.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def scores() -> dict[str, Any]:
        a, b, y = views.draw(rows, generator, torch.float32)
        x = torch.cat([a, b], dim=1)
        return {
            name: split_groups(critic(a if name == "psi" else x, y), candidates) for name, critic in critics.items()
        }

    for _ in range(steps):
        found = scores()
        loss = InfoNCE().loss(found["direct"]) + InfoNCE().loss(found["psi"])
        loss = loss + CNCEBoosted().loss(found["psi"], found["boosted"])
        loss = loss + CNCEImportance().loss(found["psi"], found["importance"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        found = scores()
        values = {
            "infonce_direct": InfoNCE()(found["direct"]),
            "infonce_sub": InfoNCE()(found["psi"]),
            "boosted_total": CNCEBoosted()(found["psi"], found["boosted"]),
            "importance_boosted": CNCEImportance()(found["psi"], found["boosted"]),
            "importance_importance": CNCEImportance()(found["psi"], found["importance"]),
        }
        values["sum_boosted"] = values["infonce_sub"] + values["importance_boosted"]
        values["sum_importance"] = values["infonce_sub"] + values["importance_importance"]
        return {name: value.item() for name, value in values.items()}

    means = mean_and_error(evaluate() for _ in range(held_out))
    return {name: value for name, value in means.items() if not name.endswith("_se")}
