"""A recipe trained in memory gives an encoder whose scores are the ones reported."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn.functional import normalize

from pml_proxyext.benchmark.datasets import RetrievalData, load_data
from pml_proxyext.benchmark.recipe_fits import fit_recipe
from pml_proxyext.benchmark.recipes import get_recipe


def small_glyphs() -> RetrievalData:
    return load_data("glyphs", "validation").first_classes(60)


RECIPE = dataclasses.replace(get_recipe("supcon"), trunk="perceptron", embedding_size=8, batch_size=32)


def test_the_encoder_makes_the_embeddings_that_were_scored() -> None:
    data = small_glyphs()
    fit = fit_recipe(RECIPE, data, seed=0, steps=3)
    assert not fit.encoder.training
    with torch.no_grad():
        own = normalize(fit.encoder(data.evaluation.images))
    torch.testing.assert_close(own, fit.embeddings)
    nearest = (own @ own.T).fill_diagonal_(-2).argmax(1)
    precision = (data.evaluation.labels[nearest] == data.evaluation.labels).double().mean().item()
    assert abs(precision - fit.metrics["precision_at_1"]) < 5e-3  # ties of equal images may fall otherwise


def test_a_seed_says_all_and_steps_train() -> None:
    data = small_glyphs()
    first, again, more, other = (
        fit_recipe(RECIPE, data, seed=seed, steps=steps) for seed, steps in ((0, 2), (0, 2), (0, 6), (1, 2))
    )
    assert torch.equal(first.embeddings, again.embeddings)
    assert not torch.equal(first.embeddings, more.embeddings)
    assert not torch.equal(first.embeddings, other.embeddings)


def test_losses_start_from_the_same_network() -> None:
    data = small_glyphs()
    untrained = dataclasses.replace(get_recipe("untrained"), trunk="perceptron", embedding_size=8, steps=None)
    slow = dataclasses.replace(RECIPE, lr=1e-12, weight_decay=0.0)
    start, end = fit_recipe(untrained, data, seed=3, steps=0), fit_recipe(slow, data, seed=3, steps=1)
    torch.testing.assert_close(start.embeddings, end.embeddings)
