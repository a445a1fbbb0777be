"""The search against stored distances, a sort, PML's of the same bits as floats, and chance where all is a tie."""

from __future__ import annotations

import json
import math
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import FaissKNN, InferenceModel
from torch import Tensor

from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.models import DBELayer
from pml_proxyext.testers import HammingKNN

CASES = json.loads((Path(__file__).parents[1] / "golden" / "dcvh.json").read_text())["cases"]
CPU = torch.device("cpu")


def codes_of(n: int, bits: int, seed: int = 0) -> Tensor:
    return torch.rand(n, bits, generator=torch.Generator().manual_seed(seed))


def calculator(knn_func: object, **kwargs: object) -> AccuracyCalculator:
    return AccuracyCalculator(include=("mean_average_precision",), knn_func=knn_func, device=CPU, **kwargs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_distances_and_bytes_are_the_stored_ones(case):
    stored = case["dbe"]
    codes, hamming = torch.tensor(stored["z_train_mode"]), torch.tensor(stored["hamming"])
    knn = HammingKNN()
    distances, indices = knn(codes, len(codes), codes)
    assert torch.equal(distances.long(), hamming.sort(1).values)
    assert torch.equal(hamming.gather(1, indices), distances.long())
    knn.train(codes)
    index, order, _ = knn._trained
    vectors = faiss.vector_to_array(index.xb).reshape(len(codes), -1)
    packed = np.empty_like(vectors)
    packed[order.numpy()] = vectors
    assert packed.tolist() == stored["packed_big_endian"]


@given(st.integers(1, 20), st.integers(1, 25), st.integers(1, 70), st.data())
def test_neighbours_are_those_of_a_sort(n, m, bits, data):
    """Widths that fill no whole number of bytes included."""
    k, seed = data.draw(st.integers(1, m)), data.draw(st.integers(0, 10_000))
    query, reference = codes_of(n, bits, seed), codes_of(m, bits, seed + 1)
    distances, indices = HammingKNN()(query, k, reference)
    every = ((query > 0.5)[:, None] != (reference > 0.5)).sum(2)
    assert torch.equal(distances.long(), every.sort(1).values[:, :k])
    assert torch.equal(every.gather(1, indices), distances.long())
    assert all(len(set(row)) == k for row in indices.tolist())


def test_more_rows_than_are_packed_at_once():
    reference = codes_of(40_000, 9)
    query = torch.cat([reference[:3], reference[20_000:20_003], reference[-3:]])
    distances, indices = HammingKNN()(query, 5, reference)
    assert torch.equal(reference[indices] > 0.5, (query > 0.5)[:, None].expand(-1, 5, -1))
    assert not distances.any()


@given(st.integers(2, 20), st.integers(1, 70), st.data())
def test_no_row_finds_itself(n, bits, data):
    k, seed = data.draw(st.integers(1, n - 1)), data.draw(st.integers(0, 10_000))
    codes = codes_of(n, bits, seed)
    distances, indices = HammingKNN()(codes, k, codes, ref_includes_query=True)
    assert indices.shape == (n, k)
    assert not (indices == torch.arange(n)[:, None]).any()
    every = ((codes > 0.5)[:, None] != (codes > 0.5)).sum(2).fill_diagonal_(bits + 1)
    assert torch.equal(distances.long(), every.sort(1).values[:, :k])


def test_distances_are_the_bits_of_the_soft_distance():
    bits = (codes_of(9, 20) > 0.5).float()
    distances, indices = HammingKNN()(bits, 9, bits)
    torch.testing.assert_close(distances / 20, SoftHammingDistance()(bits).gather(1, indices))


def test_without_ties_accuracies_are_those_of_faiss_on_floats():
    """Rows of 0 to 15 ones have no ties; the squared Euclidean distance of bits is their Hamming distance."""
    reference = torch.tril(torch.ones(16, 15), -1)[torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    query, labels = torch.cat([torch.zeros(1, 15), torch.ones(1, 15)]), torch.arange(16) % 3
    arguments = (query, torch.tensor([0, 1]), reference, labels)
    expected = calculator(FaissKNN()).get_accuracy(*arguments)
    assert calculator(HammingKNN()).get_accuracy(*arguments) == expected
    assert 0 < expected["mean_average_precision"] < 1


def expected_average_precision(relevant: int, total: int) -> float:
    """Return the mean average precision over all orders: the sum over places of E[hit] E[precision | hit]."""
    places = range(1, total + 1)
    precisions = [(1 + (j - 1) * (relevant - 1) / (total - 1)) / j for j in places]
    return sum(relevant / total * precision for precision in precisions) / relevant


def plain_search(query: Tensor, k: int, reference: Tensor, ref_includes_query: bool) -> tuple[Tensor, Tensor]:
    """Return the neighbours as faiss finds them in the order of the reference, here without a query in it."""
    index = faiss.IndexBinaryFlat(8)
    index.add(np.packbits(reference.numpy() > 0.5, axis=1))
    distances, indices = index.search(np.packbits(query.numpy() > 0.5, axis=1), k)
    return torch.from_numpy(distances), torch.from_numpy(indices)


def test_ties_are_fair_whatever_the_order_of_the_reference():
    """All codes are equal; what faiss finds by itself is far from chance.

    The mean over 60 shuffles is within five of its standard errors, estimated from the same values, but for 1 of
    100,000 choices of the 60 seeds.
    """
    labels = torch.arange(4).repeat_interleave(50)
    codes = torch.ones(200, 8)
    one_class = (codes[:50], labels[:50], codes, labels)
    chance = expected_average_precision(50, 200)
    plain = calculator(plain_search).get_accuracy(*one_class)["mean_average_precision"]
    assert plain == pytest.approx(1.0)  # class 0 stands first
    values = torch.tensor(
        [calculator(HammingKNN(seed=seed)).get_accuracy(*one_class)["mean_average_precision"] for seed in range(60)]
    )
    assert values.mean().item() == pytest.approx(chance, abs=5 * values.std().item() / math.sqrt(60))
    assert values.std() < 0.05


def test_among_themselves_equal_codes_score_chance_too():
    """Every code is a query among the others; sorted by class, faiss alone would give 0.41.

    As above, with 30 shuffles: 1 of 30,000.
    """
    labels = torch.arange(4).repeat_interleave(50)
    codes = torch.ones(200, 8)
    values = torch.tensor(
        [calculator(HammingKNN(seed=seed)).get_accuracy(codes, labels)["mean_average_precision"] for seed in range(30)]
    )
    chance = expected_average_precision(49, 199)
    assert chance == pytest.approx(0.26, abs=0.01)
    assert values.mean().item() == pytest.approx(chance, abs=5 * values.std().item() / math.sqrt(30))
    index = faiss.IndexBinaryFlat(8)
    index.add(np.full((200, 1), 255, dtype=np.uint8))

    def unshuffled(query: Tensor, k: int, reference: Tensor, ref_includes_query: bool) -> tuple[Tensor, Tensor]:
        order = torch.from_numpy(index.search(np.full((200, 1), 255, dtype=np.uint8), k + 1)[1])
        others = order[order != torch.arange(200)[:, None]].view(200, k)
        return torch.zeros_like(others), others

    plain = calculator(unshuffled).get_accuracy(codes, labels)["mean_average_precision"]
    assert plain == pytest.approx(0.41, abs=0.005)


def test_the_same_call_finds_the_same_and_global_randomness_is_left_alone():
    codes = torch.ones(30, 8)
    state = torch.get_rng_state()
    first = HammingKNN(seed=3)(codes, 5, codes)[1]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(HammingKNN(seed=3)(codes, 5, codes)[1], first)
    assert not torch.equal(HammingKNN(seed=4)(codes, 5, codes)[1], first)


def test_the_threshold_cuts_and_is_itself_zero():
    codes = torch.tensor([[0.0, 0.1], [-1.0, 2.0], [3.0, 0.0]])
    distances, _ = HammingKNN(threshold=0.0)(codes[:1], 3, codes)
    assert distances.tolist() == [[0, 0, 2]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_the_types_of_the_results(dtype):
    codes = codes_of(6, 12).to(dtype)
    distances, indices = HammingKNN()(codes, 2, codes)
    assert (distances.dtype, indices.dtype) == (torch.int32, torch.int64)


def test_inference_model_searches_what_it_was_trained_on():
    network = DBELayer(5, 16).eval()
    items = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    model = InferenceModel(network, knn_func=HammingKNN(), normalize_embeddings=False, data_device=CPU)
    model.train_knn(items)
    distances, indices = model.get_nearest_neighbors(items[3:4], k=20)
    codes = network(items) > 0.5
    assert distances[0].tolist() == (codes[3] != codes[indices[0]]).sum(1).tolist()


def test_zero_neighbours_are_found_for_a_calculator_that_asks_for_none():
    """``max_bin_count`` is zero apart from the query itself if no class has two samples."""
    scores = calculator(HammingKNN(), k="max_bin_count").get_accuracy(codes_of(4, 8), torch.arange(4))
    assert math.isnan(scores["mean_average_precision"])
    assert HammingKNN()(codes_of(4, 8), 0, codes_of(5, 8))[1].shape == (4, 0)


def test_normalized_embeddings_are_warned_of_and_codes_are_not():
    unit = torch.nn.functional.normalize(codes_of(4, 16))
    with pytest.warns(UserWarning, match="normalize_embeddings=False"):
        HammingKNN()(unit, 1, unit)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("codes", [codes_of(4, 16), torch.eye(4)])
def test_codes_are_not_warned_of(codes):
    HammingKNN()(codes, 1, codes)
    HammingKNN(threshold=0.0)(torch.nn.functional.normalize(codes - 0.5), 1, codes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 6}, "k must be at most 5, the number of other codes in the reference, got 6"),
        ({"k": 5, "ref_includes_query": True}, "k must be at most 4, .* got 5"),
        ({"k": -1}, "k must be an integer >= 0, got -1"),
        ({"reference": None}, "reference is required unless train was called"),
        ({"query": torch.rand(2, 40)}, r"query must have embedding_size 16, got shape \(2, 40\)"),
        ({"query": torch.rand(2, 15)}, r"query must have embedding_size 16, got shape \(2, 15\)"),
        ({"query": torch.full((2, 16), math.nan)}, "query must not have NaN"),
        ({"reference": torch.full((5, 16), math.nan)}, "reference must not have NaN"),
        ({"query": torch.ones(2, 16, dtype=torch.long)}, "query must be floating point"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HammingKNN()(**{"query": torch.rand(5, 16), "k": 1, "reference": torch.rand(5, 16), **arguments})


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="threshold must be a finite number"):
        HammingKNN(threshold=math.inf)
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        HammingKNN(seed=-1)
