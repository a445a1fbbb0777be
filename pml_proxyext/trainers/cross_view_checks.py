"""What Cross-GAN's trainer asks of its parts and batches, before anything learns from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.trainers.optimizer_check import check_optimized
from pml_proxyext.utils.checks import check_choice, check_finite, check_number, check_rows
from pml_proxyext.utils.two_views import TwoViewBatch

__all__ = ["DEFAULT_WEIGHTS", "KEYS", "check_parts", "check_views", "loss_weights_of"]

#: Ours, of trials with small grey pictures, pixels in [0, 1] and 64 latents: the paper's are not known to us.
DEFAULT_WEIGHTS = {
    "recon_loss": 20.0,
    "kl_loss": 0.02,
    "align_loss": 1 / 64,
    "cross_recon_loss": 20.0,
    "adv_loss": 0.1,
    "metric_loss": 1.0,
}

KEYS = {
    "models": ["trunk", "embedder", "ref_trunk", "decoder", "ref_decoder", "aligner", "ref_aligner", "discriminator"],
    "loss_funcs": ["recon_loss", "kl_loss", "align_loss", "adv_loss", "metric_loss"],
}

_NEEDED = {  # by a term whose weight is not 0
    "recon_loss": ["decoder", "ref_decoder"],
    "cross_recon_loss": ["decoder", "ref_decoder"],
    "adv_loss": ["discriminator"],
}


def loss_weights_of(given: Mapping[str, float] | None, loss_funcs: Mapping[str, Any]) -> dict[str, float]:
    """Return all weights: the given ones, and the defaults of the rest; ``metric_loss`` only where there is one."""
    allowed = [name for name in DEFAULT_WEIGHTS if name != "metric_loss" or name in loss_funcs]
    for name, weight in (given or {}).items():
        check_choice("the keys of loss_weights", name, allowed)
        check_number(f"the weight of {name}", weight, low=0.0)
    return {name: (given or {}).get(name, DEFAULT_WEIGHTS[name]) for name in allowed}


def check_parts(trainer: Any) -> None:
    """Raise a ValueError for parts that are unknown or missing, and for parameters in no optimizer or a wrong one."""
    for kind, allowed in KEYS.items():
        for key in getattr(trainer, kind):
            check_choice(f"the keys of {kind}", key, [name for name in allowed if name != "embedder"])
    if trainer.mining_funcs:
        raise ValueError(f"mining_funcs is not supported, got {[*trainer.mining_funcs]}")
    needed = {"trunk": "every term", "ref_trunk": "every term"}
    needed |= {model: term for term, models in _NEEDED.items() for model in models if trainer.loss_weights[term]}
    for model, term in needed.items():
        if model not in trainer.models:
            raise ValueError(f"models must have {model!r}, which {term} needs, got {[*trainer.models]}")
    check_optimized({**trainer.models, **trainer.loss_funcs}, trainer.optimizers, trainer.freeze_these)
    if "discriminator" in trainer.models:
        _check_alone(trainer.models["discriminator"], trainer.optimizers)


def _check_alone(discriminator: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """One optimizer for both sides of the game would let each undo the step of the other."""
    own = {id(parameter) for parameter in discriminator.parameters()}
    for name, optimizer in optimizers.items():
        held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        is_own = name == "discriminator_optimizer"
        if any((parameter in own) != is_own for parameter in held if is_own or parameter in own):
            raise ValueError(
                "optimizers must hold the parameters of 'discriminator' in 'discriminator_optimizer', with no others, "
                f"got others there or some of them elsewhere, see {name!r}"
            )


def check_views(batch: TwoViewBatch) -> tuple[Tensor, Tensor]:
    """Return the data of both views if they are pairs that something can be learnt from, or raise ValueError."""
    for name, data in (("data", batch.data), ("ref_data", batch.ref_data)):
        if not isinstance(data, Tensor) or not data.is_floating_point():
            came = data.dtype if isinstance(data, Tensor) else type(data).__name__
            raise ValueError(f"{name} must be a floating-point tensor, which can be reconstructed, got {came}")
    check_rows(batch.ref_data, batch.data, "ref_data", "data")
    if len(batch.data) < 2:
        raise ValueError(f"a batch must have at least two pairs, got {len(batch.data)}")
    for name, data in (("data", batch.data), ("ref_data", batch.ref_data)):
        if (check_finite(data, name) == data[:1]).all():
            raise ValueError(f"{name} must differ from row to row, got {len(data)} rows that are all the same")
    return batch.data, batch.ref_data
