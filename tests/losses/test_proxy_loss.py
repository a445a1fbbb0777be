from __future__ import annotations

import copy
import pickle

import pytest
import torch
from pytorch_metric_learning import reducers, regularizers
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor

from pml_proxyext.losses.proxy_loss import ProxyLoss, element_loss

C, D = 4, 3


class NegativeSimilarityLoss(ProxyLoss):
    """The smallest proxy loss: minus the similarity to the own proxy, times the sample's weight."""

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return -self.get_logits(embeddings).gather(1, labels[:, None]).squeeze(1) * weights


EMBEDDINGS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
LABELS = torch.tensor([0, 1, 3])


def filled(**kwargs: object) -> NegativeSimilarityLoss:
    loss = NegativeSimilarityLoss(C, D, **kwargs)
    loss.proxies.data = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 3.0, 4.0]])
    return loss


def test_value_gradient_and_logits_by_hand():
    loss, embeddings = filled(), EMBEDDINGS.clone().requires_grad_()
    value = loss(embeddings, LABELS)
    value.backward()
    torch.testing.assert_close(value, torch.tensor(-(1.0 + 0.0 + 0.8) / 3))
    # d cos(e, p) / d p, orthogonal to p: for class 3, (e/|e| - cos * p/|p|) / |p|
    expected = -(torch.tensor([0.0, 0.0, 1.0]) - 0.8 * torch.tensor([0.0, 0.6, 0.8])) / 5 / 3
    torch.testing.assert_close(loss.proxies.grad[3], expected)
    assert (loss.proxies.grad[2] == 0).all()
    torch.testing.assert_close(loss.get_logits(EMBEDDINGS)[2], torch.tensor([0.0, 1.0, 3**-0.5, 0.8]))


def test_logits_are_larger_for_nearer_proxies_under_a_distance():
    loss = filled(distance=LpDistance(normalize_embeddings=False))
    torch.testing.assert_close(loss.get_logits(EMBEDDINGS)[0], -torch.tensor([1.0, 2**0.5, 2**0.5, 26**0.5]))


def test_element_loss_serves_every_reducer():
    losses = torch.tensor([1.0, 4.0])
    description = element_loss(losses)
    assert description["indices"].tolist() == [0, 1]
    for reducer, expected in [
        (reducers.MeanReducer(), 2.5),
        (reducers.SumReducer(), 5.0),
        (reducers.DivisorReducer(), 2.5),
        (reducers.ThresholdReducer(low=2.0), 4.0),
    ]:
        assert reducer({"loss": description}, torch.ones(2, 3), torch.tensor([0, 1])).item() == expected


def test_a_miners_tuples_become_weights():
    tuples = (torch.tensor([0, 0]), torch.tensor([2, 0]), torch.tensor([0, 0]))  # sample 0 five times, 2 once
    torch.testing.assert_close(filled()(EMBEDDINGS, LABELS, tuples), torch.tensor(-(1.0 + 0.8 / 5) / 3))


def test_weight_regularizer_and_initialiser_reach_the_proxies():
    loss = NegativeSimilarityLoss(
        C, D, weight_init_func=torch.nn.init.ones_, weight_regularizer=regularizers.LpRegularizer(), weight_reg_weight=2
    )
    assert (loss.proxies == 1).all()
    expected = -3 * 3**-0.5 / 3 + 2 * 3**0.5  # every cosine to (1, 1, 1) is 1 / sqrt(3), and so long are the proxies
    torch.testing.assert_close(loss(EMBEDDINGS, LABELS), torch.tensor(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_parameters_are_never_retyped(dtype, autocast):
    loss, embeddings = filled(), EMBEDDINGS.clone().to(dtype).detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(embeddings, LABELS)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.proxies.dtype == loss.proxies.grad.dtype == torch.float32
    assert embeddings.grad.dtype == dtype
    assert value.item() == pytest.approx(-0.6, rel=2e-2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type_serve(dtype):
    torch.testing.assert_close(filled()(EMBEDDINGS, LABELS.to(dtype)), filled()(EMBEDDINGS, LABELS))


def test_an_empty_batch_is_zero_with_a_graph():
    embeddings = torch.zeros(0, D, requires_grad=True)
    value = filled()(embeddings, torch.zeros(0, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert embeddings.grad.shape == (0, D)


def test_param_groups_take_the_papers_factor_or_the_callers():
    loss = filled()
    (group,) = loss.param_groups(1e-3)
    assert group["params"][0] is loss.proxies
    assert group["lr"] == pytest.approx(0.1)
    assert loss.param_groups(1e-3, proxies=30.0)[0]["lr"] == pytest.approx(0.03)
    with pytest.raises(ValueError, match="multipliers must name parameters, got 'proxy'"):
        loss.param_groups(1e-3, proxy=1.0, flow=2.0)


def test_init_from_turns_proxies_to_class_means_and_keeps_norms_and_absent_classes():
    loss = filled()
    before = loss.proxies.detach().clone()
    embeddings = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 0.1], [0.0, 7.0, 0.0], [0.0, 7.0, 0.0]])
    loss.init_from(embeddings.bfloat16(), torch.tensor([0, 0, 3, 3]))
    expected = before.clone()
    expected[0] = 2 * torch.tensor([0.5**0.5, 0.0, 0.5**0.5])  # directions count, not lengths
    expected[3] = torch.tensor([0.0, 5.0, 0.0])
    torch.testing.assert_close(loss.proxies.detach(), expected)
    assert loss.proxies.requires_grad
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 4\)"):
        loss.init_from(embeddings, torch.tensor([0, 0, 3, 4]))


def test_copies_and_state_round_trip():
    loss, other = filled(), NegativeSimilarityLoss(C, D)
    other.load_state_dict(loss.state_dict())
    for again in (other, copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(again(EMBEDDINGS, LABELS), loss(EMBEDDINGS, LABELS), rtol=0, atol=0)
    assert "num_classes=4, embedding_size=3" in repr(loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "num_classes must be an integer >= 1, got 0"),
        ((4, 2.5), "embedding_size must be an integer >= 1, got 2.5"),
    ],
)
def test_invalid_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NegativeSimilarityLoss(*arguments)


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (EMBEDDINGS, None, "labels"),
        (EMBEDDINGS[:, :2], LABELS, "embeddings must have embedding_size 3"),
        (EMBEDDINGS.long(), LABELS, "embeddings must be floating point"),
        (EMBEDDINGS, LABELS + 1, r"labels must lie in \[0, 4\), got values from 1 to 4"),
        (EMBEDDINGS, LABELS.float(), "labels must be integers, got torch.float32"),
        (EMBEDDINGS, LABELS[:2], "."),
    ],
)
def test_invalid_inputs_are_named(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        filled()(embeddings, labels)


def test_reference_embeddings_are_not_supported():
    with pytest.raises(ValueError, match="ref_emb is not supported"):
        filled()(EMBEDDINGS, LABELS, ref_emb=EMBEDDINGS.clone(), ref_labels=LABELS)
