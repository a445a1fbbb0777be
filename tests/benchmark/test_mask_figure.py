from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.mask_figure import draw_masks, let_through
from pml_proxyext.models import AttentionEnsemble


def ensemble(learners: int = 3) -> AttentionEnsemble:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spatial = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.Softplus())
        return AttentionEnsemble(spatial, nn.Conv2d(5, 4, 1), nn.Flatten(), learners, 5, 4).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def test_shares_are_those_of_a_loop_over_places() -> None:
    network, x = ensemble(), images()
    shares, features, masks = let_through(network, x), network.spatial(x), network.masks(x)
    assert shares.shape == (2, 3, 4, 4)
    for i, m, h, w in [(0, 0, 0, 0), (0, 2, 3, 1), (1, 1, 2, 3), (1, 2, 0, 2)]:
        before = [features[i, c, h, w].item() for c in range(5)]
        after = [features[i, c, h, w].item() * masks[i, m, c, h, w].item() for c in range(5)]
        assert shares[i, m, h, w].item() == pytest.approx(math.hypot(*after) / math.hypot(*before), rel=1e-5)
    assert ((shares > 0) & (shares < 1)).all()


def test_open_masks_let_all_through_and_nothing_is_unknown() -> None:
    network = ensemble()
    nn.init.constant_(network.mask_logits.bias, 1000.0)
    torch.testing.assert_close(let_through(network, images()), torch.ones(2, 3, 4, 4))
    nn.init.constant_(network.spatial[0].bias, -1000.0)
    assert let_through(network, images()).isnan().all()


def test_a_row_for_each_image_and_a_column_for_each_learner() -> None:
    first, second, x = ensemble(), ensemble(2), images()
    figure = draw_masks({"first": first, "second": second}, x)
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert len(panels) == 2 * (1 + 3 + 2)
    assert bar.get_ylabel() == "share of the features let through"
    drawn = [torch.from_numpy(axes.get_images()[0].get_array().data.copy()) for axes in panels]
    torch.testing.assert_close(drawn[6], x[1].permute(1, 2, 0))
    torch.testing.assert_close(drawn[6 + 1 + 2], let_through(first, x)[1, 2])
    torch.testing.assert_close(drawn[4 + 1], let_through(second, x)[0, 1])
