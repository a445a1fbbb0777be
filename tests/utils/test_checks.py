from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.utils.checks import (
    check_choice,
    check_embeddings,
    check_finite,
    check_integer,
    check_labels,
    check_multi_hot,
    check_number,
    check_rows,
    check_unit_interval,
    import_optional,
)


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0])
def test_check_number_returns_a_float(value):
    number = check_number("margin", value, low=0.0, high=1.0)
    assert number == value
    assert isinstance(number, float)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (-1e-9, {"low": 0.0}, "margin must be a finite number >= 0, got -1e-09"),
        (0.0, {"low": 0.0, "open_low": True}, "margin must be a finite number > 0, got 0.0"),
        (2, {"high": 1.0}, "margin must be a finite number <= 1, got 2"),
        (2, {"low": -1.0, "high": 1.0}, "margin must be a finite number >= -1 and <= 1, got 2"),
        (math.nan, {}, "margin must be a finite number, got nan"),
        (math.inf, {}, "margin must be a finite number, got inf"),
        (True, {}, "margin must be a finite number, got True"),
        ("1", {}, "margin must be a finite number, got '1'"),
        (None, {}, "margin must be a finite number, got None"),
    ],
)
def test_check_number_names_the_argument_what_came_and_what_is_allowed(value, bounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_number("margin", value, **bounds)


def test_check_integer():
    assert check_integer("n", 1) == 1
    assert check_integer("n", 0, low=0) == 0
    for value in (0, -3, 1.0, True, "2", None):
        with pytest.raises(ValueError, match=f"^n must be an integer >= 1, got {value!r}$"):
            check_integer("n", value)


def test_check_choice_suggests_the_nearest():
    assert check_choice("mode", "fast", ["fast", "slow"]) == "fast"
    with pytest.raises(ValueError, match=r"^mode must be one of 'fast', 'slow', got 'fats'; did you mean 'fast'\?$"):
        check_choice("mode", "fats", ["fast", "slow"])
    with pytest.raises(ValueError, match=r"^mode must be one of 'fast', 'slow', got 'zzz'$"):
        check_choice("mode", "zzz", (word for word in ("fast", "slow")))


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (torch.ones(3), r"x must have shape \(N, embedding_size\), got shape \(3,\)"),
        (torch.ones(2, 3, 4), r"x must have shape \(N, embedding_size\), got shape \(2, 3, 4\)"),
        (torch.ones(2, 4, dtype=torch.long), "x must be floating point, got torch.int64"),
        (torch.ones(2, 3), r"x must have embedding_size 4, got shape \(2, 3\)"),
    ],
)
def test_check_embeddings_refuses(embeddings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_embeddings(embeddings, 4, name="x")


def test_check_embeddings_returns_what_came():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        embeddings = torch.ones(0, 4, dtype=dtype)
        assert check_embeddings(embeddings, 4) is embeddings
        assert check_embeddings(embeddings) is embeddings


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_check_labels_accepts_every_integer_type(dtype):
    labels = check_labels(torch.tensor([0, 4], dtype=dtype), 5)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 4]
    assert check_labels(torch.tensor([], dtype=dtype), 5).shape == (0,)
    assert check_labels(torch.tensor([100], dtype=dtype)).item() == 100


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 5], r"labels must lie in \[0, 5\), got values from 0 to 5; map class ids to 0..4 first"),
        ([-100, 1], r"labels must lie in \[0, 5\), got values from -100 to 1; map class ids to 0..4 first"),
        ([0.0, 1.0], "labels must be integers, got torch.float32"),
        ([True, False], "labels must be integers, got torch.bool"),
        ([1j], "labels must be integers, got torch.complex64"),
    ],
)
def test_check_labels_refuses(labels, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_labels(torch.tensor(labels), 5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_check_multi_hot_accepts_zeros_and_ones_of_every_type(dtype):
    labels = torch.tensor([[0, 1, 1], [0, 0, 0]]).to(dtype)
    assert check_multi_hot(labels, 3) is labels
    assert check_multi_hot(labels[:0], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1]), r"labels must be multi-hot of shape \(N, 3\), got shape \(2,\)"),
        (torch.zeros(2, 4), r"labels must be multi-hot of shape \(N, 3\), got shape \(2, 4\)"),
        (torch.tensor([[0, 1, 2]]), "labels must be 0 or 1 for every class, got values from 0 to 2"),
        (torch.tensor([[0, 0.5, 1]]), "labels must be 0 or 1 for every class, got values from 0 to 1"),
        (torch.tensor([[0, math.nan, 1]]), "labels must be 0 or 1 for every class, got values from nan to nan"),
    ],
)
def test_check_multi_hot_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        check_multi_hot(labels, 3)


@pytest.mark.parametrize("values", [[0.0, 1.0], [math.nan, 0.5], []])
def test_check_unit_interval_accepts_its_ends_and_nan(values):
    tensor = torch.tensor(values)
    assert check_unit_interval(tensor) is tensor


@pytest.mark.parametrize("values", [[-1e-6, 0.5], [0.5, 1.1], [math.nan, 2.0], [math.inf]])
def test_check_unit_interval_refuses(values):
    with pytest.raises(ValueError, match=r"codes must lie in \[0, 1\], got values from "):
        check_unit_interval(torch.tensor(values), "codes")


def test_check_rows_counts_rows_only():
    rows = torch.zeros(4, 2)
    assert check_rows(rows, torch.zeros(4, 7, 3), "input_emb") is rows
    with pytest.raises(
        ValueError, match=r"^input_emb must have one row for each row of pool, got .*\(4, 2\) and \(2, 4\)$"
    ):
        check_rows(rows, rows.T, "input_emb", "pool")


def test_check_finite_counts_what_is_not():
    points = torch.tensor([[1.0, 2.0], [math.nan, -math.inf]])
    with pytest.raises(ValueError, match=r"^points must be finite, got NaN or infinity in 2 of 4 values$"):
        check_finite(points, "points")
    assert check_finite(points[:1], "points").equal(points[:1])
    assert check_finite(torch.arange(3), "points").tolist() == [0, 1, 2]


def test_check_labels_compiles_without_graph_breaks():
    torch.compiler.reset()
    compiled = torch.compile(lambda labels: check_labels(labels, 5) + 1, fullgraph=True, backend="aot_eager")
    assert compiled(torch.tensor([0, 4])).tolist() == [1, 5]


def test_import_optional_names_the_extra():
    assert import_optional("math", "vision") is math
    with pytest.raises(ImportError, match=r"needs 'no_such_module'; install .* 'pml-proxyext\[vision\]'"):
        import_optional("no_such_module", "vision")
