"""The distance against a loop, against probabilities, against counted bits, and in PML's losses and miners."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.models import binarize

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])


def codes_of(n: int, bits: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return codes as a DBE layer gives them: many exact zeros, and some exact ones."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(n, bits, generator=generator, dtype=torch.float64) * 2 - 0.5
    return codes.clamp(0, 1).to(dtype)


def by_loop(query: Tensor, ref: Tensor) -> Tensor:
    rows = [
        [math.fsum(x + y - 2 * x * y for x, y in zip(a, b, strict=True)) / len(a) for b in ref.tolist()]
        for a in query.tolist()
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("bits", [1, 7, 64])
def test_matrix_and_pairs_match_a_loop_of_the_definition(bits):
    query, ref = codes_of(3, bits), codes_of(4, bits, seed=1)
    expected = by_loop(query, ref)
    mat = SoftHammingDistance()(query, ref)
    assert mat.shape == (3, 4)
    torch.testing.assert_close(mat, expected, rtol=1e-13, atol=1e-15)
    pairs = SoftHammingDistance().pairwise_distance(query, ref[:3])
    torch.testing.assert_close(pairs, expected.diagonal(), rtol=1e-13, atol=1e-15)


def test_it_is_the_expected_distance_of_random_bits():
    query, ref = codes_of(1, 3, seed=2), codes_of(1, 3, seed=3)
    expected = 0.0
    for bits in itertools.product([0, 1], repeat=6):
        probabilities = [p if bit else 1 - p for bit, p in zip(bits, [*query[0], *ref[0]], strict=True)]
        differing = sum(x != y for x, y in zip(bits[:3], bits[3:], strict=True))
        expected += math.prod(probabilities) * differing / 3
    torch.testing.assert_close(SoftHammingDistance()(query, ref)[0, 0], torch.as_tensor(expected))


def test_on_bits_it_is_the_count_of_those_that_differ_exactly():
    bits = binarize(codes_of(20, 48, dtype=torch.float32))
    numbers = [int("".join(str(int(bit)) for bit in row), 2) for row in bits.tolist()]
    counted = torch.tensor([[(a ^ b).bit_count() for b in numbers] for a in numbers], dtype=torch.float32)
    assert torch.equal(SoftHammingDistance()(bits), counted / 48)


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_invariances_and_inequalities(bits, seed):
    distance = SoftHammingDistance()
    codes, others, generator = codes_of(5, bits, seed), codes_of(5, bits, seed + 1), torch.Generator().manual_seed(seed)
    mat = distance(codes, others)
    assert (mat >= 0).all()
    assert (mat <= 1 + 1e-12).all()
    torch.testing.assert_close(mat, distance(others, codes).T)
    flips = torch.rand(bits, generator=generator) < 0.5
    flipped = [torch.where(flips, 1 - part, part) for part in (codes, others)]
    torch.testing.assert_close(distance(*flipped), mat)
    order = torch.randperm(bits, generator=generator)
    torch.testing.assert_close(distance(codes[:, order], others[:, order]), mat)
    torch.testing.assert_close(distance((codes + others) / 2, others), (mat + distance(others)) / 2)  # linear
    differences = (codes[:, None] - others).abs()  # (5, 5, bits)
    assert (mat >= differences.mean(-1) - 1e-12).all()
    cut = distance(binarize(codes), binarize(others))
    assert (cut <= 2 * mat + 1e-12).all()
    through = mat[:, :, None] + distance(others)[None]  # (5, 5, 5), over others[j]
    assert (mat[:, None] <= through + 1e-12).all()


def test_it_is_never_negative_and_precise_where_codes_are_near():
    """In float32 the sum of norms minus twice the product would be off by 1e-7, and below zero at times."""
    codes = codes_of(8, 512, dtype=torch.float32).round()
    near = (codes - 1e-9).clamp(0, 1) + (1 - codes) * 1e-9
    mat = SoftHammingDistance()(near, codes)
    expected = by_loop(near, codes)
    torch.testing.assert_close(mat.double(), expected, rtol=1e-5, atol=0)


def test_gradients_pass_gradcheck_inside_and_at_zeros_they_are_those_of_the_formula():
    inside = [codes_of(3, 6, seed).clamp(0.1, 0.9).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(SoftHammingDistance(), inside)
    assert torch.autograd.gradcheck(SoftHammingDistance().pairwise_distance, inside)
    zeros, ref = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True), codes_of(1, 4, seed=5)
    for function in (SoftHammingDistance(), SoftHammingDistance().pairwise_distance):
        (gradient,) = torch.autograd.grad(function(zeros, ref).sum(), zeros)
        torch.testing.assert_close(gradient, (1 - 2 * ref) / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    codes = codes_of(6, 300, dtype=dtype).requires_grad_()
    mat = SoftHammingDistance()(codes)
    assert mat.dtype == torch.float32
    torch.testing.assert_close(mat.double(), by_loop(codes, codes), rtol=1e-5, atol=1e-6)
    mat.sum().backward()
    assert codes.grad.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(SoftHammingDistance()(codes), mat)


PAIR_LOSSES = {
    "NTXent": lambda distance: losses.NTXentLoss(temperature=0.1, distance=distance),
    "Contrastive": lambda distance: losses.ContrastiveLoss(0.0, 0.5, distance=distance, reducer=MeanReducer()),
    "TripletMargin": lambda distance: losses.TripletMarginLoss(margin=0.3, distance=distance),
    "Margin": lambda distance: losses.MarginLoss(margin=0.1, beta=0.3, distance=distance),
    "MultiSimilarity": lambda distance: losses.MultiSimilarityLoss(alpha=2, beta=4, base=0.3, distance=distance),
    "LiftedStructure": lambda distance: losses.LiftedStructureLoss(neg_margin=0.5, distance=distance),
    "NCA": lambda distance: losses.NCALoss(softmax_scale=5, distance=distance),
    "SupCon": lambda distance: losses.SupConLoss(temperature=0.1, distance=distance),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_pair_losses_of_pml_learn_with_it(name, dtype):
    loss_func = PAIR_LOSSES[name](SoftHammingDistance())
    codes = codes_of(8, 16, seed=3, dtype=dtype).requires_grad_()
    loss = loss_func(codes, LABELS)
    (gradient,) = torch.autograd.grad(loss, codes)
    assert loss.item() > 0
    assert gradient.isfinite().all()
    step = 0.05 * gradient / gradient.norm()
    nearer, further = (codes - step).detach().clamp(0, 1), (codes + step).detach().clamp(0, 1)
    assert loss_func(nearer, LABELS) < loss_func(further, LABELS)


def test_contrastive_loss_and_miners_of_pml_choose_by_it():
    codes = codes_of(8, 16, seed=3)
    mat = by_loop(codes, codes)
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j]
    pos = [mat[i, j] for i, j in pairs if LABELS[i] == LABELS[j]]
    neg = [max(0.5 - mat[i, j], 0.0) for i, j in pairs if LABELS[i] != LABELS[j]]
    value = losses.ContrastiveLoss(0.0, 0.5, distance=SoftHammingDistance(), reducer=MeanReducer())(codes, LABELS)
    assert value.item() == pytest.approx(float(sum(pos) / len(pos) + sum(neg) / len(neg)), rel=1e-12)
    triplets = miners.TripletMarginMiner(0.1, distance=SoftHammingDistance())(codes, LABELS)
    found = zip(*(part.tolist() for part in triplets), strict=True)
    by_hand = {
        (a, p, n)
        for a, p in pairs
        for n in range(8)
        if LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n] and mat[a, n] - mat[a, p] <= 0.1
    }
    assert set(found) == by_hand


def test_power_odd_batches_and_nan():
    query, ref = codes_of(3, 6), codes_of(5, 6, seed=1)
    torch.testing.assert_close(SoftHammingDistance(power=2)(query, ref), SoftHammingDistance()(query, ref) ** 2)
    assert SoftHammingDistance()(query[:0], ref).shape == (0, 5)
    assert SoftHammingDistance()(query[:1]).shape == (1, 1)
    query[0, 0] = math.nan
    assert SoftHammingDistance()(query, ref).isnan().all(1).tolist() == [True, False, False]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"normalize_embeddings must be False, got True, which is not supported"):
        SoftHammingDistance(normalize_embeddings=True)
    with pytest.raises(ValueError, match=r"ref_emb must have embedding_size 3, got shape \(2, 4\)"):
        SoftHammingDistance()(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"query_emb must be floating point"):
        SoftHammingDistance()(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"query_emb must lie in \[0, 1\], got values from -1 to 1"):
        SoftHammingDistance()(torch.tensor([[-1.0, 1.0]]))
    with pytest.raises(ValueError, match=r"ref_emb must lie in \[0, 1\], got values from 0 to 1.5"):
        SoftHammingDistance().pairwise_distance(torch.zeros(1, 2), torch.tensor([[0.0, 1.5]]))


def test_compiles_into_one_graph():
    codes = codes_of(4, 32, dtype=torch.float32)
    compiled = torch.compile(SoftHammingDistance().compute_mat, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(codes, codes), SoftHammingDistance()(codes))
