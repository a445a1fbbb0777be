"""Losses of this package and of PML in the trainer of sentence-transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn

from pml_proxyext.utils.checks import import_optional

__all__ = ["SentenceTransformerLoss"]


class SentenceTransformerLoss(nn.Module):
    """Any metric loss as a loss of ``SentenceTransformerTrainer``, which trains the loss's own parameters, too.

    Args:
        model: a ``SentenceTransformer``.
        loss: a loss called as those of PML: for two columns of sentences one that takes ``ref_emb``, as
            :class:`~pml_proxyext.losses.PairSupConLoss` and :class:`~pml_proxyext.losses.CrossCLRLoss` do; for one
            column any other.

    Inputs:
        A data set of columns ``(sentence, label)`` or ``(sentence1, sentence2, label)``. The label belongs to the row,
        that is to both sentences; losses that need none do without the last column.

    Raises:
        ImportError: without sentence-transformers, the extra ``text``.
        ValueError: if ``model`` is no SentenceTransformer, or the data set has other than one or two columns of
            sentences; and what the loss raises.

    Recommendations:
        Give the training arguments ``learning_rate_mapping=loss.learning_rate_mapping(learning_rate)``, or heads and
        proxies learn at the small rate of the network. The trainer's checkpoints hold the network alone: to resume,
        save ``loss.loss.state_dict()`` yourself.

    Example:
        >>> from sentence_transformers import SentenceTransformer  # doctest: +SKIP
        >>> from pml_proxyext.losses import PairSupConLoss
        >>> model = SentenceTransformer("bert-base-uncased")  # doctest: +SKIP
        >>> loss = SentenceTransformerLoss(model, PairSupConLoss(embedding_size=768))  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, loss: BaseMetricLossFunction) -> None:
        super().__init__()
        transformer = import_optional("sentence_transformers", "text").SentenceTransformer
        if not isinstance(model, transformer):
            raise ValueError(f"model must be a SentenceTransformer, got {type(model).__name__}")
        self.model, self.loss = model, loss

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch as the trainer gives it: the tokens of each column, and the labels of its rows."""
        columns = [self.model(features)["sentence_embedding"] for features in sentence_features]
        if len(columns) == 1:
            return self.loss(columns[0], labels)
        if len(columns) == 2:
            # PML takes the same tensor in both places for one batch against itself.
            ref_labels = None if labels is None else labels.clone()
            return self.loss(columns[0], labels, ref_emb=columns[1], ref_labels=ref_labels)
        raise ValueError(f"the data set must have one or two columns of sentences, got {len(columns)}")

    def learning_rate_mapping(self, lr: float) -> dict[str, float]:
        """Return the trainer's argument of this name, which gives the loss's parameters their own learning rates.

        Args:
            lr: the learning rate of the network.
        """
        names = {id(parameter): name for name, parameter in self.loss.named_parameters()}
        groups = self.loss.param_groups(lr) if names else []
        return {
            # The trainer searches for these patterns in its own names, which begin with the data set if it has several.
            rf"(^|\.)loss\.{re.escape(names[id(parameter)])}$": group["lr"]
            for group in groups
            for parameter in group["params"]
        }

    def get_config_dict(self) -> dict[str, Any]:
        """Return what the trainer writes into the model card."""
        return {"loss": repr(self.loss)}
