from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.utils import pair_labels


@given(y=st.lists(st.integers(0, 3), max_size=12), entailment_label=st.integers(0, 3))
def test_members_share_a_label_exactly_in_positive_pairs(y, entailment_label):
    count = len(y)
    labels = pair_labels(torch.tensor(y, dtype=torch.long), entailment_label).tolist()
    assert len(labels) == 2 * count
    for i in range(2 * count):
        for j in range(2 * count):
            partners = abs(i - j) == count
            assert (labels[i] == labels[j]) == (i == j or (partners and y[i % count] == entailment_label))
    assert all(0 <= label < 2 * count for label in labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_every_integer_type_gives_int64(dtype):
    labels = pair_labels(torch.tensor([0, 1], dtype=dtype))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([1.0, 0.0]), "^y must be integers, got torch.float32$"),
        (torch.tensor([True, False]), "^y must be integers, got torch.bool$"),
        (torch.tensor([[1, 0]]), r"^y must have shape \(M,\), got shape \(1, 2\)$"),
    ],
)
def test_bad_labels_are_named(y, message):
    with pytest.raises(ValueError, match=message):
        pair_labels(y)
