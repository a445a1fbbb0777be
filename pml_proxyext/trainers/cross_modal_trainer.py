"""A trainer for two modalities, each with its own networks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn

from pml_proxyext.trainers.optimizer_check import check_optimized
from pml_proxyext.trainers.resumable_trainer import ResumableTrainer
from pml_proxyext.utils.checks import check_choice, check_rows
from pml_proxyext.utils.two_views import TwoViewBatch, is_multi_hot, moved

__all__ = ["CrossModalTrainer"]

_KEYS = {
    "models": ["trunk", "embedder", "ref_trunk", "ref_embedder"],
    "loss_funcs": ["metric_loss", "ref_metric_loss", "alignment_loss", "class_loss", "ref_class_loss"],
    "mining_funcs": ["tuple_miner", "input_tuple_miner"],
}
_ESSENTIAL_MODELS = ["trunk", "ref_trunk"]


@dataclass(frozen=True)
class _View:
    embeddings: Tensor
    features: Tensor | None


class CrossModalTrainer(ResumableTrainer):
    r"""Train the networks of two modalities, A and B, whose row i is one sample.

    PML's trainer in all but the second view: optimizers, schedulers, clippers, ``freeze_these``, ``loss_weights``,
    hooks and bars work alike. What belongs to modality B has the prefix ``ref_``, as PML's ``ref_emb`` has. (PML's
    ``TwoStreamMetricLoss`` sends both streams through one trunk.)

    ============================  ====================================================================================
    ``models``
    ``trunk``, ``embedder``       of modality A; without an embedder the trunk makes the embeddings
    ``ref_trunk``,                of modality B; for shared weights give the same module twice
    ``ref_embedder``
    ``loss_funcs``
    ``metric_loss``               from A to B: ``loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)``
    ``ref_metric_loss``           from B to A: the same with the views exchanged
    ``alignment_loss``            ``loss(embeddings, ids, None, ref_emb, ids)``: partners, whatever their classes
    ``class_loss``                ``loss(embeddings, labels)`` on modality A
    ``ref_class_loss``            ``loss(ref_emb, labels)`` on modality B; for a shared classifier give one loss twice
    ``mining_funcs``
    ``tuple_miner``               chooses tuples for the two metric losses, by the embeddings of both views
    ``input_tuple_miner``         instead of it: chooses them by the raw features of both views
    ============================  ====================================================================================

    A batch, or what ``data_and_label_getter`` makes of it, is ``((a, b), labels)``, PML's ``(a, b, labels)``, or a
    mapping with ``data`` and ``ref_data`` and any of ``labels``, ``ids``, ``input_emb``, ``ref_input_emb``. The data of
    a view may be a tensor, or mappings and lists of them, as tokenizers make them; ``dtype`` changes floating-point
    tensors only. The raw features ``input_emb`` and ``ref_input_emb`` go to the losses whose ``forward`` takes them, as
    that of :class:`~pml_proxyext.losses.CrossCLRLoss` does.

    Labels are what PML's are, or multi-hot: a matrix ``(N, C)`` of floating-point numbers or booleans has a column for
    each class, all of which reach the class losses unchanged. (Of an integer matrix, PML takes the column
    ``label_hierarchy_level``.) Pair losses have no use for multi-hot labels; the metric losses then get the ids.
    Without ids each row is an instance of its own. The second view gets a copy of the labels: of one tensor given
    twice, PML's pair losses think that a batch is compared with itself, and drop the pairs of partners.

    Args:
        *args: as PML's ``BaseTrainer`` takes them.
        **kwargs: as PML's ``BaseTrainer`` takes them.

    Raises:
        ValueError: for keys other than those above, without ``trunk`` and ``ref_trunk``, if a trainable parameter of a
            model or a loss is in no optimizer, and for batches that do not fit.

    State:
        see :class:`~pml_proxyext.trainers.ResumableTrainer`.

    Example:
        >>> from pytorch_metric_learning.losses import NTXentLoss
        >>> from torch.utils.data import StackDataset, TensorDataset
        >>> _ = torch.manual_seed(0)
        >>> images, texts, ids = torch.randn(64, 8), torch.randn(64, 6), torch.arange(64)
        >>> networks = {"trunk": nn.Linear(8, 4), "ref_trunk": nn.Linear(6, 4)}
        >>> optimizers = {f"{name}_optimizer": torch.optim.Adam(net.parameters()) for name, net in networks.items()}
        >>> trainer = CrossModalTrainer(
        ...     networks,
        ...     optimizers,
        ...     batch_size=32,
        ...     loss_funcs={"metric_loss": NTXentLoss(), "ref_metric_loss": NTXentLoss()},
        ...     dataset=StackDataset(StackDataset(images, texts), ids),
        ...     dataloader_num_workers=0,
        ... )
        >>> trainer.train(num_epochs=1)
    """

    def custom_setup(self) -> None:
        for name, allowed in _KEYS.items():
            for key in getattr(self, name):
                check_choice(f"the keys of {name}", key, allowed)
        for key in _ESSENTIAL_MODELS:
            if key not in self.models:
                raise ValueError(f"models must have {' and '.join(map(repr, _ESSENTIAL_MODELS))}, got {[*self.models]}")
        if len(self.mining_funcs) > 1:
            raise ValueError(f"mining_funcs must be one of {_KEYS['mining_funcs']}, got both")
        check_optimized({**self.models, **self.loss_funcs}, self.optimizers, self.freeze_these)

    def modify_schema(self) -> None:
        for name, allowed in _KEYS.items():
            self.schema[name].keys = allowed
            self.schema[name].important = []  # none of the rest is missed, so PML need not warn
        self.schema["optimizers"].important = []

    def initialize_models(self) -> None:
        super().initialize_models()
        self.models.setdefault("ref_embedder", nn.Identity())

    def maybe_freeze_trunk_batchnorm(self) -> None:
        if self.freeze_trunk_batchnorm:
            for name in _ESSENTIAL_MODELS:
                self.models[name].apply(c_f.set_layers_to_eval("BatchNorm"))

    def get_batch(self) -> TwoViewBatch:
        batch = TwoViewBatch.of(self.data_and_label_getter(next(self.dataloader_iter)))
        if batch.labels is None or is_multi_hot(batch.labels):
            return batch
        labels = c_f.process_label(batch.labels, self.label_hierarchy_level, self.label_mapper)
        return replace(batch, labels=labels)

    def compute_embeddings(self, data: Any) -> Tensor:
        """Return the embeddings of modality A."""
        return self._embed(data, "")

    def compute_ref_embeddings(self, ref_data: Any) -> Tensor:
        """Return the embeddings of modality B."""
        return self._embed(ref_data, "ref_")

    def _embed(self, data: Any, prefix: str) -> Tensor:
        trunk, embedder = (self.models[f"{prefix}{name}"] for name in ("trunk", "embedder"))
        return embedder(trunk(moved(data, self.data_device, self.dtype)))

    def calculate_loss(self, curr_batch: TwoViewBatch) -> None:
        embeddings = self.compute_embeddings(curr_batch.data)
        ref_emb = check_rows(self.compute_ref_embeddings(curr_batch.ref_data), embeddings, "ref_data", "data")
        a, b = (
            _View(rows, None if features is None else features.to(rows.device))
            for rows, features in ((embeddings, curr_batch.input_emb), (ref_emb, curr_batch.ref_input_emb))
        )
        labels, ids = _on_rows("labels", curr_batch.labels, embeddings), _on_rows("ids", curr_batch.ids, embeddings)
        if ids is None:
            ids = torch.arange(len(embeddings), device=embeddings.device)
        for name, loss in self.loss_funcs.items():
            if self.loss_weights[name]:
                views = (b, a) if name.startswith("ref_") else (a, b)
                self.losses[name] = self._loss(name, loss, *views, labels, ids)

    def _loss(self, name: str, loss: nn.Module, a: _View, b: _View, labels: Tensor | None, ids: Tensor) -> Tensor:
        if name in ("class_loss", "ref_class_loss"):
            if labels is None:
                raise ValueError(f"labels are required for {name}, got a batch without them")
            return loss(a.embeddings, labels)
        indices_tuple = None
        if name != "alignment_loss":
            ids = ids if labels is None or labels.ndim > 1 else labels
            indices_tuple = self._mined(a, b, ids)
        features: Mapping[str, Tensor | None] = {}
        if a.features is not None and _takes_features(loss):
            features = {"input_emb": a.features, "ref_input_emb": b.features}
        return loss(a.embeddings, ids, indices_tuple, b.embeddings, ids.clone(), **features)

    def _mined(self, a: _View, b: _View, labels: Tensor) -> Any:
        if "tuple_miner" in self.mining_funcs:
            return self.mining_funcs["tuple_miner"](a.embeddings, labels, b.embeddings, labels.clone())
        if "input_tuple_miner" in self.mining_funcs:
            if a.features is None or b.features is None:
                raise ValueError("input_emb and ref_input_emb are required for input_tuple_miner, got a batch without")
            return self.mining_funcs["input_tuple_miner"](a.features, labels, b.features, labels.clone())
        return None


def _on_rows(name: str, labels: Any, embeddings: Tensor) -> Tensor | None:
    return None if labels is None else check_rows(labels, embeddings, name, "data").to(embeddings.device)


def _takes_features(loss: nn.Module) -> bool:
    """Ask the loss, or the one inside a wrapper that hands on whatever it gets."""
    parameters = inspect.signature(loss.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        inner = getattr(loss, "loss", None) or getattr(loss, "module", None)
        return inner is None or _takes_features(inner)
    return any(parameter.name == "input_emb" for parameter in parameters)
