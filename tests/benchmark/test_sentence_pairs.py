"""All losses on pairs see the same pairs, and start from the encoder as it is."""

from __future__ import annotations

import pytest
import torch

from pml_proxyext.benchmark.datasets.wordnet_text import stand_in
from pml_proxyext.benchmark.sentence_pairs import METHODS, Adapter, pair_batches, train

TRAINED = [name for name, method in METHODS.items() if method.make is not None]
BY_COSINE = {"Triplet": {"margin": 0.3}, "Siamese, contrastive": {"neg_margin": 0.2}}
BY_COSINE["Siamese, cosine regression"] = {"target": 0.2}


def loss_of(name: str, *batch: torch.Tensor) -> torch.Tensor:
    make = METHODS[name].make
    assert make is not None
    loss: torch.Tensor = make(2, **BY_COSINE[name])(*batch)
    return loss


def test_the_adapter_begins_as_the_identity() -> None:
    inputs = torch.randn(5, 8)
    assert torch.equal(Adapter(8)(inputs), inputs)


@pytest.mark.parametrize("together", [False, True])
def test_every_pair_comes_once_in_an_epoch(together: bool) -> None:
    batches = pair_batches(12, 4, 6, together)
    assert batches.shape == (6, 2, 4)
    for kind in (0, 1):
        for epoch in batches[:, kind].reshape(2, 12):
            assert sorted(epoch.tolist()) == list(range(12))
    assert torch.equal(batches[:, 0], batches[:, 1]) is together


@pytest.mark.parametrize("name", TRAINED)
def test_training_changes_embeddings_and_is_repeatable(name: str) -> None:
    data, settings = stand_in(), METHODS[name].trials(1)[0]
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(train(METHODS[name], settings, data, steps=3))
    assert torch.equal(*runs)
    assert runs[0].isfinite().all()
    assert not torch.equal(runs[0], data.inputs)


def test_without_a_loss_nothing_changes() -> None:
    data = stand_in()
    assert torch.equal(train(METHODS["Encoder as it is"], {}, data, steps=3), data.inputs)


def test_all_methods_try_the_same_learning_rates() -> None:
    rates = [[trial["lr"] for trial in METHODS[name].trials(8)] for name in TRAINED]
    assert all(one == rates[0] for one in rates)
    assert len(set(rates[0])) == 8


def test_the_losses_that_know_cosines_alone() -> None:
    premises = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    others = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])  # cosines 0.6, 1, 0.8, 0
    kinds = torch.tensor([1, 1, 0, 0])
    expected = {
        "Triplet": 0.5,  # 0.8 - 0.6 + 0.3, and nothing for the second; PML's mean is that over losses above 0
        "Siamese, contrastive": (1 - 0.6) + (0.8 - 0.2),
        "Siamese, cosine regression": (0.4**2 + 0 + 0.6**2 + 0.2**2) / 4,
    }
    for name, value in expected.items():
        assert loss_of(name, premises, others, kinds).item() == pytest.approx(value, rel=1e-5), name
