"""Pairs to join by segments, and the pieces on them, counted on a fine grid as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.digits import perceptron
from pml_proxyext.benchmark.segment_pieces import pieces_between, segment_ends
from pml_proxyext.geometry import line_regions

LABELS = torch.tensor([0, 0, 1, 1, 1, 2])


@pytest.mark.parametrize("same", [True, False])
def test_every_pair_is_as_likely_as_any_other(same: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    ends = segment_ends(LABELS, 20_000, same, generator)
    allowed = (LABELS[:, None] == LABELS) == same
    allowed.fill_diagonal_(False)
    counts = torch.bincount(6 * ends[:, 0] + ends[:, 1], minlength=36).view(6, 6)
    assert (counts[~allowed] == 0).all()
    expected = 20_000 / allowed.sum()
    # Five standard deviations of each of at most 22 counts: a false alarm in about 1e5 seeds; this one is fixed.
    assert ((counts[allowed] - expected).abs() < 5 * expected.sqrt()).all()


@pytest.mark.parametrize(("labels", "same"), [([0, 1, 2], True), ([1, 1], False)])
def test_labels_without_such_a_pair_are_refused(labels: list[int], same: bool) -> None:
    with pytest.raises(ValueError, match="labels must have two samples of"):
        segment_ends(torch.tensor(labels), 1, same)


def test_pieces_are_those_that_a_fine_grid_shows() -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        encoder = perceptron(3, 6, 6, 2).double().eval()
    images = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    ends = torch.tensor([[0, 1], [2, 3], [4, 5]])
    found = pieces_between(encoder, images, ends)
    bends, lengths = 0, 0.0
    for start, end in ends.tolist():
        shares = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None]
        with torch.no_grad():
            outputs = encoder(torch.lerp(images[start], images[end], shares))
        bent = outputs.diff(n=2, dim=0).abs().amax(1) > 1e-9
        bends += int(bent[0]) + int((bent[1:] & ~bent[:-1]).sum())  # one kink bends two neighbouring steps at most
        lengths += (images[end] - images[start]).norm().item()
    assert bends > 5
    assert found["breaks_per_length"] == pytest.approx(bends / lengths)
    assert found["pieces"] == pytest.approx(1 + bends / 3)
    assert found["length"] == pytest.approx(lengths / 3)


def test_a_unit_that_nothing_hears_makes_no_piece() -> None:
    encoder = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        encoder[0].weight.fill_(1.0)
        encoder[0].bias.copy_(torch.tensor([0.0, -0.5]))
        encoder[2].weight.copy_(torch.tensor([[1.0, 0.0]]))
    images = torch.tensor([[-1.0], [1.0]])
    assert line_regions(encoder, *images).n_regions == 3
    assert pieces_between(encoder, images, torch.tensor([[0, 1]]))["pieces"] == 2.0
