"""How far from equality the relations are while a network learns."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pytorch_metric_learning.trainers import BaseTrainer
from rich.box import SIMPLE
from rich.table import Table
from torch import Tensor, nn

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.checking import Selection, chosen, evaluated_apart, rendered
from pml_proxyext.bounds.relation import Evaluation, Relation
from pml_proxyext.losses.proxy_access import proxies_per_class, stored_proxies
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["Reading", "SlackMonitor"]


class Reading(NamedTuple):
    """A relation at one step of a training."""

    step: int
    """From 0 on; the trainer's global iteration in PML's trainers."""
    evaluation: Evaluation
    """Both sides, and their slack."""


class SlackMonitor:
    r"""Record both sides of relations on the batches that a loss is trained on.

    The monitor is a forward hook of the loss: it sees the embeddings, the labels and the proxies with which the loss
    was computed, and is silent while the loss is in evaluation mode. Both sides are computed on a detached copy in
    float64 on the CPU. Neither gradients, nor the state of torch's generator, nor what the loss returns change, under
    autocast either. Tuples of a miner and ``ref_emb`` are not looked at: the relations are about the batch.

    Args:
        relations: patterns of ids such as ``"graf.*"``, or relations.
        every: at which steps to compute: all that this number divides; the others cost nothing.
        hyper: values of hyper-parameters by PML's names. They are not read off the loss: a relation may be about
            another loss than the one that is trained. Relations take their defaults for what is missing.
        record_keeper: PML's record keeper, as ``logging_presets.get_record_keeper`` returns it, or None. Each relation
            has a table of its own there, ``bounds_`` and its id with ``_`` for dots, with the columns ``lhs``, ``rhs``,
            ``slack`` and ``violations``.

    Attributes:
        history: from the id of each relation to its readings.
        violations: how often each relation did not hold; NaN and infinity count, and a refuted claim has its failures
            here.
        skipped: how many batches did not fulfil the assumptions of each relation.
        reasons: why the last of these did not.

    Raises:
        ValueError: if a pattern fits no relation, ``every`` is no positive integer, or a hyper-parameter is no finite
            number.

    Example:
        >>> import torch
        >>> from pytorch_metric_learning.losses import SupConLoss
        >>> loss_func, labels = SupConLoss(), torch.tensor([0, 0, 1, 1])
        >>> with SlackMonitor("graf.sc_balanced", every=2, hyper={"temperature": 0.1}).watch(loss_func) as monitor:
        ...     for _ in range(4):
        ...         value = loss_func(torch.randn(4, 8), labels)
        >>> [(step, evaluation.holds) for step, evaluation in monitor.history["graf.sc_balanced"]]
        [(0, True), (2, True)]
    """

    def __init__(
        self,
        relations: Selection,
        *,
        every: int = 1,
        hyper: Mapping[str, float] | None = None,
        record_keeper: Any = None,
    ) -> None:
        self.relations = chosen(relations)
        self.every = check_integer("every", every)
        self.hyper = {name: check_number(name, value) for name, value in (hyper or {}).items()}
        self.record_keeper = record_keeper
        self.history: dict[str, list[Reading]] = {relation.id: [] for relation in self.relations}
        self.violations: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._handles: list[Any] = []

    def watch(self, loss_func: nn.Module) -> SlackMonitor:
        """Listen to a loss until :meth:`remove`, and return the monitor. Each of its calls in training mode is a step.

        Compile the loss first and watch what ``torch.compile`` returns: a graph has no room for a hook.
        """
        return self._listen(loss_func, itertools.count().__next__)

    def attach(self, trainer: BaseTrainer) -> SlackMonitor:
        """Listen to the metric loss of one of PML's trainers until :meth:`remove`, and return the monitor.

        Steps are the trainer's global iterations. The trainer's own hooks stay as they are.
        """

        def step() -> int | None:  # a trainer has no iteration before its first batch
            return trainer.get_global_iteration() if hasattr(trainer, "iteration") else None

        return self._listen(trainer.loss_funcs["metric_loss"], step)

    def observe(self, step: int, embeddings: Tensor, labels: Tensor, proxies: Tensor | None = None) -> None:
        """Record the relations on a batch, whatever ``every`` says: for losses that are no modules.

        Raises:
            ValueError: if the tensors do not fit one another.
        """
        batch = BoundBatch(
            embeddings.detach().cpu(),
            labels.detach().cpu(),
            None if proxies is None else proxies.detach().cpu(),
            self.hyper,
            f"step {step}",
        )
        for relation in self.relations:
            if objections := relation.objections(batch):
                self._skip(relation, "; ".join(objections))
            else:
                self._record(relation, Reading(step, evaluated_apart(relation, batch)))

    def remove(self) -> None:
        """Stop listening; the readings stay."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> SlackMonitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __rich__(self) -> Table:
        table = Table(title="Slack while training", title_justify="left", box=SIMPLE)
        table.add_column("relation", style="bold", overflow="fold")
        for name in ("readings", "last slack", "least slack", "violations", "skipped"):
            table.add_column(name, justify="right")
        table.add_column("reason")
        for name, readings in self.history.items():
            slacks = [reading.evaluation.slack for reading in readings]
            # A NaN is never the least of anything, so that min() would hide it or not by the order.
            least = min(slacks, key=lambda slack: (slack == slack, slack), default=None)
            shown = ["-" if slack is None else f"{slack:.4g}" for slack in (slacks[-1] if slacks else None, least)]
            counts = [str(self.violations[name]), str(self.skipped[name])]
            table.add_row(name, str(len(readings)), *shown, *counts, self.reasons.get(name, ""))
        return table

    def __str__(self) -> str:
        return rendered(self)

    def _listen(self, loss_func: nn.Module, next_step: Callable[[], int | None]) -> SlackMonitor:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
            if not module.training:
                return
            step = next_step()
            if step is not None and step % self.every == 0:
                self._see(step, module, *_embeddings_and_labels(*args, **kwargs))

        handle = loss_func.register_forward_hook(hook, with_kwargs=True)
        # The value only has to be there. PML's record keeper would log True, as a series whose name is a number, and
        # break on sorting the names.
        values: dict[int, Any] = loss_func._forward_hooks_with_kwargs
        values[handle.id] = None
        self._handles.append(handle)
        return self

    def _see(self, step: int, loss_func: nn.Module, embeddings: Tensor, labels: Tensor | None) -> None:
        if labels is None:
            for relation in self.relations:
                self._skip(relation, "there are no labels")
        else:
            self.observe(step, embeddings, labels, _proxies(loss_func, embeddings.shape[-1]))

    def _skip(self, relation: Relation, reason: str) -> None:
        self.skipped[relation.id] += 1
        self.reasons[relation.id] = reason

    def _record(self, relation: Relation, reading: Reading) -> None:
        step, evaluation = reading
        self.history[relation.id].append(reading)
        self.violations[relation.id] += not evaluation.holds
        if self.record_keeper is not None:
            row = {
                "lhs": evaluation.lhs,
                "rhs": evaluation.rhs,
                "slack": evaluation.slack,
                "violations": self.violations[relation.id],
            }
            table = "bounds_" + re.sub(r"\W", "_", relation.id)  # becomes the name of an SQL table
            self.record_keeper.update_records(row, step, parent_name=table)


def _embeddings_and_labels(
    embeddings: Tensor, labels: Tensor | None = None, *_: Any, **__: Any
) -> tuple[Tensor, Tensor | None]:
    return embeddings, labels


def _proxies(loss_func: nn.Module, embedding_size: int) -> Tensor | None:
    """Return the proxies of a loss, or of the only one with proxies in it, where each class has one."""
    found = {
        proxies.data_ptr(): proxies  # a compiled loss shows them twice
        for module in loss_func.modules()
        if (proxies := stored_proxies(module)) is not None
        and proxies_per_class(module) == 1
        and proxies.shape[1] == embedding_size
    }
    return next(iter(found.values())) if len(found) == 1 else None
