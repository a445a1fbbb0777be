"""PML's trainer as the benchmark uses it: in chunks of a longer run, seeded, and without bars of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from pytorch_metric_learning.testers import base_tester
from pytorch_metric_learning.trainers import MetricLossOnly, base_trainer
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_
from tqdm import tqdm

__all__ = ["ChunkTrainer", "clip_gradients", "seeded", "without_inner_bars"]


class ChunkTrainer(MetricLossOnly):
    """PML's trainer for a part of a run.

    Args:
        first_step: the number of its first step in the whole run.
        warm_up_steps: steps at the beginning of the run that leave the trunk as it is.
        mixed_precision: whether to compute embeddings in bfloat16 where that is safe.
        **arguments: of PML's trainer.
    """

    def __init__(self, first_step: int, warm_up_steps: int, mixed_precision: bool, **arguments: Any) -> None:
        self.first_step, self.warm_up_steps, self.mixed_precision = first_step, warm_up_steps, mixed_precision
        super().__init__(**arguments)

    def modify_schema(self) -> None:
        self.schema["optimizers"].important = []  # a trunk without parameters has none, and PML would warn of it

    def get_global_iteration(self) -> int:
        return self.first_step + self.iteration

    def get_trunk_output(self, data: Any) -> Tensor:
        learns = self.get_global_iteration() >= self.warm_up_steps
        with torch.set_grad_enabled(learns):  # without gradients the optimizer of the trunk does nothing
            return super().get_trunk_output(data)

    def compute_embeddings(self, data: Any) -> Tensor:
        with torch.autocast(self.data_device.type, torch.bfloat16, enabled=self.mixed_precision):
            embeddings = super().compute_embeddings(data)
        return embeddings.float()


def clip_gradients(module: nn.Module, bound: float) -> None:
    """Bring each element of the gradients into ``[-bound, bound]``; a trunk that does not learn yet has none."""
    learning = [parameter for parameter in module.parameters() if parameter.grad is not None]
    if learning:
        clip_grad_value_(learning, bound)


@contextmanager
def seeded(seed: int, part: int) -> Iterator[None]:
    """Seed torch's and PML's generators, and leave those of the CPU as they were before."""
    sequence = np.random.SeedSequence([seed, part]).generate_state(2)
    with torch.random.fork_rng(devices=[]), mock.patch.object(c_f, "NUMPY_RANDOM", np.random.RandomState(sequence[0])):
        torch.manual_seed(int(sequence[1]))
        yield


@contextmanager
def without_inner_bars() -> Iterator[None]:
    """Hide the bars that PML's trainer and tester draw for each chunk: the run has its own."""
    silent = SimpleNamespace(tqdm=lambda iterable: tqdm(iterable, disable=True))
    with (
        mock.patch.object(base_trainer, "tqdm", silent),
        mock.patch.object(base_tester, "tqdm", silent),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)  # to label the bar
        yield
