"""Train with NIR in a plain PyTorch loop, and compare it with the proxy loss that it regularises.

    python examples/nir_in_your_own_loop.py [--epochs 6] [--smoke]

What it claims: one line changes, and retrieval of unseen classes can be compared. One seed and default settings are no
measurement; the benchmark has those (docs/benchmark.md).
"""

from __future__ import annotations

import argparse

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_proxyext.benchmark.datasets import RetrievalData, load_data
from pml_proxyext.benchmark.networks import SmallCNN
from pml_proxyext.losses import NIRLoss, ProxyAnchorLoss


def train(loss_func: NIRLoss | ProxyAnchorLoss, data: RetrievalData, epochs: int, batches: int | None) -> float:
    """Return MAP@R on classes that were not trained on."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(SmallCNN(), torch.nn.Linear(4096, loss_func.embedding_size))
    # The loss has parameters of its own. Without its groups they would never learn.
    groups = [{"params": model.parameters()}, *loss_func.param_groups(lr=1e-3)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    loader = DataLoader(data.train, batch_size=96, shuffle=True, drop_last=True)
    for epoch in range(epochs):
        for step, (images, labels) in enumerate(tqdm(loader, desc=f"epoch {epoch + 1}", leave=False)):
            if step == batches:
                break
            optimizer.zero_grad()
            loss_func(model(images), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        embeddings = torch.cat([model(images) for images in data.evaluation.images.split(500)])
    calculator = AccuracyCalculator(
        include=("mean_average_precision_at_r",), k="max_bin_count", device=torch.device("cpu")
    )
    return calculator.get_accuracy(embeddings, data.evaluation.labels)["mean_average_precision_at_r"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--smoke", action="store_true", help="two batches only")
    options = parser.parse_args()
    data = load_data("glyphs")
    epochs, batches = (1, 2) if options.smoke else (options.epochs, None)
    for loss_class in (ProxyAnchorLoss, NIRLoss):
        torch.manual_seed(0)
        loss_func = loss_class(data.train.num_classes, embedding_size=64)
        print(f"{loss_class.__name__}: MAP@R {100 * train(loss_func, data, epochs, batches):.1f}")


if __name__ == "__main__":
    main()
