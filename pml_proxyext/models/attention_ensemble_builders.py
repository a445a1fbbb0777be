"""Attention ensembles ready to train: on GoogLeNet as in the paper, and small enough for a CPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.models.attention_ensemble import AttentionEnsemble
from pml_proxyext.utils.checks import check_integer, import_optional

__all__ = ["googlenet_attention_ensemble", "small_attention_ensemble"]


def googlenet_attention_ensemble(
    num_learners: int = 8, embedding_size: int = 512, weights: Any = "DEFAULT", **kwargs: Any
) -> AttentionEnsemble:
    """Return ABE on torchvision's GoogLeNet; needs the extra ``vision``.

    The spatial extractor reaches to the pooling before block 4a (480 channels; 14 x 14 for images of 224), the
    attention trunk is blocks 4a to 4e, and the global extractor a second copy of them with all that follows and one
    linear layer, shared by the learners. Both copies start from the same weights.

    Args:
        num_learners: 8 in the paper.
        embedding_size: width of the whole embedding, a multiple of ``num_learners``; 512 in the paper.
        weights: as in torchvision: ``"DEFAULT"`` for those from ImageNet, which are downloaded at first use, or None.
        **kwargs: of :class:`~pml_proxyext.models.AttentionEnsemble`.

    Shapes:
        images ``(N, 3, H, W)`` normalised by ImageNet's mean and standard deviation, 224 pixels wide in the paper ->
        ``(N, embedding_size)``.

    Raises:
        ImportError: without torchvision, naming the extra that brings it.
        ValueError: for an ``embedding_size`` that ``num_learners`` does not divide.
    """
    width = _part_width(num_learners, embedding_size)
    models = import_optional("torchvision.models", "vision")
    net = models.googlenet(weights=weights, init_weights=False)
    blocks = nn.Sequential(net.inception4a, net.inception4b, net.inception4c, net.inception4d, net.inception4e)
    before = [net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2, net.inception3a, net.inception3b]
    after = [net.maxpool4, net.inception5a, net.inception5b, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return AttentionEnsemble(
        nn.Sequential(_FromImageNetStatistics(), *before, net.maxpool3),
        copy.deepcopy(blocks),
        nn.Sequential(blocks, *after, nn.Linear(net.fc.in_features, width)),
        num_learners,
        feature_channels=_in_channels(net.inception4a),
        attention_channels=_in_channels(net.inception5a),
        **kwargs,
    )


def small_attention_ensemble(
    num_learners: int = 4, embedding_size: int = 64, in_channels: int = 1, **kwargs: Any
) -> AttentionEnsemble:
    """Return an ensemble of four convolutions and an attention trunk of one, for images of about 32 x 32.

    Args:
        num_learners: number of learners.
        embedding_size: width of the whole embedding, a multiple of ``num_learners``.
        in_channels: 1 for grey images, 3 for colour.
        **kwargs: of :class:`~pml_proxyext.models.AttentionEnsemble`.

    Shapes:
        images ``(N, in_channels, H, W)`` -> ``(N, embedding_size)``.

    Raises:
        ValueError: for an ``embedding_size`` that ``num_learners`` does not divide, and sizes below 1.

    Example:
        >>> small_attention_ensemble(num_learners=4, embedding_size=32)(torch.randn(2, 1, 32, 32)).shape
        torch.Size([2, 32])
    """
    width = _part_width(num_learners, embedding_size)
    check_integer("in_channels", in_channels)
    spatial = nn.Sequential(*_block(in_channels, 16, pool=True), *_block(16, 64, pool=True))
    attention = nn.Sequential(*_block(64, 64, pool=False))
    places = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256 * 4 * 4, width)]
    global_extractor = nn.Sequential(*_block(64, 128, pool=True), *_block(128, 256, pool=False), *places)
    return AttentionEnsemble(spatial, attention, global_extractor, num_learners, 64, 64, **kwargs)


class _FromImageNetStatistics(nn.Module):
    """From images normalised by ImageNet's statistics to [-1, 1], which is what GoogLeNet's weights were trained on."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("scale", (2 * std)[:, None, None], persistent=False)
        self.register_buffer("shift", (2 * mean - 1)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift


def _part_width(num_learners: int, embedding_size: int) -> int:
    check_integer("num_learners", num_learners)
    check_integer("embedding_size", embedding_size)
    if embedding_size % num_learners:
        raise ValueError(f"embedding_size must be a multiple of num_learners {num_learners}, got {embedding_size}")
    return embedding_size // num_learners


def _in_channels(module: nn.Module) -> int:
    """Return the number of channels that a module's first convolution takes."""
    return next(part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d))


def _block(before: int, after: int, pool: bool) -> list[nn.Module]:
    """Pooling comes before what follows it, which has a quarter to do then."""
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return [convolution, *([nn.MaxPool2d(2)] if pool else []), nn.BatchNorm2d(after), nn.ReLU()]
