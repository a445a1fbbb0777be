"""The networks that the recipes train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.digits import perceptron
from pml_proxyext.benchmark.image_trunks import ABEGoogLeNet, ResNet50
from pml_proxyext.utils.checks import check_choice

__all__ = ["TRUNKS", "SmallCNN", "build_models", "embedding_width", "load_models"]


class SmallCNN(nn.Sequential):
    """Four convolutions for 32 x 32 images: small enough to train on one CPU thread within a minute.

    Example:
        >>> SmallCNN()(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 4096])
    """

    def __init__(self, in_channels: int = 1, channels: tuple[int, int, int, int] = (16, 64, 128, 256)) -> None:
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((in_channels, *channels), channels, strict=False)):
            layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
            if index < 3:
                layers.append(nn.MaxPool2d(2))  # before the rest, which has a quarter to do then
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Flatten())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.contiguous(memory_format=torch.channels_last))


#: Name of a trunk -> how to make it for samples of a shape.
TRUNKS: dict[str, Callable[[torch.Size], nn.Module]] = {
    "small_cnn": lambda shape: SmallCNN(shape[0]),
    "identity": lambda shape: nn.Flatten(),
    "perceptron": lambda shape: nn.Sequential(nn.Flatten(), *perceptron(shape.numel(), 256, 256), nn.ReLU()),
    "resnet50": lambda shape: ResNet50(),
    "resnet50_avg_max": lambda shape: ResNet50(max_pool=True),
    "abe8_googlenet": lambda shape: ABEGoogLeNet(num_learners=8, embedding_size=512),
}


def build_models(
    trunk: str, embedding_size: int, shape: Sequence[int], feature_norm: bool = False
) -> dict[str, nn.Module]:
    """Return the models for PML's trainers.

    Args:
        trunk: one of :data:`TRUNKS`.
        embedding_size: width of the linear embedder; 0 leaves the trunk's output as it is.
        shape: of one sample.
        feature_norm: whether the embedder ends in batch norm without weights and biases.

    Example:
        >>> models = build_models("small_cnn", 64, torch.Size([1, 32, 32]))
        >>> models["embedder"](models["trunk"](torch.zeros(2, 1, 32, 32))).shape
        torch.Size([2, 64])
    """
    check_choice("trunk", trunk, TRUNKS)
    models: dict[str, nn.Module] = {"trunk": TRUNKS[trunk](torch.Size(shape)), "embedder": nn.Identity()}
    if not embedding_size and not feature_norm:
        return models
    width = embedding_width(models, shape)
    layers: list[nn.Module] = [nn.Linear(width, embedding_size)] if embedding_size else []
    if feature_norm:
        layers.append(nn.BatchNorm1d(embedding_size or width, affine=False))
    models["embedder"] = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return models


def embedding_width(models: Mapping[str, nn.Module], shape: Sequence[int]) -> int:
    """Return the width of what the models make of samples of a shape."""
    was_training = [model.training for model in models.values()]
    device = next((p.device for model in models.values() for p in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        output = models["embedder"].eval()(models["trunk"].eval()(torch.zeros(1, *shape, device=device)))
    for model, training in zip(models.values(), was_training, strict=True):
        model.train(training)
    return int(output.shape[1])


def load_models(path: Path) -> dict[str, nn.Module]:
    """Return the trained models that a run left in the folder ``models`` of its results, ready for evaluation."""
    stored = torch.load(path, weights_only=True)
    state = stored.pop("state")
    models = build_models(**stored)
    for name, model in models.items():
        model.load_state_dict(state[name])
        model.eval()
    return models
