"""One training on several processes: each takes its rows of every batch, and all find what one process would."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sized
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from pml_proxyext.utils.ranks import sum_over_ranks, to_parts, world

__all__ = ["RankBatchNorm", "RankRows", "data_parallel", "run_on_processes", "share_statistics"]

_TIMEOUT = timedelta(hours=2)  # while rank 0 evaluates, the others wait for it


class RankRows(Sampler[int]):
    """The rows of this rank in every batch of a sampler that is in the same state on all ranks.

    Ranks take turns within a batch: the first rows are rank 0's. So batches joined in the order of the ranks, as
    :class:`~pml_proxyext.wrappers.DistributedLossWrapper` joins them, are those of the sampler. Around PML's
    ``MPerClassSampler`` it is a distributed one: classes are complete in the joined batch, wherever it is cut.

    Args:
        sampler: of the whole batches; PML's draw from PML's generator, torch's from torch's: seed both alike.
        batch_size: of all ranks together.

    Raises:
        ValueError: if ranks cannot have equally many rows of a batch.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        self.rank, world_size = world()
        if batch_size % world_size:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {world_size}, got {batch_size}"
            )
        self.sampler, self.batch_size, self.rows = sampler, batch_size, batch_size // world_size

    def __len__(self) -> int:
        assert isinstance(self.sampler, Sized)
        return len(self.sampler) // self.batch_size * self.rows

    def __iter__(self) -> Iterator[int]:
        for position, index in enumerate(self.sampler):
            if position % self.batch_size // self.rows == self.rank:
                yield index


class RankBatchNorm(_BatchNorm):
    """Batch norm with the statistics of all ranks' rows; torch's ``SyncBatchNorm`` needs a GPU."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any ``(N, channels, ...)``."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = input.numel() // input.shape[1] * world()[1]
        mean = to_parts(sum_over_ranks(input.sum(axes))) / count
        centred = input - mean.view(shape)
        variance = to_parts(sum_over_ranks(centred.square().sum(axes))) / count
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / max(count - 1, 1), momentum)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            return centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        return centred * scale.view(shape)


def share_statistics(model: nn.Module) -> nn.Module:
    """Return the model with a :class:`RankBatchNorm` in the place of each batch norm, or as it is without a group."""
    if world()[1] == 1:
        return model
    if isinstance(model, _BatchNorm):
        shared = RankBatchNorm(
            model.num_features, model.eps, model.momentum, model.affine, model.track_running_stats
        ).train(model.training)
        state = model.state_dict()
        shared.load_state_dict(state)
        return shared.to(next(tensor for tensor in state.values() if tensor.is_floating_point()))
    for name, child in model.named_children():
        setattr(model, name, share_statistics(child))
    return model


def data_parallel(models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return models that average their gradients over the ranks, or as they are without a group."""
    if world()[1] == 1:
        return dict(models)
    return {
        # Buffers, the statistics of batch norm, are equal on all ranks already.
        name: DistributedDataParallel(model, broadcast_buffers=False)
        if any(parameter.requires_grad for parameter in model.parameters())
        else model
        for name, model in models.items()
    }


def run_on_processes(function: Callable[[], Any], count: int) -> None:
    """Call a function on several new processes of one gloo group, with as many threads each as this one has.

    Raises:
        Exception: torch's, with the traceback of the process that failed first; the others are ended.
    """
    with tempfile.TemporaryDirectory(prefix="pml-proxyext-") as folder:
        arguments = (function, count, f"file://{folder}/store", torch.get_num_threads())
        spawn(_run_rank, arguments, nprocs=count)


def _run_rank(rank: int, function: Callable[[], Any], count: int, store: str, threads: int) -> None:
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count, timeout=_TIMEOUT)
    try:
        function()
    finally:
        dist.destroy_process_group()
