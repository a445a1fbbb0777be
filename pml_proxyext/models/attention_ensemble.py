r"""The network of ABE: learners that share all layers and differ in where they look."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["AttentionEnsemble"]


class AttentionEnsemble(nn.Module):
    r"""An ensemble of :math:`M` learners made of one network, each with a soft mask of its own on the features.

    .. math::
        f(x) = \big[b_1(x), \dots, b_M(x)\big], \qquad
        b_m(x) = \frac{B_m(x)}{|B_m(x)|}, \qquad
        B_m(x) = G\big(S(x) \odot A_m(S(x))\big), \qquad
        A_m = \sigma(w_m * A(\cdot) + c_m)

    with a spatial extractor :math:`S`, an attention trunk :math:`A` and a global extractor :math:`G` shared by all
    learners, and a private 1 x 1 convolution :math:`w_m, c_m` for each, whose masks cover every channel and place.
    For a batch :math:`S` and :math:`A` run once, and :math:`G` runs once on :math:`M` times as many maps. Give the
    whole as the trunk to PML's trainers; it needs no embedder.

    Args:
        spatial: :math:`S`, from images to features ``(N, C, H, W)``.
        attention: :math:`A`, from features to ``(N, A, H, W)``.
        global_extractor: :math:`G`, from ``(N, C, H, W)`` to ``(N, k)``.
        num_learners: :math:`M`; 8 in the paper.
        feature_channels: :math:`C`.
        attention_channels: :math:`A`, the width of what the attention trunk returns.
        mask_init_std: :math:`s \ge 0`. The masks' weights start normal with standard deviation :math:`s / \sqrt A`,
            their biases with :math:`s`.
        mask_activation: :math:`\sigma`, from ``(N, M C, H, W)``, learner by learner, to the masks of the same shape;
            a function or a module. The sigmoid is from memory of the paper.

    Shapes:
        images -> ``(N, M k)``, the parts of norm 1 one after the other.

    Raises:
        ValueError: for sizes below 1, an invalid ``mask_init_std``, and a ``mask_activation`` that cannot be called.

    Recommendations:
        Keep ``mask_init_std`` large. Under torch's usual initialisation of convolutions every mask is 1/2 almost
        everywhere, so all learners are alike; the gradient of the divergence is zero there, and the ensemble stays
        collapsed. In training mode, batch normalisation inside :math:`G` sees the maps of all learners together.

    Departs from the paper or the release:
        no official code is known, and of the paper only the abstract and the introduction were at hand: which parts
        are shared is a reconstruction, checked against a public re-implementation. That has batch normalisation and
        ReLU where the sigmoid is here: ``mask_activation=nn.Sequential(nn.BatchNorm2d(M * C), nn.ReLU())``. The
        initialisation of the masks is ours.

    Reference:
        Kim, Goyal, Chawla, Lee, Kwon, "Attention-based Ensemble for Deep Metric Learning", ECCV 2018,
        arXiv:1804.00382.

    Example:
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> network = AttentionEnsemble(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), pool, 4, 8, 6)
        >>> network(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 20])
    """

    def __init__(
        self,
        spatial: nn.Module,
        attention: nn.Module,
        global_extractor: nn.Module,
        num_learners: int,
        feature_channels: int,
        attention_channels: int,
        mask_init_std: float = 3.0,
        mask_activation: Callable[[Tensor], Tensor] = torch.sigmoid,
    ) -> None:
        super().__init__()
        self.num_learners = check_integer("num_learners", num_learners)
        check_integer("feature_channels", feature_channels)
        check_integer("attention_channels", attention_channels)
        check_number("mask_init_std", mask_init_std, low=0.0)
        if not callable(mask_activation):
            raise ValueError(f"mask_activation must be a function of the masks' logits, got {mask_activation!r}")
        self.mask_activation = mask_activation
        self.spatial, self.attention, self.global_extractor = spatial, attention, global_extractor
        # The private convolutions of all learners side by side are one with M C outputs.
        self.mask_logits = nn.Conv2d(attention_channels, num_learners * feature_channels, kernel_size=1)
        nn.init.normal_(self.mask_logits.weight, std=mask_init_std / attention_channels**0.5)
        assert self.mask_logits.bias is not None
        nn.init.normal_(self.mask_logits.bias, std=mask_init_std)

    def forward(self, images: Tensor) -> Tensor:
        features = self.spatial(images)  # (N, C, H, W)
        masked = features.unsqueeze(1) * self._masks(features)  # (N, M, C, H, W)
        if features.is_contiguous(memory_format=torch.channels_last):
            stacked = masked.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)  # flatten alone would undo it
        else:
            stacked = masked.flatten(0, 1)
        codes = self.global_extractor(stacked).unflatten(0, masked.shape[:2])  # (N, M, k)
        return normalize(codes, dim=-1).flatten(1)

    def masks(self, images: Tensor) -> Tensor:
        """Return the learners' masks ``(N, M, C, H, W)``, in (0, 1) for the sigmoid."""
        return self._masks(self.spatial(images))

    def _masks(self, features: Tensor) -> Tensor:
        masks = self.mask_activation(self.mask_logits(self.attention(features)))
        return masks.unflatten(1, (self.num_learners, -1))

    def extra_repr(self) -> str:
        return f"num_learners={self.num_learners}"
