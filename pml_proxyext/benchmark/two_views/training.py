"""One run: two networks that bring two modalities into one space, trained by a loss and scored on unseen pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.datasets.paired_views import PairedSet, View
from pml_proxyext.benchmark.two_views.methods import Method
from pml_proxyext.testers import RankCalculator

__all__ = ["score", "train"]

_HIDDEN, _EMBEDDING, _BATCH, _WEIGHT_DECAY = 256, 128, 256, 1e-2


def train(method: Method, settings: Mapping[str, Any], data: PairedSet, steps: int) -> tuple[nn.Module, nn.Module]:
    """Return the networks of both modalities.

    Initial weights, batches and what dropout hides depend on torch's generator, and not on the method.

    Args:
        method: what to train by.
        settings: of the networks, ``lr`` and ``dropout``, and of the loss.
        data: what to train on.
        steps: batches; the learning rate goes up and down once in the course of them.
    """
    lr, dropout = settings["lr"], settings["dropout"]
    networks = [_network(view, dropout) for view in (data.a, data.b)]
    loss_func = method.make(**{name: value for name, value in settings.items() if name not in ("lr", "dropout")})
    weights = [parameter for network in networks for parameter in network.parameters()]
    groups = [{"params": weights, "weight_decay": _WEIGHT_DECAY}]
    own = list(loss_func.parameters())
    if own:
        groups.append({"params": own, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
    for batch in _batches(len(data), min(_BATCH, len(data)), steps):
        labels = data.partners[batch]
        a, b = data.a[batch], data.b[labels]
        loss = loss_func(
            networks[0](a.inputs),
            labels,
            ref_emb=networks[1](b.inputs),
            input_emb=a.features,
            ref_input_emb=b.features,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return networks[0].eval(), networks[1].eval()


@torch.no_grad()
def score(networks: tuple[nn.Module, nn.Module], data: PairedSet) -> dict[str, float]:
    """Return recall, median rank and mAP from A to B, from B to A, and their means, as fractions; NaN stays NaN."""
    a, b = (network(view.inputs) for network, view in zip(networks, (data.a, data.b), strict=True))
    names = torch.arange(len(b))
    calculator = RankCalculator(device=torch.device("cpu"))
    a_to_b = calculator.get_accuracy(a, data.partners, b, names)
    b_to_a = calculator.get_accuracy(b, names, a, data.partners)
    scores = {name: (a_to_b[name] + b_to_a[name]) / 2 for name in a_to_b}
    scores |= {f"a_to_b_{name}": value for name, value in a_to_b.items()}
    scores |= {f"b_to_a_{name}": value for name, value in b_to_a.items()}
    return {name: round(float(value), 6) for name, value in scores.items()}


def _network(view: View, dropout: float) -> nn.Module:
    width = view.inputs.shape[1]
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _EMBEDDING))


def _batches(count: int, size: int, steps: int) -> Iterator[Tensor]:
    """Yield rows: all in random order before any comes again, but for those left over."""
    per_epoch = count // size
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(count)
        yield order[step % per_epoch * size :][:size]
