"""Batches of two views in every form that data loaders give them."""

from collections import namedtuple

import pytest
import torch

from pml_proxyext.utils.two_views import TwoViewBatch, is_multi_hot, moved

Tokens = namedtuple("Tokens", ["ids", "mask"])


@pytest.mark.parametrize("batch", [[["a", "b"], "l"], (("a", "b"), "l"), ("a", "b", "l")])
def test_sequences(batch):
    assert TwoViewBatch.of(batch) == TwoViewBatch(data="a", ref_data="b", labels="l")


def test_mappings_may_leave_out_all_but_the_views():
    assert TwoViewBatch.of({"ref_data": "b", "data": "a"}) == TwoViewBatch("a", "b", None, None, None, None)
    everything = {"data": 1, "ref_data": 2, "labels": 3, "ids": 4, "input_emb": 5, "ref_input_emb": 6}
    assert TwoViewBatch.of(everything) == TwoViewBatch(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": 1}, r"must include 'data' and 'ref_data', got \['data'\]"),
        ({"data": 1, "ref_data": 2, "label": 3}, "must be one of .* got 'label'; did you mean 'labels'"),
        (torch.ones(3), "got Tensor; data_and_label_getter can make it one"),
        ((torch.ones(3), torch.ones(3)), "got a sequence of 2"),
        ((1, 2, 3, 4), "got a sequence of 4"),
    ],
)
def test_anything_else_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        TwoViewBatch.of(batch)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.ones(3, 2), True),
        (torch.ones(3, 2, dtype=torch.bool), True),
        (torch.ones(3, 2, dtype=torch.long), False),
        (torch.ones(3), False),
        ([[1.0, 0.0]], False),
    ],
)
def test_multi_hot(labels, expected):
    assert is_multi_hot(labels) is expected


def test_moved_changes_the_dtype_of_real_numbers_only_and_keeps_containers():
    data = {"tokens": Tokens(torch.tensor([1]), torch.tensor([True])), "parts": [torch.ones(1)], "texts": ("a", "b")}
    found = moved(data, "cpu", torch.bfloat16)
    assert found["parts"][0].dtype == torch.bfloat16
    assert isinstance(found["tokens"], Tokens)
    assert (found["tokens"].ids.dtype, found["tokens"].mask.dtype) == (torch.int64, torch.bool)
    assert found["texts"] == ("a", "b")
    assert moved(torch.ones(1), "meta").device.type == "meta"
