"""The runs of "A Unifying Mutual Information View of Metric Learning" with plain cross-entropy.

Every number is from the release (github.com/jeromerony/dml_cross_entropy, `README.md`, `experiment.py` and
`utils/data/dataset_ingredient.py`). One version of its README has a learning rate of 0.01 with momentum 0.9 for
Stanford Online Products and In-Shop; another has what is used here, 0.003 with 0.99.
"""

from __future__ import annotations

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.papers.common import PROTOCOL, epoch_steps, ours
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import WarmUpCosine

__all__ = ["CROSS_ENTROPY_RECIPES"]

_BATCH = 128
_FAST = Part("torch.optim.SGD", {"momentum": 0.99, "nesterov": True})
_PLAIN = Part("torch.optim.SGD")
_CUB = Views(resize_first=True, crop_scale=(0.16, 1.0), jitter=(0.25, 0.25, 0.25, 0.0))
_CARS = Views(
    resize_first=True, square=True, crop_scale=(0.16, 1.0), crop_ratio=(1.0, 1.0), jitter=(0.3, 0.3, 0.3, 0.1)
)
_PRODUCTS = Views(resize_first=True, square=True, crop_scale=(0.16, 1.0))


def _recipe(data: str, epochs: int, evaluations: int, lr: float, optimizer: Part, views: Views) -> Recipe:
    regime = Regime(
        epochs=epochs,
        evaluations=evaluations,
        optimizer=optimizer,
        schedule=WarmUpCosine(warm_up_steps=100),
        decay_vectors=False,
        sampling="shuffled",
        pretrained=True,
        frozen_batch_norm=True,
        feature_norm=data != "cub200",
        views=views,
        **PROTOCOL,
    )
    return Recipe(
        f"cross_entropy_{data}",
        "Cross-entropy, 2048 dimensions",
        ours("CrossEntropyDMLLoss", label_smoothing=0.1, smoothing="boudiaf", dropout=0.5),
        lr=lr,
        trunk="resnet50",
        embedding_size=0,
        batch_size=_BATCH,
        weight_decay=5e-4,
        steps=epochs * epoch_steps(data, _BATCH),
        data=data,
        regime=regime,
    )


#: One for each data set.
CROSS_ENTROPY_RECIPES = [
    _recipe("cub200", 30, 30, 0.02, _PLAIN, _CUB),
    _recipe("cars196", 100, 100, 0.05, _PLAIN, _CARS),
    _recipe("sop", 100, 20, 0.003, _FAST, _PRODUCTS),
    _recipe("inshop", 100, 20, 0.003, _FAST, _PRODUCTS),
]
