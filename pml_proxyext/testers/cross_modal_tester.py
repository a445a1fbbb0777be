"""PML's tester for two modalities, each with its own networks: retrieval from A to B and from B to A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import tqdm
from pytorch_metric_learning.testers import BaseTester
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn

from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.utils.two_views import TwoViewBatch, is_multi_hot, moved

__all__ = ["CrossModalTester"]


class CrossModalTester(BaseTester):
    """Say how well samples of modality A find their partners in modality B, and the other way round.

    ``test(dataset_dict, epoch, trunk_model, embedder_model, ...)`` is PML's, with the networks of modality A; so PML's
    ``HookContainer`` calls it as it is. The networks of modality B belong to the tester. For each score of the
    calculator, ``all_accuracies[split]`` has ``a_to_b_recall_at_1_level0``, ``b_to_a_recall_at_1_level0``, and their
    mean ``recall_at_1_level0``, which ``primary_metric="recall_at_1"`` of the hooks looks at. A query is never its own
    neighbour: it is looked for among the samples of the other modality, of all reference splits together.

    Data sets give batches as for :class:`~pml_proxyext.trainers.CrossModalTrainer`. References with the query's label
    are relevant, or those that share a class with it, for multi-hot labels. Labels may repeat, as the id of a clip with
    several captions; what counts is the first relevant one. Without labels, row i of A and row i of B alone belong
    together. A reference that is in the data several times takes several places.

    Args:
        ref_trunk_model: the trunk of modality B.
        ref_embedder_model: the embedder of modality B, if it has one.
        accuracy_calculator: :class:`~pml_proxyext.testers.RankCalculator` by default; any calculator of PML's will do.
        **kwargs: as PML's ``BaseTester`` takes them.

    Raises:
        ValueError: for batches that do not fit, and for modalities of different width.

    Example:
        >>> from torch.utils.data import StackDataset
        >>> images, texts = torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]
        >>> data = StackDataset(StackDataset(images, texts), torch.arange(4))
        >>> tester = CrossModalTester(nn.Identity(), dataloader_num_workers=0)
        >>> scores = tester.test({"val": data}, 1, nn.Identity())["val"]
        >>> scores["a_to_b_recall_at_1_level0"], scores["recall_at_5_level0"]
        (0.5, 1.0)
    """

    def __init__(
        self,
        ref_trunk_model: nn.Module,
        ref_embedder_model: nn.Module | None = None,
        accuracy_calculator: AccuracyCalculator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(accuracy_calculator=accuracy_calculator or RankCalculator(), **kwargs)
        self.ref_trunk_model = ref_trunk_model
        self.ref_embedder_model = nn.Identity() if ref_embedder_model is None else ref_embedder_model
        self._next_id = 0

    def get_all_embeddings_for_all_splits(self, *args: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """Count rows without labels through all splits, so that those of two splits never belong together."""
        self._next_id = 0
        return super().get_all_embeddings_for_all_splits(*args)

    @torch.no_grad()
    def compute_all_embeddings(
        self, dataloader: Any, trunk_model: nn.Module, embedder_model: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings of all samples of modality A, then of all of modality B, and the labels of both."""
        self.ref_trunk_model.eval()
        self.ref_embedder_model.eval()
        columns: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for data in tqdm.tqdm(dataloader):
            batch = TwoViewBatch.of(self.data_and_label_getter(data))
            a = self.get_embeddings_for_eval(trunk_model, embedder_model, batch.data)
            b = self.get_embeddings_for_eval(self.ref_trunk_model, self.ref_embedder_model, batch.ref_data)
            labels = self._own_ids(a) if batch.labels is None else self._processed(batch.labels)
            if a.shape != b.shape or len(a) != len(labels):
                raise ValueError(
                    "both views must have embeddings of one shape, and labels as many rows, got shapes "
                    f"{tuple(a.shape)}, {tuple(b.shape)} and {tuple(labels.shape)}"
                )
            for column, part in zip(columns, (a, b, labels), strict=True):
                column.append(part)
        a, b, labels = (torch.cat(column).to(self.data_device) for column in columns)
        return torch.cat([a, b]), torch.cat([labels, labels])

    def get_embeddings_for_eval(self, trunk_model: nn.Module, embedder_model: nn.Module, input_imgs: Any) -> Tensor:
        trunk_output = trunk_model(moved(input_imgs, self.data_device, self.dtype))
        return trunk_output if self.use_trunk_output else embedder_model(trunk_output)

    def _own_ids(self, rows: Tensor) -> Tensor:
        self._next_id += len(rows)
        return torch.arange(self._next_id - len(rows), self._next_id)[:, None]

    def _processed(self, labels: Any) -> Tensor:
        """Return booleans ``(N, C)`` for multi-hot labels, and a column for each level for PML's."""
        if is_multi_hot(labels):
            return labels != 0
        processed = c_f.process_label(labels, "all", self.label_mapper)
        return processed[:, None] if processed.ndim == 1 else processed

    def label_levels_to_evaluate(self, query_labels: Tensor) -> Sequence[int]:
        return [0] if is_multi_hot(query_labels) else super().label_levels_to_evaluate(query_labels)

    def do_knn_and_accuracies(
        self,
        accuracies: dict[str, float],
        embeddings_and_labels: Mapping[str, tuple[Tensor, Tensor]],
        query_split_name: str,
        reference_split_names: Sequence[str],
    ) -> None:
        """Add the scores of both directions, and their mean."""
        queries = _views(embeddings_and_labels[query_split_name])
        references = [_views(embeddings_and_labels[name]) for name in reference_split_names]
        query_labels = queries[2]
        reference_labels = torch.cat([labels for *_, labels in references])
        self.label_levels = self.label_levels_to_evaluate(query_labels)
        for level in self.label_levels:
            labels, among = (
                part if is_multi_hot(part) else part[:, level] for part in (query_labels, reference_labels)
            )
            directions = [
                self.accuracy_calculator.get_accuracy(
                    queries[view], labels, torch.cat([reference[1 - view] for reference in references]), among, False
                )
                for view in (0, 1)
            ]
            for metric, a_to_b in directions[0].items():
                b_to_a = directions[1][metric]
                for name, score in (("a_to_b_", a_to_b), ("b_to_a_", b_to_a), ("", (a_to_b + b_to_a) / 2)):
                    accuracies[self.accuracies_keyname(f"{name}{metric}", label_hierarchy_level=level)] = score
        if len(self.label_levels) > 1:
            metrics = [f"{name}{metric}" for name in ("a_to_b_", "b_to_a_", "") for metric in directions[0]]
            self.calculate_average_accuracies(accuracies, metrics, self.label_levels)


def _views(embeddings_and_labels: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the embeddings of A, those of B, and the labels of either."""
    embeddings, labels = embeddings_and_labels
    a, b = embeddings.chunk(2)
    return a, b, labels[: len(a)]
