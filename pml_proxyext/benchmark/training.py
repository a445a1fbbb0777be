"""Training by PML's MetricLossOnly in chunks of steps, each of which can be repeated exactly."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from pytorch_metric_learning.utils.distributed import DistributedMinerWrapper
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, Sampler
from tqdm import tqdm

from pml_proxyext.benchmark.data_parallel import RankRows, data_parallel, share_statistics
from pml_proxyext.benchmark.datasets import RetrievalSet
from pml_proxyext.benchmark.files import write_whole
from pml_proxyext.benchmark.networks import build_models, embedding_width
from pml_proxyext.benchmark.optimization import make_optimizers
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.trainer import ChunkTrainer, clip_gradients, seeded, without_inner_bars
from pml_proxyext.utils.ranks import world
from pml_proxyext.wrappers import DistributedLossWrapper

__all__ = ["Evaluate", "Training", "check_batches"]

Evaluate = Callable[[Mapping[str, nn.Module], int], dict[str, float]]

_PROGRESS = ("step", "curve", "seconds", "cpu_seconds")  # what a checkpoint holds besides weights and optimizers


class Training:
    """The state of a run, and the steps that change it.

    Before each chunk all random generators are seeded with the run's seed and the number of the chunk. So nothing
    but the weights and the optimizers' state has to be kept to go on as if there had been no interruption.

    In a group of processes all train together, each on its rows of the same batches, and rank 0 evaluates and writes.
    Up to rounding the weights are those of one process; where images are changed at random, other changes are drawn.

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
        self.rank, self.processes = world()
        self.hooks: Any = None
        if log_directory is not None and self.rank == 0:
            keeper, *_ = logging_presets.get_record_keeper(str(log_directory), str(log_directory))
            self.hooks = logging_presets.get_hook_container(keeper, save_models=False, log_freq=10)
        self.device = recipe.regime.torch_device()
        with seeded(seed, 0):
            self.models = self._make_models()
            self.loss = self._make_loss()
        self.miner = recipe.miner.make() if recipe.miner else None
        check_batches(recipe, data, self.processes)
        self.optimizers, self.schedulers = make_optimizers(self.models, self.loss, recipe) if self.loss else ({}, {})

    @property
    def end_of_testing_hook(self) -> Any:
        """What PML's tester is to call so that the scores are logged; None without a log."""
        return self.hooks and self.hooks.end_of_testing_hook

    def fit(self, evaluate: Evaluate, checkpoint: Path, progress: bool = False) -> dict[str, float]:
        """Train from the checkpoint, if there is one, to the last step, and return the last scores."""
        if self.loss is None:
            with without_inner_bars():
                return evaluate(self.models, 0)
        self._load(checkpoint)
        steps = cast(int, self.recipe.steps)
        length = -(-steps // self.recipe.regime.evaluations)
        with (
            without_inner_bars(),
            tqdm(total=steps, initial=self.step, desc=self.recipe.name, disable=not progress) as bar,
        ):
            while self.step < steps:
                start, cpu_start = time.perf_counter(), time.process_time()
                self._train_chunk(min(length, steps - self.step), bar)
                self.cpu_seconds += time.process_time() - cpu_start
                scores = evaluate(self.models, len(self.curve) + 1) if self.rank == 0 else {}
                self.curve.append([self.step, scores])
                if self.hooks is not None:
                    self.hooks.record_keeper.save_records()
                self.seconds += time.perf_counter() - start
                if self.rank == 0:
                    self._save(checkpoint)
        return self.curve[-1][1]

    def save_models(self, path: Path) -> None:
        """Write the state of trunk and embedder, as :func:`~pml_proxyext.benchmark.networks.load_models` reads it."""
        state = {name: model.state_dict() for name, model in self.models.items()}
        content = {**self._architecture(), "state": state}
        write_whole(path, partial(torch.save, content))

    def _architecture(self) -> dict[str, Any]:
        """Return the arguments of :func:`~pml_proxyext.benchmark.networks.build_models`."""
        return {
            "trunk": self.recipe.trunk,
            "embedding_size": self.recipe.embedding_size,
            "shape": tuple(self.data.plain().sample(0).shape),
            "feature_norm": self.recipe.regime.feature_norm,
        }

    def _make_models(self) -> dict[str, nn.Module]:
        models, regime = build_models(**self._architecture()), self.recipe.regime
        if regime.pretrained:
            cast(Any, models["trunk"]).load_imagenet()
        if regime.embedder_scale != 1:
            with torch.no_grad():
                cast(nn.Linear, models["embedder"]).weight.mul_(regime.embedder_scale)
        return {name: share_statistics(model.to(self.device)) for name, model in models.items()}

    def _make_loss(self) -> nn.Module | None:
        recipe = self.recipe
        if recipe.loss is None:
            return None
        data = self.data.plain()
        width = recipe.embedding_size or embedding_width(self.models, data.sample(0).shape)
        sizes = {"num_classes": data.num_classes, "embedding_size": width}
        base = {"proxy_loss": recipe.base.make(**sizes)} if recipe.base else {}
        loss = recipe.loss.make(**sizes, **base).to(self.device)
        if recipe.init_from_data:
            for model in self.models.values():
                model.eval()
            with torch.no_grad():
                batches = DataLoader(data, batch_size=512, num_workers=recipe.regime.workers)
                trunk_outputs = (self.models["trunk"](part.to(self.device)) for part, _ in batches)
                embeddings = torch.cat([self.models["embedder"](output) for output in trunk_outputs])
            loss.init_from(embeddings, data.labels.to(self.device))
        return cast(nn.Module, loss)

    def _train_chunk(self, steps: int, bar: Any) -> None:
        def end_of_iteration(trainer: MetricLossOnly) -> None:
            bar.update()
            if self.hooks is not None:
                self.hooks.end_of_iteration_hook(trainer)

        recipe, regime, batch_size = self.recipe, self.recipe.regime, cast(int, self.recipe.batch_size)
        loss, miner = cast(nn.Module, self.loss), self.miner
        if self.processes > 1:
            loss, miner = DistributedLossWrapper(loss), miner and DistributedMinerWrapper(miner)
        with seeded(self.seed, 1 + self.step):
            trainer = ChunkTrainer(
                first_step=self.step,
                warm_up_steps=regime.warm_up_steps(cast(int, recipe.steps)),
                mixed_precision=regime.precision == "bfloat16",
                models=data_parallel(self.models),
                optimizers=self.optimizers,
                batch_size=batch_size // self.processes,
                loss_funcs={"metric_loss": loss},
                dataset=self.data,
                mining_funcs={"tuple_miner": miner} if miner else {},
                iterations_per_epoch=steps,
                data_device=self.device,
                sampler=RankRows(self._sampler(steps * batch_size), batch_size),
                lr_schedulers=self.schedulers,
                gradient_clippers=self._gradient_clippers(),
                freeze_trunk_batchnorm=regime.frozen_batch_norm,
                dataloader_num_workers=regime.workers,
                end_of_iteration_hook=end_of_iteration,
            )
            trainer.train()
        self.step += steps

    def _sampler(self, samples: int) -> Sampler[int]:
        if self.recipe.regime.sampling == "shuffled":
            return RandomSampler(self.data, num_samples=samples)
        return MPerClassSampler(self.data.labels, self.recipe.images_per_class, self.recipe.batch_size, samples)

    def _gradient_clippers(self) -> dict[str, Callable[[], None]]:
        bound = self.recipe.regime.clip_value
        if bound is None:
            return {}
        learning = {**self.models, "metric_loss": cast(nn.Module, self.loss)}
        return {f"{name}_grad_clipper": partial(clip_gradients, part, bound) for name, part in learning.items()}

    def _stateful(self) -> dict[str, Any]:
        loss = {} if self.loss is None else {"loss": self.loss}
        return {**self.models, **loss, **self.optimizers, **self.schedulers}

    def _save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        content = {**{name: getattr(self, name) for name in _PROGRESS}, "state": state}
        write_whole(path, partial(torch.save, content))

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


def check_batches(recipe: Recipe, data: RetrievalSet, processes: int = 1) -> None:
    """Say what does not fit, where PML's sampler and trainer would end in an assertion or a bare StopIteration."""
    batch_size, images_per_class = cast(int, recipe.batch_size), recipe.images_per_class
    if recipe.loss is None:
        return
    if len(data) < batch_size:
        raise ValueError(f"batch_size must be at most the number of images, {len(data)}, got {batch_size}")
    if batch_size % processes:
        raise ValueError(f"batch_size must be a multiple of the number of processes, {processes}, got {batch_size}")
    if recipe.regime.sampling == "shuffled":
        return
    if batch_size % images_per_class:
        raise ValueError(f"batch_size must be a multiple of images_per_class, got {batch_size} and {images_per_class}")
    if batch_size > data.num_classes * images_per_class:
        raise ValueError(
            f"batch_size must be at most images_per_class times the number of classes, "
            f"{images_per_class} * {data.num_classes}, got {batch_size}"
        )
