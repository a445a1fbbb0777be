"""The distances from the simplex against loops, closed forms and symmetries."""

import dataclasses
import math

import pytest
import torch

from pml_proxyext.geometry import classifier_alignment, regular_simplex, simplex_distance

NAMES = ["within_class_variance", "gram_distance", "cosine_std", "largest_deviation"]


def batch(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(17, 6, generator=generator, dtype=dtype)
    return embeddings, torch.randint(5, (17,), generator=generator)


def numbers(distance):
    assert [field.name for field in dataclasses.fields(distance)] == NAMES
    return torch.stack([getattr(distance, name) for name in NAMES])


def looped(embeddings, labels):
    """Compute the four numbers with plain Python."""
    unit = [[x / math.hypot(*row) for x in row] for row in embeddings.tolist()]
    classes = sorted(set(labels.tolist()))
    members = {y: [row for row, label in zip(unit, labels.tolist(), strict=True) if label == y] for y in classes}
    means = {y: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for y, rows in members.items()}
    variance = sum(math.dist(row, means[y]) ** 2 for y in classes for row in members[y]) / len(unit)
    cosines = [
        sum(a * b for a, b in zip(means[y], means[k], strict=True)) / math.hypot(*means[y]) / math.hypot(*means[k])
        for y in classes
        for k in classes
        if y != k
    ]
    mean = sum(cosines) / len(cosines)
    off = [cosine + 1 / (len(classes) - 1) for cosine in cosines]
    return [
        variance,
        math.sqrt(sum(x * x for x in off) / len(off)),
        math.sqrt(sum((cosine - mean) ** 2 for cosine in cosines) / len(cosines)),
        max(map(abs, off)),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_loops(seed):
    embeddings, labels = batch(seed)
    expected = torch.tensor(looped(embeddings, labels), dtype=torch.float64)
    torch.testing.assert_close(numbers(simplex_distance(embeddings, labels)), expected, rtol=1e-12, atol=1e-14)


def test_collapsed_classes_on_a_simplex_are_at_distance_zero():
    labels = torch.tensor([0, 1, 1, 2, 3, 3, 3])
    embeddings = regular_simplex(4, 8, dtype=torch.float64)[labels] * torch.arange(1.0, 8.0).double()[:, None]
    assert numbers(simplex_distance(embeddings, labels)).max() < 1e-14


def test_orthogonal_classes_have_the_closed_form():
    found = numbers(simplex_distance(torch.eye(3, dtype=torch.float64), torch.arange(3)))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 0.0, 0.5], dtype=torch.float64))


def test_opposite_members_have_the_variance_of_their_length():
    embeddings = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
    assert simplex_distance(embeddings, torch.tensor([4, 4, 9])).within_class_variance == pytest.approx(2 / 3)


def test_rotations_scales_orders_and_names_of_classes_do_not_matter():
    embeddings, labels = batch()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    order = torch.randperm(17, generator=torch.Generator().manual_seed(2))
    names = torch.tensor([7, -3, 10**12, 0, 5])
    moved = simplex_distance((embeddings @ rotation * 3)[order], names[labels][order])
    torch.testing.assert_close(numbers(moved), numbers(simplex_distance(embeddings, labels)))
    small = labels.to(torch.uint8)
    assert torch.equal(numbers(simplex_distance(embeddings, small)), numbers(simplex_distance(embeddings, labels)))


def test_half_precision_is_computed_in_float32():
    embeddings, labels = batch(dtype=torch.bfloat16)
    found = numbers(simplex_distance(embeddings, labels))
    assert found.dtype == torch.float32
    assert torch.equal(found, numbers(simplex_distance(embeddings.float(), labels)))


def test_nan_stays_visible_and_no_graph_is_kept():
    embeddings, labels = batch()
    embeddings.requires_grad_()
    assert not numbers(simplex_distance(embeddings, labels)).requires_grad
    with torch.no_grad():
        embeddings[3] = float("nan")
    assert numbers(simplex_distance(embeddings, labels)).isnan().all()


def test_zero_vectors_give_finite_numbers():
    assert numbers(simplex_distance(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]))).isfinite().all()


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(3, 2), torch.zeros(3, dtype=torch.long), "labels must name two classes or more, got 1 in 3 labels"),
        (torch.ones(0, 2), torch.zeros(0, dtype=torch.long), "labels must name two classes or more, got 0 in 0 labels"),
        (torch.ones(3, 2), torch.tensor([0, 1]), r"labels must have shape \(3,\), got \(2,\)"),
        (torch.ones(3, 2), torch.tensor([0.0, 1.0, 1.0]), "labels must be integers, got torch.float32"),
        (torch.ones(3), torch.tensor([0, 1, 1]), r"embeddings must have shape \(N, embedding_size\), got shape \(3,\)"),
    ],
)
def test_unfit_batches_are_refused(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        simplex_distance(embeddings, labels)


def test_classifier_alignment_is_that_of_a_loop():
    embeddings, labels = batch(3)
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    centred = weights - weights.sum(0) / 6
    expected = []
    for y in sorted(set(labels.tolist())):
        mean = sum(z for z, label in zip(embeddings, labels.tolist(), strict=True) if label == y)
        expected.append(torch.dot(centred[y], mean) / centred[y].norm() / mean.norm())
    torch.testing.assert_close(classifier_alignment(embeddings, labels, weights), torch.stack(expected))


def test_classifier_alignment_is_one_on_a_simplex_and_ignores_a_common_vector():
    simplex = regular_simplex(5, 6, dtype=torch.float64)
    labels = torch.tensor([4, 0, 2, 2])
    aligned = classifier_alignment(simplex[labels] * 3, labels, simplex * 0.2 + torch.arange(6.0))
    torch.testing.assert_close(aligned, torch.ones(3, dtype=torch.float64))


def test_classifier_alignment_takes_odd_batches_and_refuses_unfit_ones():
    weights = torch.eye(3)
    assert classifier_alignment(torch.ones(0, 3), torch.ones(0, dtype=torch.long), weights).shape == (0,)
    assert torch.equal(classifier_alignment(torch.zeros(1, 3), torch.tensor([1]), weights), torch.zeros(1))
    half = classifier_alignment(torch.eye(3, dtype=torch.bfloat16), torch.arange(3), weights)
    assert half.dtype == torch.float32
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\), got values from 3 to 3"):
        classifier_alignment(torch.ones(1, 3), torch.tensor([3]), weights)
    with pytest.raises(ValueError, match=r"embeddings must have embedding_size 3, got shape \(1, 2\)"):
        classifier_alignment(torch.ones(1, 2), torch.tensor([0]), weights)
    with pytest.raises(ValueError, match="weights must be floating point"):
        classifier_alignment(torch.ones(1, 3), torch.tensor([0]), torch.ones(3, 3, dtype=torch.long))
