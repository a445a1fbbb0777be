"""ABE-8 on GoogLeNet: attention-based ensemble of eight learners with 64 dimensions each.

No official code is known, and of the paper little more than the abstract was at hand. From memory of it, unconfirmed,
are GoogLeNet, 8 learners, 512 dimensions, images of 224, batches of 64, and SGD with momentum. Learning rate, weight
decay, number of epochs, schedule, crops, images per class and the frozen statistics of the batch norm are ours, and
untried.
"""

from __future__ import annotations

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.papers.common import PROTOCOL, epoch_steps, ours
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import WarmUpCosine

__all__ = ["ABE_RECIPES"]

_BATCH = 64


def _recipe(data: str, epochs: int, evaluations: int) -> Recipe:
    regime = Regime(
        epochs=epochs,
        evaluations=evaluations,
        optimizer=Part("torch.optim.SGD", {"momentum": 0.9}),
        schedule=WarmUpCosine(warm_up_steps=100),
        pretrained=True,
        frozen_batch_norm=True,
        views=Views(resize_first=True, crop_scale=(0.5, 1.0)),
        **PROTOCOL,
    )
    return Recipe(
        f"abe_{data}",
        "ABE-8, 512 dimensions",
        ours("ABELoss", num_learners=8, neg_margin=1.0, div_margin=1.0, div_weight=1.0),
        images_per_class=4,
        lr=1e-2,
        trunk="abe8_googlenet",
        embedding_size=0,
        batch_size=_BATCH,
        weight_decay=2e-4,
        steps=epochs * epoch_steps(data, _BATCH),
        data=data,
        regime=regime,
    )


#: One for each data set.
ABE_RECIPES = [
    _recipe("cub200", 100, 20),
    _recipe("cars196", 100, 20),
    _recipe("sop", 60, 6),
    _recipe("inshop", 60, 6),
]
