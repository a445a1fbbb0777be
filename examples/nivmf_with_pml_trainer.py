"""Train with nivMF through PML's trainer, and reject the queries whose embeddings say that they are uncertain.

    python examples/nivmf_with_pml_trainer.py [--epochs 6] [--smoke]

What it claims: the loss needs nothing but PML's own machinery, and an embedding's norm is at hand as its certainty.
"""

from __future__ import annotations

import argparse

import torch
from pytorch_metric_learning import testers, trainers
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import FaissKNN
from torch.utils.data import Subset

from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.networks import SmallCNN
from pml_proxyext.losses import NivMFLoss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--smoke", action="store_true", help="192 images only")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = load_data("glyphs")
    images = Subset(data.train, range(192)) if options.smoke else data.train
    models = {"trunk": SmallCNN(), "embedder": torch.nn.Linear(4096, 64)}
    # The network's norms start near 3: all but uniform distributions in 64 dimensions, without the multiplier.
    loss_func = NivMFLoss(data.train.num_classes, 64, temperature=4.0, norm_multiplier=30.0)
    factors = {"proxies": 300.0, "concentrations": 3.0, "log_temperature": 1.0}
    optimizers = {f"{name}_optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3) for name, model in models.items()}
    optimizers["metric_loss_optimizer"] = torch.optim.AdamW(loss_func.param_groups(1e-3, **factors))
    trainer = trainers.MetricLossOnly(
        models, optimizers, 96, {"metric_loss": loss_func}, images, data_device="cpu", dataloader_num_workers=0
    )
    trainer.train(num_epochs=1 if options.smoke else options.epochs)

    tester = testers.GlobalEmbeddingSpaceTester(
        normalize_embeddings=False,  # the norms are wanted below; the search is by cosine all the same
        dataloader_num_workers=0,
        data_device="cpu",
        accuracy_calculator=AccuracyCalculator(include=("precision_at_1",), k=1, device=torch.device("cpu")),
    )
    embeddings, labels = tester.get_all_embeddings(data.evaluation, models["trunk"], models["embedder"])
    directions = torch.nn.functional.normalize(embeddings)
    neighbours = FaissKNN()(directions, 2, directions)[1][:, 1]
    wrong = (labels[neighbours] != labels).squeeze(1).float()
    certain_first = loss_func.uncertainty(embeddings).argsort()
    for kept in (1.0, 0.9, 0.5):
        error = wrong[certain_first[: int(kept * len(wrong))]].mean()
        print(
            f"error of the nearest neighbour, the most certain {100 * kept:.0f} % of the queries: {100 * error:.1f} %"
        )


if __name__ == "__main__":
    main()
