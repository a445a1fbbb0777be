"""Where the learners of an attention ensemble look: how much of the features each mask lets through, place by place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pml_proxyext.models import AttentionEnsemble

__all__ = ["draw_masks", "let_through"]


@torch.no_grad()
def let_through(network: AttentionEnsemble, images: Tensor) -> Tensor:
    r"""Return the share of the features' norm that each learner's mask lets through, ``(N, M, H, W)``.

    .. math::
        \frac{|S(x)_{hw} \odot A_m(x)_{hw}|}{|S(x)_{hw}|}

    with norms over channels; in [0, 1] for masks in [0, 1], and NaN where there are no features. The mean of a mask
    over channels would count channels that are zero there.

    Args:
        network: in evaluation mode, as it is used.
        images: ``(N, 3, height, width)``.
    """
    features = network.spatial(images).unsqueeze(1)  # (N, 1, C, H, W)
    passed = torch.linalg.vector_norm(features * network.masks(images), dim=2)
    return passed / torch.linalg.vector_norm(features, dim=2)


def draw_masks(networks: Mapping[str, AttentionEnsemble], images: Tensor) -> Figure:
    """Draw a row for each image: the image, and what each learner's mask lets through.

    Args:
        networks: ensembles in evaluation mode, by what to call them; a block of columns for each.
        images: ``(N, 3, height, width)`` in [0, 1].
    """
    columns = 1 + sum(network.num_learners for network in networks.values())
    figure = Figure(figsize=(0.85 * columns + 0.8, 0.85 * len(images) + 0.7), dpi=120, layout="constrained")
    panels = figure.subplots(len(images), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, image in zip(panels[:, 0], images, strict=True):
        axes.imshow(image.permute(1, 2, 0).numpy())
    column = 1
    for name, network in networks.items():
        shares = let_through(network, images)
        panels[0, column].set_title(name, fontsize="small", loc="left")
        for learner in range(network.num_learners):
            for row, share in enumerate(shares[:, learner]):
                drawn = panels[row, column].imshow(share.numpy(), vmin=0, vmax=1, cmap="cividis")
            column += 1
    figure.colorbar(drawn, ax=panels, shrink=0.6, label="share of the features let through")
    return figure
