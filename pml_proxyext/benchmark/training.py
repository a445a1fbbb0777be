"""Training by PML's MetricLossOnly in chunks of steps, each of which can be repeated exactly."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.testers import base_tester
from pytorch_metric_learning.trainers import MetricLossOnly, base_trainer
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import logging_presets
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_proxyext.benchmark.datasets import RetrievalSet
from pml_proxyext.benchmark.networks import build_models
from pml_proxyext.benchmark.recipes import Recipe
from pml_proxyext.utils.parameter_groups import parameter_groups

__all__ = ["Evaluate", "Training", "check_batches", "loss_parameter_groups"]

Evaluate = Callable[[Mapping[str, nn.Module], int], dict[str, float]]

_CHUNKS = 5  # evaluations and checkpoints in a run
_PROGRESS = ("step", "curve", "seconds", "cpu_seconds")  # what a checkpoint holds besides weights and optimizers


def loss_parameter_groups(loss: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer groups of a loss's parameters, or raise ValueError if the recipe forgets one of them."""
    if hasattr(loss, "param_groups"):
        return cast(Any, loss).param_groups(recipe.lr, **recipe.lr_multipliers)
    return parameter_groups(loss, recipe.lr, recipe.lr_multipliers)


class _Trainer(MetricLossOnly):
    """PML's trainer, told which step of the whole run its first one is."""

    first_step = 0

    def get_global_iteration(self) -> int:
        return self.first_step + self.iteration


