"""PML's trainer with a state: a run that stops and goes on is the run that never stopped, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytorch_metric_learning.trainers import BaseTrainer
from torch.utils.data import DataLoader

from pml_proxyext.trainers.random_states import random_states, restore_random_states

__all__ = ["ResumableTrainer"]

_PARTS = ("models", "optimizers", "lr_schedulers", "loss_funcs", "mining_funcs")


class ResumableTrainer(BaseTrainer):
    """Base of trainers that can be saved at the end of an epoch; ``calculate_loss`` is left to subclasses.

    ``state_dict()`` holds

    - models, optimizers, learning rate schedulers, losses and miners: whatever ``state_dict()`` of each returns, so
      parameters of losses, and memories that are buffers;
    - the random states of torch (CUDA's, too), NumPy, Python and PML, and of each ``torch.Generator`` that is an
      attribute of the sampler, the data set, a model, a loss or a miner; lists that the sampler shuffles, as PML's do;
    - how far the pass over the data has come, if an epoch is not a whole pass. To go on, the trainer draws the batches
      of that pass again and throws them away, up to the place.

    It does not hold the arguments of the constructor, the loss weights, what hooks and testers keep, what else a data
    set or a sampler remembers, nor what its workers do: ``dataloader_num_workers`` must be the same, and random numbers
    of a data set in worker processes must come from torch, or be seeded from it.

    An epoch is ``iterations_per_epoch`` iterations, as everywhere in PML. Save in ``end_of_epoch_hook``, as the last
    thing it does (evaluation draws random numbers, too), or after ``train()``:

    .. code-block:: python

        def save(trainer):
            torch.save(trainer.state_dict(), "run.pth")


        next_epoch = trainer.load_state_dict(torch.load("run.pth", weights_only=True))
        trainer.train(next_epoch, num_epochs=100)

    Args:
        *args: as PML's ``BaseTrainer`` takes them.
        **kwargs: as PML's ``BaseTrainer`` takes them.

    Raises:
        ValueError: by ``train`` if the data has no whole batch, where PML does nothing or ends in StopIteration.
    """

    dataloader_iter: Iterator[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self._is_within_epoch = False
        self._resumed: dict[str, Any] | None = None

    def initialize_dataloader(self) -> None:
        resumed, self._resumed = self._resumed, None
        data = None if resumed is None else resumed["data"]
        if resumed is not None:
            restore_random_states(data["start"] if data else resumed["random"], self._owners())
        start = self._random_states()
        super().initialize_dataloader()
        if not self.iterations_per_epoch:
            raise ValueError(f"batch_size must be at most the number of samples, got {self.batch_size}")
        passes = _Passes(self.dataloader, self.dataloader_iter, self._owners(), start)
        if resumed is not None and data:
            passes.skip(data["batches"])
            restore_random_states(resumed["random"], self._owners())
        self.dataloader_iter = passes

    def forward_and_backward(self) -> None:
        self._is_within_epoch = True
        super().forward_and_backward()

    def step_lr_schedulers(self, end_of_epoch: bool = False) -> None:
        super().step_lr_schedulers(end_of_epoch)
        self._is_within_epoch = not end_of_epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run; tensors are not copied, as in torch's own ``state_dict``.

        Raises:
            RuntimeError: within an epoch, where some parts have made their step and others have not.
        """
        if self._is_within_epoch:
            raise RuntimeError(
                "state_dict must be called between epochs: in end_of_epoch_hook or after train(); to save more often, "
                "make epochs shorter by iterations_per_epoch"
            )
        parts = self.parts_state()
        if self._resumed is not None:  # nothing has run since load_state_dict
            return {**parts, **self._resumed, "epoch": self.epoch}
        passes = getattr(self, "dataloader_iter", None)
        data = passes.state_dict() if isinstance(passes, _Passes) else None
        progress = {"data": data, "random": self._random_states()}
        return {**parts, **progress, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> int:
        """Take over what :meth:`state_dict` returned, and return the number of the next epoch.

        The order of batches and the random numbers follow when ``train`` starts, so that nothing disturbs them before.

        Raises:
            ValueError: if this trainer has other models, optimizers, schedulers, losses or miners.
        """
        self.load_parts_state(state)
        self.epoch = state["epoch"]
        self._resumed = {name: state[name] for name in ("data", "random")}
        return self.epoch + 1

    def parts_state(self) -> dict[str, Any]:
        """Return what of the state is in models, optimizers, schedulers, losses and miners; tensors are not copied."""
        return {name: {key: part.state_dict() for key, part in self._stateful(name).items()} for name in _PARTS}

    def load_parts_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`parts_state` returned, and leave epoch, data and random states as they are.

        Raises:
            ValueError: if this trainer has other models, optimizers, schedulers, losses or miners.
        """
        for name in _PARTS:
            own, saved = sorted(self._stateful(name)), sorted(state[name])
            if own != saved:
                raise ValueError(f"{name} must have the keys of the saved run, {saved}, got {own}")
        for name in _PARTS:
            for key, part in self._stateful(name).items():
                part.load_state_dict(state[name][key])

    def _stateful(self, name: str) -> dict[str, Any]:
        return {key: part for key, part in getattr(self, name).items() if hasattr(part, "state_dict")}

    def _owners(self) -> list[Any]:
        modules = [*self.models.values(), *self.loss_funcs.values(), *self.mining_funcs.values()]
        return [self.sampler, self.dataset, *modules]

    def _random_states(self) -> dict[str, Any]:
        return random_states(self._owners())


class _Passes:
    """The batches of one pass over the data after the other, and the place in the current one."""

    def __init__(
        self,
        loader: DataLoader[Any],
        first_pass: Iterator[Any],
        owners: list[Any],
        start: dict[str, Any],
    ) -> None:
        self.loader, self.current, self.owners, self.start = loader, first_pass, owners, start
        self.batches = 0

    def __iter__(self) -> _Passes:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self.current)
        except StopIteration:
            self.start, self.batches = random_states(self.owners), 0
            self.current = iter(self.loader)
            batch = self._first()
        self.batches += 1
        return batch

    def _first(self) -> Any:
        try:
            return next(self.current)
        except StopIteration:
            raise ValueError(
                "the data must have a whole batch for each pass, got none; make batch_size smaller"
            ) from None

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start, "batches": self.batches}

    def skip(self, batches: int) -> None:
        """Go to the place after the first ``batches`` batches of the first pass."""
        for read in range(batches):
            if next(self.current, self) is self:
                raise ValueError(f"the data must have {batches} batches, which the saved run had read, got {read}")
        self.batches = batches
