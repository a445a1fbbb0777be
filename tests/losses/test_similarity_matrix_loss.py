from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance, SNRDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.losses.similarity_matrix_loss import SimilarityMatrixLoss
from pml_proxyext.wrappers import CrossBatchMemory


class RowSums(SimilarityMatrixLoss):
    def sample_losses(self, embeddings: Tensor, similarities: Tensor, labels: Tensor) -> Tensor:
        assert labels.dtype == torch.int64
        return similarities.sum(1)


def batch(rows: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 4, generator=generator, dtype=torch.float64), torch.arange(rows) % 3


def test_similarities_are_inner_products_as_they_come_unless_another_is_given():
    embeddings, labels = batch()
    torch.testing.assert_close(RowSums()(embeddings, labels.int()), (embeddings @ embeddings.T).sum(1).mean())
    unit = normalize(embeddings)
    value = RowSums(distance=CosineSimilarity())(embeddings, labels)
    torch.testing.assert_close(value, (unit @ unit.T).sum(1).mean())


@pytest.mark.parametrize("distance", [LpDistance(), SNRDistance()])
def test_a_distance_that_grows_with_distance_is_refused(distance):
    with pytest.raises(ValueError, match=rf"distance must be a similarity .* got {type(distance).__name__}"):
        RowSums(distance=distance)


def test_a_miners_tuples_weight_the_samples_as_in_classification_losses():
    embeddings, labels = batch()
    triplets = TripletMarginMiner(margin=0.1)(embeddings, labels)
    weights = lmu.convert_to_weights(triplets, labels, dtype=torch.float64)
    assert len(weights.unique()) > 1
    expected = ((embeddings @ embeddings.T).sum(1) * weights).mean()
    torch.testing.assert_close(RowSums()(embeddings, labels, triplets), expected)


def test_missing_labels_and_a_second_batch_are_refused():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="labels are required"):
        RowSums()(embeddings, indices_tuple=lmu.get_all_pairs_indices(labels))
    with pytest.raises(ValueError, match="ref_emb is not supported"):
        RowSums()(embeddings, labels, ref_emb=embeddings.clone(), ref_labels=labels)
    with pytest.raises(ValueError, match="not supported"):
        CrossBatchMemory(RowSums(), 4)
    CrossBatchMemory(ContrastiveLoss(), 4)
