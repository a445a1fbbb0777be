from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as pml_losses

from pml_proxyext.testing import describe_loss

from .broken_losses import Right, RightPairs


class Noisy(Right):
    def sample_losses(self, *arguments: Any) -> torch.Tensor:
        return super().sample_losses(*arguments) + torch.rand(())


class OwnsGenerator(Right):
    def __init__(self, *sizes: int, **kwargs: Any) -> None:
        super().__init__(*sizes, **kwargs)
        self.generator = torch.Generator()


class NeedsTwoViews(RightPairs):
    def compute_loss(self, embeddings: Any, labels: Any, tuples: Any, ref: Any, ref_labels: Any) -> Any:
        if ref is embeddings:
            raise ValueError("ref_emb is required")
        return super().compute_loss(embeddings, labels, tuples, ref, ref_labels)


def test_proxy_loss_is_described_by_its_sizes_and_refusals() -> None:
    profile = describe_loss(partial(Right, 4, 5))
    assert (profile.num_classes, profile.embedding_size) == (4, 5)
    assert (profile.ref_emb, profile.tuples, profile.random, profile.fullgraph) == ("refused", True, False, True)


def test_pair_loss_takes_any_labels_and_a_second_set() -> None:
    profile = describe_loss(RightPairs)
    assert (profile.num_classes, profile.ref_emb, profile.tuples, profile.fullgraph) == (None, "optional", True, False)


def test_loss_that_refuses_tuples_is_seen() -> None:
    assert not describe_loss(pml_losses.InstanceLoss).tuples


def test_loss_that_needs_a_second_set_is_seen() -> None:
    assert describe_loss(NeedsTwoViews).ref_emb == "required"


def test_random_loss_is_seen_by_its_draws_or_its_generator() -> None:
    assert describe_loss(partial(Noisy, 6, 8)).random
    profile = describe_loss(partial(OwnsGenerator, 6, 8))
    assert profile.random
    assert not profile.fullgraph


def test_what_is_known_is_not_guessed() -> None:
    profile = describe_loss(RightPairs, ref_emb="refused", embedding_size=3)
    assert (profile.ref_emb, profile.embedding_size) == ("refused", 3)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'num_classes'"):
        describe_loss(RightPairs, num_clases=3)


def test_describing_leaves_the_generators_of_torch_and_numpy_alone() -> None:
    import numpy as np

    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    describe_loss(partial(Noisy, 6, 8))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
