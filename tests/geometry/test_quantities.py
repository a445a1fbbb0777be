"""The arguments of the floors: what is refused, and what passes with its graph."""

import pytest
import torch

from pml_proxyext.geometry.quantities import class_counts, quantity


def test_numbers_and_tensors_become_float64_and_keep_their_graph():
    assert quantity("radius", 2).dtype == torch.float64
    measured = torch.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad((3 * quantity("radius", measured)).sum(), measured)
    assert torch.equal(gradient, torch.full((2,), 3.0))


def test_nan_in_a_tensor_passes_and_as_a_number_does_not():
    assert quantity("radius", torch.tensor(float("nan"))).isnan()
    with pytest.raises(ValueError, match="radius must be a finite number >= 0, got nan"):
        quantity("radius", float("nan"))


@pytest.mark.parametrize(("value", "positive"), [(-1e-9, False), (0.0, True), (-1.0, True)])
def test_values_out_of_range_are_named(value, positive):
    allowed = "> 0" if positive else ">= 0"
    with pytest.raises(ValueError, match=f"tau must be a finite number {allowed}, got {value}"):
        quantity("tau", value, positive=positive)
    with pytest.raises(ValueError, match=rf"tau must be {allowed} everywhere, got \[{value}\]"):
        quantity("tau", torch.tensor([2.0, value], dtype=torch.float64), positive=positive)


def test_zero_is_allowed_unless_positive_is_asked_for():
    assert quantity("radius", 0.0) == quantity("radius", torch.tensor(0.0)) == 0


def test_counts_of_absent_classes_are_left_out():
    expected = torch.tensor([3.0, 2.0], dtype=torch.float64)
    for counts in ([3, 0, 2], (3, 2), torch.tensor([0, 3, 2, 0])):
        assert torch.equal(class_counts(counts), expected)


@pytest.mark.parametrize("counts", [[1.0, 2.0], [[1, 2]], [True, False], 3])
def test_counts_of_another_kind_are_refused(counts):
    with pytest.raises(ValueError, match="counts must be a vector of integers, got"):
        class_counts(counts)


@pytest.mark.parametrize("counts", [torch.tensor([], dtype=torch.long), [0, 0], [2, -1]])
def test_counts_that_count_nothing_are_refused(counts):
    with pytest.raises(ValueError, match="counts must be >= 0 and one of them positive, got"):
        class_counts(counts)