class Training:
    """The state of a run, and the steps that change it.

    Before each chunk all random generators are seeded with the run's seed and the number of the chunk. So nothing
    but the weights and the optimizers' state has to be kept to go on as if there had been no interruption.

    Args:
        recipe: the settings, none of them None.
        data: the training images.
        seed: of everything random.
        log_directory: where PML's record keeper writes; None for nowhere.

    Attributes:
        curve: ``[step, metrics]`` for each evaluation so far.
        seconds: spent so far, in this process and before, with evaluations.
        cpu_seconds: processor time of the training steps alone.

    Raises:
        ValueError: if the data cannot fill a batch, or a parameter of the loss has no learning rate.
    """

    def __init__(self, recipe: Recipe, data: RetrievalSet, seed: int, log_directory: Path | None = None) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.curve: list[list[Any]] = []
        self.step, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.hooks: Any = None
        if log_directory is not None:
            keeper, *_ = logging_presets.get_record_keeper(str(log_directory), str(log_directory))
            self.hooks = logging_presets.get_hook_container(keeper, save_models=False, log_freq=10)
        self.optimizers: dict[str, Optimizer] = {}
        self.schedulers: dict[str, OneCycleLR] = {}
        with _seeded(seed, 0):
            self.models = build_models(cast(str, recipe.trunk), cast(int, recipe.embedding_size), data.sample(0).shape)
            self.loss = self._make_loss()
        self.miner = recipe.miner.make() if recipe.miner else None
        check_batches(recipe, data)
        if self.loss is not None:
            self._make_optimizers(self.loss)

    @property
    def end_of_testing_hook(self) -> Any:
        """What PML's tester is to call so that the scores are logged; None without a log."""
        return self.hooks and self.hooks.end_of_testing_hook

    def fit(self, evaluate: Evaluate, checkpoint: Path, progress: bool = False) -> dict[str, float]:
        """Train from the checkpoint, if there is one, to the last step, and return the last scores."""
        if self.loss is None:
            with _without_inner_bars():
                return evaluate(self.models, 0)
        self._load(checkpoint)
        steps = cast(int, self.recipe.steps)
        length = -(-steps // _CHUNKS)
        with (
            _without_inner_bars(),
            tqdm(total=steps, initial=self.step, desc=self.recipe.name, disable=not progress) as bar,
        ):
            while self.step < steps:
                start, cpu_start = time.perf_counter(), time.process_time()
                self._train_chunk(min(length, steps - self.step), bar)
                self.cpu_seconds += time.process_time() - cpu_start
                scores = evaluate(self.models, len(self.curve) + 1)
                self.curve.append([self.step, scores])
                if self.hooks is not None:
                    self.hooks.record_keeper.save_records()
                self.seconds += time.perf_counter() - start
                self._save(checkpoint)
        return self.curve[-1][1]

    def save_models(self, path: Path) -> None:
        """Write the state of trunk and embedder, as :func:`~pml_proxyext.benchmark.networks.load_models` reads it."""
        path.parent.mkdir(exist_ok=True)
        sizes = {"embedding_size": self.recipe.embedding_size, "shape": tuple(self.data.sample(0).shape)}
        state = {name: model.state_dict() for name, model in self.models.items()}
        _write(path, {"trunk": self.recipe.trunk, **sizes, "state": state})

    def _make_loss(self) -> nn.Module | None:
        recipe = self.recipe
        if recipe.loss is None:
            return None
        sizes = {"num_classes": self.data.num_classes, "embedding_size": recipe.embedding_size}
        base = {"proxy_loss": recipe.base.make(**sizes)} if recipe.base else {}
        loss = recipe.loss.make(**sizes, **base)
        if recipe.init_from_data:
            for model in self.models.values():
                model.eval()
            with torch.no_grad():
                batches = DataLoader(self.data, batch_size=512)
                embeddings = torch.cat([self.models["embedder"](self.models["trunk"](part)) for part, _ in batches])
            loss.init_from(embeddings, self.data.labels)
        return cast(nn.Module, loss)

    def _make_optimizers(self, loss: nn.Module) -> None:
        groups: dict[str, Any] = {name: [{"params": list(m.parameters())}] for name, m in self.models.items()}
        groups["metric_loss"] = loss_parameter_groups(loss, self.recipe)
        for name, parameters in groups.items():
            if parameters and any(group["params"] for group in parameters):
                optimizer = AdamW(parameters, lr=self.recipe.lr, weight_decay=cast(float, self.recipe.weight_decay))
                highest = [group["lr"] for group in optimizer.param_groups]
                self.optimizers[f"{name}_optimizer"] = optimizer
                self.schedulers[f"{name}_scheduler_by_iteration"] = OneCycleLR(
                    optimizer, highest, total_steps=cast(int, self.recipe.steps) + 1
                )

    def _train_chunk(self, steps: int, bar: Any) -> None:
        def end_of_iteration(trainer: MetricLossOnly) -> None:
            bar.update()
            if self.hooks is not None:
                self.hooks.end_of_iteration_hook(trainer)

        recipe, batch_size = self.recipe, cast(int, self.recipe.batch_size)
        with _seeded(self.seed, 1 + self.step):
            trainer = _Trainer(
                models=self.models,
                optimizers=self.optimizers,
                batch_size=batch_size,
                loss_funcs={"metric_loss": self.loss},
                dataset=self.data,
                mining_funcs={"tuple_miner": self.miner} if self.miner else {},
                iterations_per_epoch=steps,
                data_device=torch.device("cpu"),
                sampler=MPerClassSampler(self.data.labels, recipe.images_per_class, batch_size, steps * batch_size),
                lr_schedulers=self.schedulers,
                dataloader_num_workers=0,
                end_of_iteration_hook=end_of_iteration,
            )
            trainer.first_step = self.step
            trainer.train()
        self.step += steps

    def _stateful(self) -> dict[str, Any]:
        loss = {} if self.loss is None else {"loss": self.loss}
        return {**self.models, **loss, **self.optimizers, **self.schedulers}

    def _save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        _write(path, {**{name: getattr(self, name) for name in _PROGRESS}, "state": state})

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            stored = torch.load(path, weights_only=True)
        except Exception as error:  # whatever torch makes of a damaged file
            warnings.warn(f"the checkpoint {path} is unreadable ({error}); the run starts anew", stacklevel=2)
            return
        for name, part in self._stateful().items():
            part.load_state_dict(stored["state"][name])
        for name in _PROGRESS:
            setattr(self, name, stored[name])


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(content, temporary)
    temporary.replace(path)  # whole or not at all


def check_batches(recipe: Recipe, data: RetrievalSet) -> None:
    """Say what does not fit, where PML's sampler and trainer would end in an assertion or a bare StopIteration."""
    batch_size, images_per_class = cast(int, recipe.batch_size), recipe.images_per_class
    if recipe.loss is None:
        return
    if len(data) < batch_size:
        raise ValueError(f"batch_size must be at most the number of images, {len(data)}, got {batch_size}")
    if batch_size % images_per_class:
        raise ValueError(f"batch_size must be a multiple of images_per_class, got {batch_size} and {images_per_class}")
    if batch_size > data.num_classes * images_per_class:
        raise ValueError(
            f"batch_size must be at most images_per_class times the number of classes, "
            f"{images_per_class} * {data.num_classes}, got {batch_size}"
        )


@contextmanager
def _seeded(seed: int, part: int) -> Iterator[None]:
    """Seed torch's and PML's generators, and leave them as they were before."""
    sequence = np.random.SeedSequence([seed, part]).generate_state(2)
    with torch.random.fork_rng(devices=[]), mock.patch.object(c_f, "NUMPY_RANDOM", np.random.RandomState(sequence[0])):
        torch.manual_seed(int(sequence[1]))
        yield


@contextmanager
def _without_inner_bars() -> Iterator[None]:
    """Hide the bars that PML's trainer and tester draw for each chunk: the run has its own."""
    silent = SimpleNamespace(tqdm=lambda iterable: tqdm(iterable, disable=True))
    with (
        mock.patch.object(base_trainer, "tqdm", silent),
        mock.patch.object(base_tester, "tqdm", silent),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)  # to label the bar
        yield
