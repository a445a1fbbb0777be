"""Train with a nivMF loss, and ask its embeddings how certain they are of degraded images.

    python examples/uncertainty_of_embeddings.py [--steps 300] [--clean] [--smoke]

What it shows: PML's tester becomes one that says whether short embeddings are the wrong ones. Norms can only know what
training has shown them, so that half of the batches here are degraded; --clean leaves that out. One seed is no
measurement; the benchmark has those (docs/uncertainty.md).
"""

from __future__ import annotations

import argparse

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.datasets.degraded import degradations
from pml_proxyext.benchmark.networks import SmallCNN
from pml_proxyext.losses import NivMFLoss
from pml_proxyext.testers import UncertaintyTester, auroc, embedding_norm


def degraded(images: torch.Tensor, labels: torch.Tensor, seed: int) -> TensorDataset:
    """Return every image once, at a random level of a random kind of degradation."""
    versions = torch.stack([part.images for part in degradations(images, labels, seed)])
    drawn = torch.randint(len(versions), (len(images),), generator=torch.Generator().manual_seed(seed))
    return TensorDataset(versions[drawn, torch.arange(len(images))].float() / 255, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clean", action="store_true", help="train on clean images only")
    parser.add_argument("--smoke", action="store_true", help="two steps on few classes")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = load_data("glyphs").first_classes(20) if options.smoke else load_data("glyphs")
    steps = 2 if options.smoke else options.steps

    train, test = data.train, data.evaluation
    sources = [TensorDataset(train.images, train.labels)]
    sources += [] if options.clean else [degraded(train.samples, train.labels, seed=0)]
    loaders = [DataLoader(source, batch_size=96, shuffle=True, drop_last=True) for source in sources]
    model = torch.nn.Sequential(SmallCNN(), torch.nn.Linear(4096, 64))
    loss_func = NivMFLoss(train.num_classes, 64, similarity="el_vmf", temperature=4.0, norm_multiplier=10.0)
    factors = {"proxies": 300.0, "concentrations": 30.0, "log_temperature": 1.0}
    optimizer = torch.optim.AdamW([{"params": model.parameters()}, *loss_func.param_groups(1e-3, **factors)], lr=1e-3)
    batches = [iter(loader) for loader in loaders]
    for step in tqdm(range(steps)):
        turn = step % len(loaders)
        batch = next(batches[turn], None)
        if batch is None:
            batches[turn] = iter(loaders[turn])
            batch = next(batches[turn])
        optimizer.zero_grad()
        loss_func(model(batch[0]), batch[1]).backward()
        optimizer.step()

    # No query finds its own original: every second image is a query, the others are what it is looked up in.
    splits = {
        "gallery": TensorDataset(test.images[::2], test.labels[::2]),
        "clean": TensorDataset(test.images[1::2], test.labels[1::2]),
        "degraded": degraded(test.samples[1::2], test.labels[1::2], seed=1),
    }
    cpu = torch.device("cpu")
    tester = UncertaintyTester(
        accuracy_calculator=AccuracyCalculator(include=("precision_at_1",), k=1, device=cpu),
        data_device=cpu,
        dataloader_num_workers=0,
        batch_size=512,
    )
    scores = tester.test(splits, 1, model, splits_to_eval=[("clean", ["gallery"]), ("degraded", ["gallery"])])
    for name, found in scores.items():
        errors = [f"{100 * found[f'error_rejecting_{percent}_level0']:.1f} %" for percent in (0, 10, 30, 50)]
        print(f"{name} queries: error {errors[0]}; without the shortest 10, 30, 50 %: {', '.join(errors[1:])}")
        print(f"  AUROC of a wrong query by a small norm: {found['error_auroc_level0']:.2f} (chance: 0.5)")
    with torch.no_grad():
        norms = [torch.cat([embedding_norm(model(part)) for part in splits[n].tensors[0].split(512)]) for n in scores]
    is_degraded = torch.arange(len(norms[0]) + len(norms[1])) >= len(norms[0])
    print(f"AUROC of a degraded query by a small norm: {auroc(is_degraded.numpy(), -torch.cat(norms).numpy()):.2f}")


if __name__ == "__main__":
    main()
