"""The runs of NIR's release: ResNet-50 on CUB200, Cars196 and Stanford Online Products.

Every number is from the release (github.com/ExplainableML/NonIsotropicProxyDML, `nir_benchmark_runs.sh` and
`parameters.py`). Its lines for Stanford Online Products call options that it no longer has; they are read as those of
today with the same endings.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.papers.common import PROTOCOL, NormalInit, epoch_steps, ours
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import MultiStep

__all__ = ["NIR_RECIPES"]

_BATCH = 90
_BASE = ours("ProxyAnchorLoss", variant="sample", weight_init_func=NormalInit(1 / 8))


@dataclass(frozen=True)
class _Length:
    epochs: int
    warm_up_epochs: int
    schedule: MultiStep
    evaluations: int  # ours; the release evaluates after each epoch


_SHORT = _Length(100, 1, MultiStep((100,), 0.1), 100)
_LONG = _Length(300, 5, MultiStep((140, 230), 0.2), 30)
# The weight of the proxy loss, the flow's learning rate as a multiple of the network's, and the length.
_BY_DATA = {"cub200": (0.0075, 50.0, _SHORT), "cars196": (0.01, 50.0, _SHORT), "sop": (0.3, 1.0, _LONG)}


def _base(data: str, size: int) -> Recipe:
    """Return the release's Proxy Anchor."""
    length = _BY_DATA[data][2]
    regime = Regime(
        epochs=length.epochs,
        evaluations=length.evaluations,
        optimizer=Part("torch.optim.Adam"),
        schedule=length.schedule,
        pretrained=True,
        frozen_batch_norm=True,
        views=Views(),  # random resized crop and flip, as in the framework that the release is for
        **PROTOCOL,
    )
    return Recipe(
        f"nir_base_{data}_{size}",
        f"Proxy Anchor as in NIR's release, {size} dimensions",
        _BASE,
        lr_multipliers={"proxies": 2000.0},
        images_per_class=2,
        lr=1e-5,
        trunk="resnet50",
        embedding_size=size,
        batch_size=_BATCH,
        weight_decay=4e-4,
        steps=length.epochs * epoch_steps(data, _BATCH),
        data=data,
        regime=regime,
    )


def _nir(data: str, size: int, double: bool) -> Recipe:
    """Return NIR, with maximum pooling besides the mean if ``double``."""
    weight, flow, length = _BY_DATA[data]
    base = _base(data, size)
    loss = ours("NIRLoss", proxy_weight=weight, likelihood="exp", noise_scale=0.0, n_blocks=5, n_layers=8)
    return dataclasses.replace(
        base,
        name=f"nir_{data}_{size}{'_double' if double else ''}",
        title=f"NIR, {size} dimensions{', double pooling' if double else ''}",
        loss=loss,
        base=_BASE,
        lr_multipliers={"proxies": 4000.0, "flow": flow},
        trunk="resnet50_avg_max" if double else "resnet50",
        regime=dataclasses.replace(base.regime, warm_up_epochs=length.warm_up_epochs),
    )


#: All runs of the release.
NIR_RECIPES = [
    *(_nir(data, size, double) for data in _BY_DATA for size in (128, 512) for double in (False, True)),
    *(_base(data, 128) for data in ("cub200", "cars196")),
]
