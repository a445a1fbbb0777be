"""The student of geometry: a PML trainer of a descriptor on points that correspond by a label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pml_proxyext.miners import BatchGeometry, GeometricPseudoLabelMiner
from pml_proxyext.trainers.geometric_pairs import Correspondences, GeometricPairs
from pml_proxyext.trainers.optimizer_check import check_optimized
from pml_proxyext.trainers.resumable_trainer import ResumableTrainer
from pml_proxyext.utils.checks import check_choice

__all__ = ["GeometricStudentTrainer"]

_KEYS = {"models": ["trunk", "embedder"], "loss_funcs": ["metric_loss"], "mining_funcs": ["tuple_miner"]}


class GeometricStudentTrainer(ResumableTrainer):
    r"""Train the descriptor of points by any PML loss, on pairs of views whose geometry is labelled.

    PML's trainer in all but the batch, which is ``batch_size`` pairs of views, each with ``num_correspondences``
    corresponding points. The loss is called with two views, ``loss(embeddings, ids, indices_tuple, ref_emb, ids)``:
    embeddings of points of a, and in the same row that of the point of b that corresponds. Points of a have an id each,
    so two rows share an id only if they are the same point of a.

    By the ids alone, every other point of the batch is a negative, close neighbours included. A
    :class:`~pml_proxyext.miners.GeometricPseudoLabelMiner` as ``tuple_miner`` chooses by the residuals in place of the
    ids: then only points of the same two views are negatives, and close ones are neither. Other miners of PML choose by
    the ids.

    Args:
        *args: as PML's ``BaseTrainer`` takes them, ``dataset`` being :class:`~pml_proxyext.trainers.GeometricPairs`.
        **kwargs: as PML's ``BaseTrainer`` takes them.

    Raises:
        ValueError: for another data set, for keys other than ``trunk``, ``embedder``, ``metric_loss`` and
            ``tuple_miner``, if a trainable parameter is in no optimizer, and by ``train`` if fewer pairs are labelled
            than ``batch_size``.

    State:
        see :class:`~pml_proxyext.trainers.ResumableTrainer`; the labels are not part of it.
    """

    dataset: GeometricPairs
    iterations_per_epoch: int | None

    def custom_setup(self) -> None:
        if not isinstance(self.dataset, GeometricPairs):
            raise ValueError(f"dataset must be GeometricPairs, got {type(self.dataset).__name__}")
        for name, allowed in _KEYS.items():
            for key in getattr(self, name):
                check_choice(f"the keys of {name}", key, allowed)
        if "trunk" not in self.models:
            raise ValueError(f"models must have 'trunk', got {[*self.models]}")
        check_optimized({**self.models, **self.loss_funcs}, self.optimizers, self.freeze_these)
        self._epoch_is_pass = not self.iterations_per_epoch

    def modify_schema(self) -> None:
        for name, allowed in _KEYS.items():
            self.schema[name].keys = allowed
            self.schema[name].important = []
        self.schema["optimizers"].important = []

    def initialize_dataloader(self) -> None:
        if len(self.dataset) < self.batch_size:
            raise ValueError(
                f"batch_size must be at most the number of pairs with a label, {len(self.dataset)}, got "
                f"{self.batch_size}"
            )
        if self._epoch_is_pass:  # PML counts once, but labels come and go
            self.iterations_per_epoch = None
        super().initialize_dataloader()

    def get_batch(self) -> Correspondences:
        return self.data_and_label_getter(next(self.dataloader_iter))

    def calculate_loss(self, curr_batch: Correspondences) -> None:
        pairs, count = curr_batch["ids"].shape
        data = torch.cat([curr_batch["data_a"].flatten(0, 1), curr_batch["data_b"].flatten(0, 1)])
        embeddings, ref_emb = self.compute_embeddings(data).chunk(2)
        pair = torch.arange(pairs).repeat_interleave(count)
        ids = (pair * (curr_batch["ids"].max() + 1) + curr_batch["ids"].flatten()).to(embeddings.device)
        self.losses["metric_loss"] = self.loss_funcs["metric_loss"](
            embeddings, ids, self._mined(embeddings, ids, ref_emb, curr_batch, pair), ref_emb, ids.clone()
        )

    def _mined(self, embeddings: Tensor, ids: Tensor, ref_emb: Tensor, batch: Correspondences, pair: Tensor) -> Any:
        miner = self.mining_funcs.get("tuple_miner")
        if miner is None:
            return None
        if isinstance(miner, GeometricPseudoLabelMiner):
            points_a, points_b = (points.flatten(0, 1).double() for points in (batch["points_a"], batch["points_b"]))
            miner.geometry = BatchGeometry(points_a, points_b, batch["model"], pair, pair)
        return miner(embeddings, ids, ref_emb, ids.clone())

    @torch.no_grad()
    def describe(self, data: Tensor) -> Tensor:
        """Return the embeddings of points as evaluation has them, on the CPU.

        Shapes:
            ``(N, ...)`` -> ``(N, D)``.
        """
        self.set_to_eval()
        return self.compute_embeddings(data).cpu()
