"""Trunks for photographs, on networks of torchvision whose weights trained on ImageNet are loaded on request."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

from pml_proxyext.models import googlenet_attention_ensemble
from pml_proxyext.utils.checks import import_optional

__all__ = ["ABEGoogLeNet", "ResNet50"]


class ResNet50(nn.Module):
    """ResNet-50 up to its pooled features: ``(N, 3, H, W)`` to ``(N, 2048)``.

    Args:
        max_pool: whether to add the largest value of each feature map to its mean, as Proxy Anchor's release does.
    """

    def __init__(self, max_pool: bool = False) -> None:
        super().__init__()
        network = import_optional("torchvision.models", "vision").resnet50(weights=None)
        layers = OrderedDict(network.named_children())
        del layers["avgpool"], layers["fc"]
        self.features = nn.Sequential(layers)
        self.max_pool = max_pool

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(images)
        pooled: Tensor = maps.mean((2, 3))
        return pooled + maps.amax((2, 3)) if self.max_pool else pooled

    def load_imagenet(self) -> None:
        """Load torchvision's first set of weights, which the papers' code had, from its cache or the network."""
        weights = import_optional("torchvision.models", "vision").ResNet50_Weights.IMAGENET1K_V1
        state = weights.get_state_dict(progress=True, check_hash=True)
        self.features.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})


class ABEGoogLeNet(nn.Module):
    """GoogLeNet as an attention ensemble: ``(N, 3, H, W)`` to ``(N, embedding_size)``.

    Args:
        num_learners: see :func:`~pml_proxyext.models.googlenet_attention_ensemble`.
        embedding_size: width of all learners together.
    """

    def __init__(self, num_learners: int, embedding_size: int) -> None:
        super().__init__()
        self.num_learners, self.embedding_size = num_learners, embedding_size
        self.ensemble = googlenet_attention_ensemble(num_learners, embedding_size, weights=None)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.ensemble(images))

    def load_imagenet(self) -> None:
        """Load torchvision's weights where GoogLeNet has them: everywhere but in masks and linear layer."""
        self.ensemble = googlenet_attention_ensemble(self.num_learners, self.embedding_size, weights="DEFAULT")
