"""Scores: what the two forms are taken apart into, and what is refused."""

from __future__ import annotations

import pytest
import torch

from pml_proxyext.information.scores import add_scores, detach_scores, split_alike, split_scores

PAIR = (torch.zeros(2), torch.zeros(2, 3))


def test_off_the_diagonal_stand_the_negatives_from_left_to_right():
    positive, negatives = split_scores(torch.arange(16.0).view(4, 4))
    assert positive.tolist() == [0, 5, 10, 15]
    assert negatives.tolist() == [[1, 2, 3], [4, 6, 7], [8, 9, 11], [12, 13, 14]]


def test_a_matrix_may_be_transposed_or_a_part_of_another():
    whole = torch.arange(36.0).view(6, 6)
    positive, negatives = split_scores(whole[1:4, 2:5].T)
    assert positive.tolist() == [8, 15, 22]
    assert negatives.tolist() == [[14, 20], [9, 21], [10, 16]]


def test_a_pair_comes_back_and_so_does_its_graph():
    positive, negatives = torch.zeros(2, requires_grad=True), torch.zeros(2, 3)
    found = split_scores((positive, negatives))
    assert found[0] is positive
    assert found[1] is negatives


def test_half_precision_becomes_float32():
    assert {part.dtype for part in split_scores(torch.eye(3, dtype=torch.bfloat16))} == {torch.float32}
    assert {part.dtype for part in split_scores(torch.eye(3, dtype=torch.float64))} == {torch.float64}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(2, 3), r"square matrix.*\(2, 3\)"),
        (torch.zeros(4), r"square matrix.*\(4,\)"),
        (torch.zeros(2, 2, 2), r"square matrix.*\(2, 2, 2\)"),
        (torch.tensor(1.0), r"square matrix.*\(\)"),
        (torch.zeros(0, 0), r"at least one row.*\(0, 0\)"),
        ([[1.0]], "square matrix or a pair of tensors.*list"),
        ((torch.zeros(2), torch.zeros(2, 3), torch.zeros(2)), "square matrix or a pair.*tuple"),
        ((torch.zeros(2), [0.0]), "square matrix or a pair of tensors.*tuple"),
        ((torch.zeros(2), torch.zeros(3, 3)), r"positives \(R,\) and negatives \(R, n\).*\(2,\) and \(3, 3\)"),
        ((torch.zeros(2, 1), torch.zeros(2, 3)), r"positives \(R,\).*\(2, 1\) and \(2, 3\)"),
        ((torch.zeros(2), torch.zeros(2)), r"negatives \(R, n\).*\(2,\) and \(2,\)"),
        ((torch.zeros(0), torch.zeros(0, 3)), r"at least one row.*\(0, 3\)"),
        (torch.zeros(2, 2, dtype=torch.long), "floating point.*int64"),
        ((torch.zeros(2), torch.zeros(2, 3, dtype=torch.bool)), "floating point.*bool"),
        (torch.zeros(1, 1), r"at least 1 negative.*\(1, 0\)"),
        ((torch.zeros(2), torch.zeros(2, 0)), r"at least 1 negative.*\(2, 0\)"),
    ],
)
def test_other_scores_are_refused_by_name(scores, message):
    with pytest.raises(ValueError, match="psi.*" + message):
        split_scores(scores, "psi")


def test_negatives_may_be_missing_where_they_are_not_needed():
    positive, negatives = split_scores(torch.ones(1, 1), min_negatives=0)
    assert positive.tolist() == [1]
    assert negatives.shape == (1, 0)


def test_sums_are_of_the_same_candidates_in_either_form():
    square = torch.arange(9.0).view(3, 3)
    positive, negatives = add_scores(square, split_scores(square))
    assert positive.tolist() == [0, 8, 16]
    assert negatives.tolist() == [[2, 4], [6, 10], [12, 14]]


@pytest.mark.parametrize("other", [torch.zeros(3, 3), (torch.zeros(2), torch.zeros(2, 2))])
def test_scores_of_other_candidates_are_refused(other):
    with pytest.raises(ValueError, match=r"psi and phi must score the same candidates, got .*\(2, 3\) and \("):
        split_alike(PAIR, other)


def test_each_of_two_scores_is_refused_by_its_own_name():
    with pytest.raises(ValueError, match="psi must be a square"):
        add_scores(torch.zeros(2, 3), PAIR)
    with pytest.raises(ValueError, match="phi must be a square"):
        add_scores(PAIR, torch.zeros(2, 3))


def test_detached_scores_have_no_graph():
    square = torch.zeros(2, 2, requires_grad=True)
    assert not detach_scores(square).requires_grad
    assert not any(part.requires_grad for part in detach_scores((square[0], square)))
