"""Losses with more proxies than one process can hold: each rank owns a slice of the classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor, nn

from pml_proxyext.losses.proxy_loss import check_proxy_batch
from pml_proxyext.utils.checks import check_integer, check_number
from pml_proxyext.utils.precision import upcast
from pml_proxyext.utils.ranks import agree, from_first_rank, gather_rows, world
from pml_proxyext.wrappers.class_sampling import Piece, all_classes, sampled_classes
from pml_proxyext.wrappers.distributed_loss_wrapper import in_rank_order
from pml_proxyext.wrappers.rank_slices import (
    RankSlice,
    class_range,
    own_random_numbers,
    share_random_numbers,
)

__all__ = ["ShardedProxies"]


class ShardedProxies(nn.Module):
    r"""A loss whose proxies lie on all processes of a group, a contiguous slice of the classes on each.

    The batch is gathered, and every rank compares all of it with its own proxies. What it finds is joined over the
    ranks: log-partition functions by a maximum and a sum of :math:`N` numbers each,

    .. math::
        \log \sum_{c=1}^{C} e^{s_{ic}} = m_i + \log \sum_{r=1}^{W} e^{\lambda_{ir} - m_i}, \qquad
        \lambda_{ir} = \log \sum_{c \in \text{slice } r} e^{s_{ic}}, \qquad m_i = \max_r \lambda_{ir},

    and the terms per proxy of Proxy Anchor by a sum. No rank ever holds :math:`C \times D` or :math:`N \times C`
    numbers. With :math:`W` ranks, each holds the :math:`W`-th part, and value and gradients are those of one process.

    - **The value** is the same on all ranks: that of the loss on the whole batch. Log it as it is.
    - **The model's gradient** is multiplied by :math:`W`, for the mean that ``DistributedDataParallel`` takes, as in
      :class:`~pml_proxyext.wrappers.DistributedLossWrapper`.
    - **The gradient of a slice** is complete on the rank that owns it. It must not be averaged. Inside
      ``DistributedDataParallel(sharded)`` it is not; do not make ``sharded`` a part of the model that is wrapped.
    - **Other parameters of the loss**, as a temperature or NIR's flow, are equal on all ranks and get equal gradients.

    Without a process group it is the loss itself.

    Args:
        make_loss: makes the loss of so many classes; called once on each rank with the number of its classes. PML's
            NormalizedSoftmaxLoss, ArcFaceLoss, CosFaceLoss and ProxyNCALoss, and ProxyAnchorLoss, NivMFLoss and NIRLoss
            of this package. Ranks draw different initial proxies, and the same initial values of all else.
        num_classes: number of all classes :math:`C`, at least one for each rank. Rank :math:`r` owns those from
            :math:`\lfloor rC/W \rfloor` on.
        sample_rate: share of its classes that a rank looks at in a training step: those of the batch, and others by
            chance, without replacement, each of which stands for several. The partition sum
            :math:`\sum_c e^{s_{ic}}` and the sum over the proxies of Proxy Anchor are right in expectation, and so
            are their gradients. Of the former's logarithm that cannot be: a softmax loss comes out too small on
            average, by about half the variance of the sum over its squared mean.
        chunk_size: classes that are looked at together, all the others being computed again in the backward pass, as
            :class:`~pml_proxyext.wrappers.ChunkedProxies` does. None: the whole slice, :math:`N \times C / W` numbers.
        generator: of the choice of classes; torch's default generator when None.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers in ``[0, num_classes)``, of the same shape and
        dtype on all ranks -> a scalar, in float32 for half precision. ``indices_tuple`` as PML's
        ``DistributedMinerWrapper`` makes it, of which that of rank 0 counts.

    Raises:
        ValueError: on all ranks, if on any of them the arguments are invalid, labels are missing or out of range, or
            if batches differ in shape or dtype between ranks. Where a rank is lost, torch raises its RuntimeError on
            the others, at the latest when the timeout of the process group has passed.

    Requires an optimizer:
        as the loss does, on every rank: ``sharded.loss.param_groups(lr)`` or ``sharded.parameters()``.

    Departs from the paper or the release:
        Partial FC samples the negatives and leaves the partition sum too small by the share that it leaves out; here
        each sampled class weighs as many as it stands for. ``ProxyNCALoss`` of PML leaves out samples whose
        probability underflows to zero, which count here. ``weight_regularizer`` is not supported, and statistics of
        the loss are not collected.

    Reference:
        An et al., "Partial FC: Training 10 Million Identities on a Single Machine", ICCV Workshops 2021,
        arXiv:2010.05222.

    Example:
        >>> from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
        >>> loss_func = ShardedProxies(lambda count: NormalizedSoftmaxLoss(count, 4), num_classes=5)
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(
        self,
        make_loss: Callable[[int], BaseMetricLossFunction],
        num_classes: int,
        sample_rate: float = 1.0,
        chunk_size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        rank, world_size = world()
        agree(None, {"num_classes": num_classes, "sample_rate": sample_rate, "chunk_size": chunk_size})
        self.num_classes = check_integer("num_classes", num_classes, low=world_size)
        self.sample_rate = check_number("sample_rate", sample_rate, low=0.0, high=1.0, open_low=True)
        self.chunk_size = None if chunk_size is None else check_integer("chunk_size", chunk_size)
        self.generator = generator
        self.first, self.stop = class_range(num_classes, rank, world_size)
        self.slice = _made(make_loss, self.first, self.stop, num_classes)
        self.loss = self.slice.loss
        # DistributedDataParallel would overwrite the slices of all ranks by that of rank 0, and average gradients of
        # different classes. This is where it looks for what it has to leave alone.
        self._ddp_params_and_buffers_to_ignore = [f"loss.{name}" for name in self.slice.class_axes]

    def forward(self, embeddings: Tensor, labels: Tensor | None = None, indices_tuple: Any = None) -> Tensor:
        agree(self._problem(embeddings, labels), self._facts(embeddings, indices_tuple))
        assert labels is not None
        indices_tuple = in_rank_order(indices_tuple, len(embeddings))
        labels = gather_rows(labels.to(embeddings.device).long())
        embeddings = upcast(gather_rows(embeddings))
        loss = self.loss
        with torch.autocast(embeddings.device.type, enabled=False):
            if len(embeddings):
                # Miners see the rows in another order on each rank, and may draw random numbers: one of them decides.
                weights = from_first_rank(lmu.convert_to_weights(indices_tuple, labels, dtype=embeddings.dtype))
                losses = self.slice.losses(embeddings, labels, weights, self._choose, self.chunk_size)
            else:
                losses = loss.zero_losses()
            loss.add_embedding_regularization_to_loss_dict(losses, embeddings)
            return loss.reducer(losses, embeddings, labels)

    def _choose(self, class_tensors: list[Tensor], columns: Tensor) -> list[Piece]:
        if self.training and self.sample_rate < 1:
            return sampled_classes(class_tensors, columns, self.sample_rate, self.generator)
        return all_classes(class_tensors, columns)

    def _problem(self, embeddings: Tensor, labels: Any) -> str | None:
        """Return what is wrong with this rank's batch."""
        width = self.slice.sliced.class_tensors[0].shape[1]
        try:
            c_f.check_shapes(embeddings, labels)
            check_proxy_batch(embeddings, labels, embeddings, labels, self.num_classes, width)
        except ValueError as error:
            return str(error)
        return None

    def _facts(self, embeddings: Tensor, indices_tuple: Any) -> dict[str, Any]:
        """Return what would lead the ranks to exchange different things if it were not the same."""
        return {
            "the shape of embeddings": tuple(embeddings.shape),
            "the dtype of embeddings": str(embeddings.dtype),
            "whether embeddings need gradients": embeddings.requires_grad and torch.is_grad_enabled(),
            "whether indices_tuple is given": indices_tuple is not None,
            "whether the loss is in training mode": self.training,
        }

    def get_extra_state(self) -> dict[str, int]:
        """Return whose slice this is, so that another rank's file of the same size is not taken for it."""
        return {"first": self.first, "stop": self.stop, "num_classes": self.num_classes}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Refuse the state of other classes."""
        if state != self.get_extra_state():
            raise ValueError(
                f"state_dict must be of the classes {self.get_extra_state()}, got {state}; save_shards and load_shards "
                "go between different numbers of ranks"
            )

    def extra_repr(self) -> str:
        return f"classes {self.first} to {self.stop - 1} of {self.num_classes}, sample_rate={self.sample_rate}"


def _made(make_loss: Callable[[int], BaseMetricLossFunction], first: int, stop: int, num_classes: int) -> RankSlice:
    """Return this rank's slice, or raise on all ranks if one of them cannot make its own."""
    problem, facts, cause = None, {}, None
    try:
        with own_random_numbers():
            part = RankSlice(make_loss(stop - first), first, num_classes)
        facts = {
            "the class of the loss": type(part.loss).__name__,
            "embedding_size": part.sliced.class_tensors[0].shape[1],
            "its other parameters": {name: tuple(tensor.shape) for name, tensor in part.shared_parameters().items()},
        }
        if part.sliced.num_classes != stop - first:
            problem = f"a loss of that number of classes, got {part.sliced.num_classes}"
        elif any(getattr(loss, "weight_regularizer", None) is not None for loss in (part.loss, part.base)):
            problem = "a loss without weight_regularizer, which is not supported: it would see one rank's proxies only"
    except Exception as error:  # the other ranks wait to hear of it, whatever it is
        problem, cause = f"a loss that can be sliced, got {type(error).__name__}: {error}", error
    agree(problem and f"make_loss({stop - first}) must return {problem}", facts, cause)
    share_random_numbers(part.loss)
    with torch.no_grad():
        for tensor in [*part.shared_parameters().values(), *part.loss.buffers()]:
            tensor.copy_(from_first_rank(tensor))
    return part
