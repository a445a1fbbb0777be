"""The runs of nivMF's release: EL-nivMF guided by Proxy Anchor with ResNet-50 on CUB200 and Cars196.

Every number is from the release (github.com/ExplainableML/Probabilistic_Deep_Metric_Learning, `example_runs.sh` and
`parameters.py`). It has no run on Stanford Online Products.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.papers.common import PROTOCOL, XavierInit, epoch_steps
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import MultiStep
from pml_proxyext.losses import NivMFLoss
from pml_proxyext.losses.proxy_loss import ProxyLoss

__all__ = ["NIVMF_RECIPES", "WarmStartedNivMFLoss"]

_BATCH = 64


class WarmStartedNivMFLoss(NivMFLoss):
    """NivMFLoss that takes from data only the directions of its proxies, as the release does."""

    def init_from(self, embeddings: Tensor, labels: Tensor) -> None:
        ProxyLoss.init_from(self, embeddings, labels)


@dataclass(frozen=True)
class _Settings:
    """What differs between the runs, in the order of the release's command lines."""

    data: str
    size: int
    epochs: int
    schedule: MultiStep
    directions: float  # learning rates as multiples of the network's
    concentrations: float
    concentration: float
    norms: float  # factor on the weights of the last layer
    guidance: float


_RUNS = [
    _Settings("cub200", 128, 250, MultiStep((25, 50), 0.3), 5000, 20000, 6, 30, 3),
    _Settings("cub200", 512, 250, MultiStep((31,), 0.1), 5000, 20000, 18, 50, 5),
    _Settings("cars196", 128, 300, MultiStep((60, 80), 0.1), 7500, 7500, 9, 12, 0.3),
    _Settings("cars196", 512, 300, MultiStep((105, 170), 0.2), 5000, 20000, 22, 10, 0.1),
]


def _recipe(run: _Settings) -> Recipe:
    loss = Part(
        f"{__name__}.WarmStartedNivMFLoss",
        {
            "temperature": 0.003,
            "concentration": run.concentration,
            "n_samples": 5,
            "guidance_weight": run.guidance,
            "estimator": "released_monte_carlo",
            "normalization": "released",
            "warp_samples": False,
            "weight_init_func": XavierInit(run.concentration),
        },
    )
    regime = Regime(
        epochs=run.epochs,
        evaluations=run.epochs // 5,
        optimizer=Part("torch.optim.Adam"),
        schedule=run.schedule,
        pretrained=True,
        frozen_batch_norm=True,
        embedder_scale=run.norms,
        views=Views(),
        **PROTOCOL,
    )
    return Recipe(
        f"nivmf_{run.data}_{run.size}",
        f"EL-nivMF, guided by Proxy Anchor, {run.size} dimensions",
        loss,
        lr_multipliers={"proxies": run.directions, "concentrations": run.concentrations, "log_temperature": 200.0},
        images_per_class=2,
        lr=1e-5,
        init_from_data=True,
        trunk="resnet50",
        embedding_size=run.size,
        batch_size=_BATCH,
        weight_decay=4e-4,
        steps=run.epochs * epoch_steps(run.data, _BATCH),
        data=run.data,
        regime=regime,
    )


#: The four runs.
NIVMF_RECIPES = [_recipe(run) for run in _RUNS]
