"""Samples of two modalities, with what frozen networks say of them: the batch of CrossCLRLoss, or a memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_labels, check_rows

__all__ = ["CrossModalSamples", "Modality", "check_same_ids"]


class Modality(NamedTuple):
    """One side of the samples."""

    embeddings: Tensor
    inputs: Tensor


class CrossModalSamples(NamedTuple):
    """Samples of both modalities; row i of every tensor belongs to one sample."""

    embeddings: Tensor  #: ``(M, D)``, modality A
    ref_emb: Tensor  #: ``(M, D)``, modality B
    input_emb: Tensor  #: ``(M, E_a)``, raw features of modality A
    ref_input_emb: Tensor  #: ``(M, E_b)``, raw features of modality B
    labels: Tensor  #: ``(M,)`` integers, instance ids
    is_filled: Tensor | None = None  #: ``(M,)`` bool, the rows that count; all by default

    @property
    def modalities(self) -> tuple[Modality, Modality]:
        return Modality(self.embeddings, self.input_emb), Modality(self.ref_emb, self.ref_input_emb)

    @classmethod
    def of_batch(
        cls,
        embeddings: Tensor,
        ref_emb: Tensor,
        input_emb: Tensor | None,
        ref_input_emb: Tensor | None,
        labels: Tensor | None,
    ) -> CrossModalSamples:
        """Return a batch whose raw features are checked; embeddings stand in for them, row numbers for labels."""
        if labels is None:
            labels = torch.arange(len(embeddings), device=embeddings.device)
        if input_emb is None and ref_input_emb is None:
            return cls(embeddings, ref_emb, embeddings, ref_emb, labels)
        if input_emb is None or ref_input_emb is None:
            given = "ref_input_emb" if input_emb is None else "input_emb"
            raise ValueError(f"input_emb and ref_input_emb must be given both or none, got {given} alone")
        for name, rows in (("input_emb", input_emb), ("ref_input_emb", ref_input_emb)):
            check_embeddings(rows, name=name)
            check_rows(rows, embeddings, name)
        device = embeddings.device
        return cls(embeddings, ref_emb, input_emb.to(device), ref_input_emb.to(device), labels)

    def fitted_to(self, batch: CrossModalSamples) -> CrossModalSamples:
        """Return these samples, checked, in the number format and on the device of a batch."""
        pool, device = self, batch.embeddings.device
        for name in ("embeddings", "ref_emb", "input_emb", "ref_input_emb"):
            check_embeddings(getattr(pool, name), getattr(batch, name).shape[1], name=f"pool.{name}")
            check_rows(getattr(pool, name), pool.labels, f"pool.{name}", "pool.labels")
        return CrossModalSamples(
            pool.embeddings.to(batch.embeddings),
            pool.ref_emb.to(batch.embeddings),
            pool.input_emb.to(device),
            pool.ref_input_emb.to(device),
            check_labels(pool.labels, name="pool.labels").to(device),
            None if pool.is_filled is None else pool.is_filled.to(device),
        )


def check_same_ids(labels: Tensor | None, ref_labels: Tensor | None) -> None:
    """Raise ValueError if the second view has other labels than the first; a compiled graph does not look."""
    if ref_labels is None or ref_labels is labels or torch.compiler.is_compiling():
        return
    if labels is None or not torch.equal(labels, ref_labels.to(labels.device)):
        came = "labels=None" if labels is None else "others"
        raise ValueError(f"ref_labels must be the labels: row i of both views is one sample, got {came}")
