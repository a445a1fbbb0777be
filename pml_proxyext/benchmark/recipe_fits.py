"""A recipe trained and scored once, in memory: for experiments that look at the network itself."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pml_proxyext.benchmark.datasets import DATASETS, RetrievalData
from pml_proxyext.benchmark.evaluation import Evaluator
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.training import Training

__all__ = ["RecipeFit", "fit_recipe"]


@dataclass(frozen=True)
class RecipeFit:
    """What :func:`fit_recipe` gives.

    Attributes:
        encoder: trunk and embedder, in evaluation mode, without a normalisation of their outputs.
        metrics: retrieval scores on the evaluation classes.
        embeddings: of the evaluation images, ``(N, D)``, of norm 1.
    """

    encoder: nn.Sequential
    metrics: dict[str, float]
    embeddings: Tensor


def fit_recipe(recipe: Recipe, data: RetrievalData, seed: int, steps: int) -> RecipeFit:
    """Train by a recipe, in one go and without files that stay, and score the network at the end.

    Initial weights and batches depend on the seed and not on the loss.

    Args:
        recipe: what it leaves open is taken from the data set, as in :class:`~pml_proxyext.benchmark.run.Run`.
        data: what to train and to score on.
        seed: of everything random.
        steps: batches.
    """
    recipe = recipe.completed(DATASETS[data.name].shared)
    recipe = dataclasses.replace(recipe, steps=steps, regime=dataclasses.replace(recipe.regime, evaluations=1))
    training = Training(recipe, data.train, seed)
    evaluator = Evaluator(data.evaluation)
    with tempfile.TemporaryDirectory(prefix="pml-proxyext-") as scratch:
        metrics = training.fit(evaluator, Path(scratch) / "checkpoint.pt")
    encoder = nn.Sequential(training.models["trunk"], training.models["embedder"])
    return RecipeFit(encoder.eval(), metrics, evaluator.tester.embeddings)
