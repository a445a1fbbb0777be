from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices, get_all_triplets_indices

from pml_proxyext.losses.pair_candidates import candidates_of_batch, candidates_of_labels, candidates_of_tuples

LABELS, OTHERS = torch.tensor([3, 1, 3, 1, 2]), torch.tensor([1, 3, 3, 7])


@pytest.mark.parametrize("one_batch", [True, False])
def test_labels_and_pmls_tuples_of_them_are_the_same_candidates(one_batch):
    others = LABELS if one_batch else OTHERS
    mat = torch.empty(len(LABELS), len(others))
    found = candidates_of_labels(LABELS, others, mat, one_batch)
    tuples = get_all_pairs_indices(LABELS, None if one_batch else others)
    for mine, pmls in zip(found, candidates_of_tuples(tuples, mat), strict=True):
        assert torch.equal(mine, pmls)


def test_negatives_of_triplets_count_as_often_as_they_stand_there():
    labels = torch.tensor([0, 0, 0, 1])
    rows, columns, counts = candidates_of_tuples(get_all_triplets_indices(labels), torch.empty(4, 4))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert counts.tolist() == [[0, 0, 0, 2], [0, 0, 0, 2], [0, 0, 0, 2], [0, 0, 0, 0]]


def test_tuples_come_before_labels_and_labels_before_rows():
    mat = torch.empty(2, 2)
    tuples = tuple(torch.tensor([index]) for index in (1, 0, 1, 1))
    labels = torch.tensor([4, 4])
    of_tuples = candidates_of_batch(mat, labels, labels, tuples, is_one_batch=False)
    assert of_tuples[2].tolist() == [[0, 0], [0, 1]]
    assert candidates_of_batch(mat, labels, labels, None, is_one_batch=False)[2].tolist() == [[0, 0], [0, 0]]
    rows, columns, counts = candidates_of_batch(mat, None, None, None, is_one_batch=False)
    assert rows.tolist() == columns.tolist() == [0, 1]
    assert counts.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("shape", "is_one_batch", "came"), [((3, 3), True, "no ref_emb"), ((3, 2), False, "2 rows of it for 3 embeddings")]
)
def test_without_anything_to_tell_partners_from_it_is_refused(shape, is_one_batch, came):
    with pytest.raises(ValueError, match=f"labels, indices_tuple or .* are required, got {came}"):
        candidates_of_batch(torch.empty(shape), None, None, None, is_one_batch)
