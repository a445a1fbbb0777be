from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity
from torch import Tensor, nn
from torch.nn import functional as F

from pml_proxyext.losses import CrossEntropyDMLLoss, NIRLoss

C, D = 5, 6
BOTH = pytest.mark.parametrize("smoothing", ["boudiaf", "torch"])


def trained(dropout: float = 0.0, **kwargs: object) -> CrossEntropyDMLLoss:
    """Return a loss whose classifier has left zero, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        loss = CrossEntropyDMLLoss(C, D, dropout=dropout, weight_init_func=nn.init.normal_, **kwargs).double()
        nn.init.normal_(loss.bias)
    return loss


def batch(rows: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, D, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.randint(C, (rows,), generator=generator)


def target(label: int, epsilon: float, smoothing: str) -> list[float]:
    if smoothing == "boudiaf":
        return [1 - epsilon if c == label else epsilon / (C - 1) for c in range(C)]
    return [(c == label) * (1 - epsilon) + epsilon / C for c in range(C)]


def naive(loss: CrossEntropyDMLLoss, embeddings: Tensor, labels: Tensor) -> float:
    """The definition, one logarithm at a time."""
    w, b, total = loss.proxies.tolist(), loss.bias.tolist(), 0.0
    for z, y in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = [sum(wd * zd for wd, zd in zip(w[c], z, strict=True)) + b[c] for c in range(C)]
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        q = target(y, loss.label_smoothing, loss.smoothing)
        total -= sum(q[c] * (logits[c] - log_sum) for c in range(C))
        if loss.smoothing == "boudiaf":
            total += sum(p * math.log(p) for p in q if p > 0)
    return total / len(labels)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 12),
    smoothing=st.sampled_from(["boudiaf", "torch"]),
    epsilon=st.sampled_from([0.0, 0.1, 0.3, 0.8]),
)
def test_value_is_that_of_a_loop(seed, rows, smoothing, epsilon):
    loss, (embeddings, labels) = trained(label_smoothing=epsilon, smoothing=smoothing), batch(rows, seed)
    value = loss(embeddings, labels).item()
    assert value == pytest.approx(naive(loss, embeddings, labels), rel=1e-10, abs=1e-12)
    assert value >= 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_zero_initialised_classifier_loses_log_c_minus_the_targets_entropy(epsilon, training):
    embeddings, labels = batch()
    entropy = -sum(q * math.log(q) for q in target(0, epsilon, "boudiaf") if q)
    for smoothing, expected in [("boudiaf", math.log(C) - entropy), ("torch", math.log(C))]:
        loss = CrossEntropyDMLLoss(C, D, epsilon, smoothing).train(training)
        assert loss(100 * embeddings, labels).item() == pytest.approx(expected, rel=1e-12)
        assert (loss.get_logits(embeddings) == 0).all()


def test_boudiaf_is_the_kl_divergence_and_torch_is_torchs_cross_entropy_of_a_linear_layer():
    embeddings, labels = batch()
    loss = trained(label_smoothing=0.2)
    layer = nn.Linear(D, C).double()
    layer.load_state_dict({"weight": loss.proxies.detach(), "bias": loss.bias.detach()})
    q = torch.tensor([target(y, 0.2, "boudiaf") for y in labels.tolist()], dtype=torch.float64)
    expected = F.kl_div(layer(embeddings).log_softmax(1), q, reduction="batchmean")
    torch.testing.assert_close(loss(embeddings, labels), expected)
    expected = F.cross_entropy(layer(embeddings), labels, label_smoothing=0.2)
    torch.testing.assert_close(trained(label_smoothing=0.2, smoothing="torch")(embeddings, labels), expected)


def test_the_two_smoothings_share_gradients_at_corresponding_strengths():
    embeddings, labels = batch()
    losses = trained(label_smoothing=0.2), trained(label_smoothing=0.2 * C / (C - 1), smoothing="torch")
    gradients = [torch.autograd.grad(x(embeddings, labels), [embeddings, x.proxies, x.bias]) for x in losses]
    torch.testing.assert_close(gradients[0], gradients[1])


@BOTH
def test_gradient_is_that_of_softmax_minus_target(smoothing):
    loss, (embeddings, labels) = trained(label_smoothing=0.2, smoothing=smoothing), batch()
    loss(embeddings, labels).backward()
    q = torch.tensor([target(y, 0.2, smoothing) for y in labels.tolist()], dtype=torch.float64)
    logits = embeddings @ loss.proxies.t() + loss.bias
    residual = (logits.softmax(1) - q).detach() / len(labels)
    torch.testing.assert_close(loss.proxies.grad, residual.t() @ embeddings.detach())
    torch.testing.assert_close(loss.bias.grad, residual.sum(0))
    torch.testing.assert_close(embeddings.grad, residual @ loss.proxies.detach())


def test_loss_is_zero_where_the_softmax_is_the_target():
    loss = CrossEntropyDMLLoss(C, D, label_smoothing=0.2, dropout=0.0).double()
    with torch.no_grad():
        loss.bias.copy_(torch.tensor(target(3, 0.2, "boudiaf")).log())
    assert loss(batch()[0], torch.full((9,), 3)).item() == pytest.approx(0.0, abs=1e-7)


def test_without_smoothing_both_are_the_plain_cross_entropy_also_for_one_class():
    embeddings, labels = batch()
    values = [trained(label_smoothing=0.0, smoothing=s)(embeddings, labels) for s in ("boudiaf", "torch")]
    torch.testing.assert_close(*values)
    assert CrossEntropyDMLLoss(1, D, label_smoothing=0.0)(embeddings, torch.zeros_like(labels)).item() == 0


def test_the_largest_smoothing_asks_for_the_uniform_distribution():
    embeddings, labels = batch()
    for classes in range(2, 12):  # among them some where rounding would ask torch for more than 1
        loss = CrossEntropyDMLLoss(classes, D, 1 - 1 / classes, dropout=0.0)
        assert loss(embeddings, labels % classes).item() == pytest.approx(0.0, abs=1e-7)


def test_dropout_zeroes_coordinates_and_scales_the_rest():
    loss = CrossEntropyDMLLoss(D, D, dropout=0.3, label_smoothing=0.0, weight_init_func=nn.init.eye_)
    seen = []
    original = loss.get_logits
    loss.get_logits = lambda embeddings: seen.append(embeddings) or original(embeddings)
    loss.generator = torch.Generator().manual_seed(0)
    loss(torch.ones(4000, D), torch.zeros(4000, dtype=torch.long))
    (dropped,) = seen
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / (1 - 0.3)).item()}
    # 24000 draws: the share of zeros is within 4.5 standard deviations but for 7 seeds in a million.
    assert (dropped == 0).double().mean().item() == pytest.approx(0.3, abs=4.5 * (0.3 * 0.7 / 24000) ** 0.5)


def test_dropout_repeats_with_its_generator_and_leaves_torchs_own_alone():
    embeddings, labels = batch()
    state = torch.random.get_rng_state()
    values = [
        trained(dropout=0.5, generator=torch.Generator().manual_seed(seed))(embeddings, labels).item()
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_dropout_ends_with_training_and_never_reaches_the_logits():
    embeddings, labels = batch()
    loss, plain = trained(dropout=0.5), trained()
    assert loss(embeddings, labels) != plain(embeddings, labels)
    torch.testing.assert_close(loss.get_logits(embeddings), plain.get_logits(embeddings), rtol=0, atol=0)
    torch.testing.assert_close(loss.eval()(embeddings, labels), plain(embeddings, labels), rtol=0, atol=0)


def test_dropout_in_half_precision_drops_as_often_as_it_says():
    loss = CrossEntropyDMLLoss(1, D, dropout=0.001, label_smoothing=0.0, generator=torch.Generator().manual_seed(0))
    dropped = loss._drop(torch.ones(50_000, D, dtype=torch.bfloat16))
    # 300000 draws, binomial with mean 300 and standard deviation 17.3; five of them: 6 seeds in ten million fail.
    # Drawn in bfloat16, which has steps of 1/256 there, the mean would be 1172.
    assert (dropped == 0).sum().item() == pytest.approx(300, abs=87)


def test_a_miners_tuples_weigh_the_samples():
    loss, (embeddings, labels) = trained(), batch(3)
    tuples = (torch.tensor([0, 0]), torch.tensor([2, 0]), torch.tensor([0, 0]))  # sample 0 five times, 2 once
    each = [naive(loss, embeddings[i : i + 1], labels[i : i + 1]) for i in range(3)]
    assert loss(embeddings, labels, tuples).item() == pytest.approx((each[0] + each[2] / 5) / 3)


def test_groups_leave_weight_decay_to_the_optimizer_but_for_the_bias():
    loss = CrossEntropyDMLLoss(C, D)
    optimizer = torch.optim.SGD(loss.param_groups(0.02, proxies=3.0), lr=1.0, weight_decay=5e-4)
    settings_of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert settings_of[id(loss.proxies)] == (pytest.approx(0.06), 5e-4)
    assert settings_of[id(loss.bias)] == (0.02, 0.0)
    assert [group["lr"] for group in loss.param_groups(0.02)] == [0.02, 0.02]


def test_it_serves_as_the_base_of_nir_and_with_a_cosine():
    embeddings, labels = batch()
    assert NIRLoss(C, D, proxy_loss=trained().float())(embeddings.float(), labels).isfinite()
    loss = trained(distance=CosineSimilarity())
    expected = F.normalize(embeddings) @ F.normalize(loss.proxies).t() + loss.bias
    torch.testing.assert_close(loss.get_logits(embeddings), expected)


def test_repr_shows_the_settings():
    assert "label_smoothing=0.1, dropout=0.5, smoothing=boudiaf" in repr(CrossEntropyDMLLoss(C, D))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 0.9}, "label_smoothing must be a finite number >= 0 and <= 0.8, got 0.9"),
        ({"label_smoothing": 1.1, "smoothing": "torch"}, "label_smoothing must be .* <= 1, got 1.1"),
        ({"smoothing": "pytorch"}, "smoothing must be one of 'boudiaf', 'torch', got 'pytorch'"),
        ({"dropout": 1.0}, "dropout must be a finite number >= 0 and < 1, got 1.0"),
        ({"dropout": -0.1}, "dropout must be a finite number >= 0 and < 1, got -0.1"),
    ],
)
def test_invalid_hyper_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropyDMLLoss(C, D, **arguments)


def test_the_least_smoothing_there_is_is_none():
    embeddings, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 2])
    values = []
    for smoothing in (5e-324, 0.0):
        loss = CrossEntropyDMLLoss(3, 3, label_smoothing=smoothing, dropout=0.0, weight_init_func=None)
        loss.proxies.data = torch.eye(3)
        values.append(loss(embeddings, labels))
    torch.testing.assert_close(*values)
