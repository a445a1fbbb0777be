"""Samples of the classes: who is in them, and what is right in the mean."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
from torch import Tensor

from pml_proxyext.losses import ProxyAnchorLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.testing.subject import seeded
from pml_proxyext.wrappers import ShardedProxies
from pml_proxyext.wrappers.class_sampling import all_classes, sampled_classes

C, D = 20, 4
LABELS = torch.tensor([3, 7, 3, 11])


def numbered(count: int = C) -> list[Tensor]:
    """Return class tensors whose entries are the numbers of the classes."""
    numbers = torch.arange(float(count))
    return [numbers[:, None].expand(count, D), numbers]


def embeddings() -> Tensor:
    return torch.randn(len(LABELS), D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_classes_of_the_batch_are_always_there_and_others_once_at_most() -> None:
    generator = torch.Generator().manual_seed(0)
    columns = torch.tensor([5, -2, 0, 5, 25])  # of five samples, two of whom have their classes on other ranks
    for _ in range(50):
        own, others = sampled_classes(numbered(), columns, 0.4, generator)
        assert own.class_tensors[1].tolist() == [0, 5]
        assert own.columns.tolist() == [1, -1, 0, 1, -1]
        assert others.columns.tolist() == [-1] * 5
        found = others.class_tensors[1].tolist()
        assert len(found) == len(set(found)) == 6  # 0.4 of 20, less the two of the batch
        assert not {0.0, 5.0} & set(found)
        assert (own.weight, others.weight) == (1.0, 3.0)
        for piece in (own, others):
            assert torch.equal(piece.class_tensors[0][:, 0], piece.class_tensors[1])


@pytest.mark.parametrize(
    ("columns", "rate", "sizes"),
    [
        (list(range(C)), 0.1, [C]),  # a batch of all classes
        ([-1, C], 0.1, [2]),  # of none
        ([1, 2, 3, 4], 0.1, [4, 1]),  # of more than the rate allows
        ([1], 1.0, [1, C - 1]),
    ],
)
def test_pieces_have_the_expected_sizes_and_stand_for_all_classes(
    columns: list[int], rate: float, sizes: list[int]
) -> None:
    pieces = sampled_classes(numbered(), torch.tensor(columns), rate, None)
    assert [len(piece.class_tensors[0]) for piece in pieces] == sizes
    assert sum(len(piece.class_tensors[0]) * piece.weight for piece in pieces) == C


def test_all_classes_are_one_piece() -> None:
    (piece,) = all_classes(numbered(), LABELS)
    assert piece.weight == 1.0
    assert piece.columns is LABELS
    assert len(piece.class_tensors[0]) == C


def test_partition_sum_is_right_in_expectation_and_has_the_variance_of_the_draw() -> None:
    """4 samples, 2000 draws: beyond 4.5 standard errors of the mean by chance in 3e-5 of all cases.

    The variance of a mean of k of n without replacement is known, so nothing is estimated. The loss itself is too
    small on average, by Jensen's inequality.
    """
    draws, rate = 2000, 0.4
    with seeded(0):
        sharded = ShardedProxies(lambda count: NormalizedSoftmaxLoss(count, D, temperature=0.5), C, rate).double()
    sharded.generator = torch.Generator().manual_seed(1)
    weights = torch.ones(len(LABELS))
    with torch.no_grad():
        part, batch = sharded.slice, (embeddings(), LABELS, weights, sharded._choose, None)
        losses = torch.stack([part.sample_losses(*batch) for _ in range(draws)])
        logits = sharded.loss.get_logits(embeddings())
    own = logits.gather(1, LABELS[:, None]).squeeze(1)
    sums = (losses + own).exp()  # (draws, N)
    is_other = torch.ones(C, dtype=torch.bool)
    is_other[LABELS] = False
    n, k = 17, 5  # 0.4 of 20, less the three classes of the batch
    variance = logits[:, is_other].exp().var(1) * n**2 / k * (1 - k / n)
    z = (sums.mean(0) - logits.exp().sum(1)) / (variance / draws).sqrt()
    assert z.abs().max() < 4.5
    ratio = sums.var(0) / variance  # the variance of 2000 draws is right to a few percent
    assert ((ratio > 0.8) & (ratio < 1.25)).all()
    assert (losses.mean(0) + 3 * losses.std(0) / math.sqrt(draws) < logits.logsumexp(1) - own).all()


def test_proxy_anchor_and_its_gradient_are_right_in_expectation() -> None:
    """69 means of 600 draws: beyond 5.5 standard errors by chance in 69 x 4e-8 = 3e-6 of all cases.

    The standard errors are estimated, from draws whose values are bounded; 5.5 leaves room for that.
    """
    draws = 600
    with seeded(0):
        sharded = ShardedProxies(lambda count: ProxyAnchorLoss(count, D, alpha=4.0), C, 0.4).double()
    sharded.generator = torch.Generator().manual_seed(2)
    found = []
    for training in [True] * draws + [False]:
        sharded.train(training)
        value = sharded(embeddings(), LABELS)
        (gradient,) = torch.autograd.grad(value, [sharded.loss.proxies])
        found.append(torch.cat([value.detach()[None], gradient.flatten()]))
    sampled, exact = torch.stack(found[:-1]), found[-1]
    deviation = sampled.std(0)
    constant = deviation < 1e-12  # the proxies of the batch's classes
    assert constant.sum() == 3 * D
    torch.testing.assert_close(sampled[0][constant], exact[constant])
    z = (sampled.mean(0) - exact)[~constant] / (deviation[~constant] / math.sqrt(draws))
    assert z.abs().max() < 5.5


def test_sampling_on_two_ranks_is_right_in_expectation() -> None:
    """200 draws of one mean: beyond 5 standard errors by chance in 6e-7 of all cases."""

    def sums(rank: int) -> tuple[Tensor, Tensor]:
        sharded = ShardedProxies(
            lambda count: ProxyAnchorLoss(count, D, alpha=4.0), C, 0.4, generator=torch.Generator().manual_seed(rank)
        ).double()
        rows = slice(2 * rank, 2 * rank + 2)
        with torch.no_grad():
            values = [sharded(embeddings()[rows], LABELS[rows]) for _ in range(200)]
            return torch.stack(values), sharded.eval()(embeddings()[rows], LABELS[rows])

    (values, exact), (same, _) = run_processes(sums)
    assert torch.equal(values, same)
    assert abs(values.mean() - exact) < 5 * values.std() / math.sqrt(200)
    assert values.std() > 0.01 * exact


def test_generator_decides_the_classes_and_torchs_own_stays() -> None:
    before = torch.get_rng_state()
    first, second = (
        sampled_classes(numbered(), LABELS, 0.4, torch.Generator().manual_seed(5))[1].class_tensors[1] for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [True, False])
def test_sampled_classes_in_chunks_are_the_same_classes(training: bool) -> None:
    def evaluate(chunk_size: int | None) -> tuple[Tensor, Tensor]:
        with seeded(0):
            sharded = ShardedProxies(lambda count: ProxyAnchorLoss(count, D), C, 0.5, chunk_size).double()
        sharded.train(training).generator = torch.Generator().manual_seed(3)
        value = sharded(embeddings(), LABELS)
        value.backward()
        return value.detach(), sharded.loss.proxies.grad

    for actual, expected in zip(evaluate(3), evaluate(None), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
