from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import reducers
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor

from pml_proxyext.losses import ProxyAnchorLoss

C, D = 5, 6


def proxy_anchor(**kwargs: object) -> ProxyAnchorLoss:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return ProxyAnchorLoss(C, D, **kwargs)


def batch(rows: int = 9, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, D, generator=generator, dtype=torch.float64).to(dtype)
    return embeddings.requires_grad_(), torch.randint(C - 1, (rows,), generator=generator)


def naive(loss: ProxyAnchorLoss, embeddings: Tensor, labels: Tensor) -> float:
    """The definitions, one exponential at a time."""
    proxies, embeddings, y = loss.proxies.detach().to(embeddings), embeddings.detach(), labels.tolist()
    s = [[float(e @ p / e.norm() / p.norm()) for p in proxies] for e in embeddings]

    def pull(i: int, c: int) -> float:
        return math.exp(-loss.alpha * (s[i][c] - loss.margin))

    def push(i: int, c: int) -> float:
        return math.exp(loss.alpha * (s[i][c] + loss.margin))

    n = range(len(y))
    if loss.variant == "nca":
        positive = [math.log1p(sum(pull(i, y[j]) for j in n if y[j] == y[i])) for i in n]
        negative = [math.log1p(sum(push(i, c) for c in range(C) if c != y[i])) for i in n]
        return (sum(positive) + sum(negative)) / len(y)
    columns = y if loss.variant == "sample" else sorted(set(y))
    positive = [math.log1p(sum(pull(i, c) for i in n if y[i] == c)) for c in columns]
    negative = [math.log1p(sum(push(i, c) for i in n if y[i] != c)) for c in range(C)]
    return sum(positive) / len(positive) + sum(negative) / C


def test_every_variant_matches_the_release_of_nir(released_nir):
    r = released_nir
    for variant, total, gradients in [
        ("sample", r.proxy_anchor_value, r.grad_anchor_only),
        ("nca", r.proxy_nca_value, r.grad_nca_only),
    ]:
        loss = ProxyAnchorLoss(r.C, r.D, variant=variant).double()
        loss.proxies.data.copy_(r.proxies_raw)
        embeddings = r.embeddings.clone().requires_grad_()
        value = loss(embeddings, r.labels)
        value.backward()
        assert value.item() == pytest.approx(total, rel=1e-9)
        expected = {name: torch.tensor(gradients[name], dtype=torch.float64) for name in ("embeddings", "proxies_raw")}
        # The release differentiates with respect to embeddings that its network has normalized before.
        network_output = r.embeddings.clone().requires_grad_()
        torch.nn.functional.normalize(network_output).backward(expected["embeddings"])
        torch.testing.assert_close(embeddings.grad, network_output.grad, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(loss.proxies.grad, expected["proxies_raw"], rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 12),
    variant=st.sampled_from(["class", "sample", "nca"]),
    alpha=st.sampled_from([1.0, 32.0]),
    margin=st.sampled_from([0.0, 0.1]),
)
def test_value_is_that_of_a_loop(seed, rows, variant, alpha, margin):
    loss, (embeddings, labels) = proxy_anchor(variant=variant, alpha=alpha, margin=margin), batch(rows, seed)
    assert loss(embeddings, labels).item() == pytest.approx(naive(loss, embeddings, labels), rel=1e-10)


@pytest.mark.parametrize("tuples", [None, (torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([3, 4]))])
@pytest.mark.parametrize("rows", [1, 2, 9, 30])
def test_class_variant_has_the_value_and_gradients_of_pml(rows, tuples):
    if tuples is not None and rows < 5:
        tuples = (torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    ours, theirs = proxy_anchor().double(), pml.ProxyAnchorLoss(C, D).double()
    theirs.load_state_dict(ours.state_dict())
    embeddings, labels = batch(rows)
    results = []
    for loss in (ours, theirs):
        embeddings.grad = None
        value = loss(embeddings, labels, tuples)
        value.backward()
        results.append((value.detach(), embeddings.grad.clone(), loss.proxies.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_class_and_sample_variants_agree_when_classes_have_equal_counts():
    embeddings, labels = batch(8)[0], torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    values = [proxy_anchor(variant=variant)(embeddings, labels) for variant in ("class", "sample")]
    torch.testing.assert_close(*values)
    assert not torch.isclose(*(proxy_anchor(variant=v)(embeddings[:7], labels[:7]) for v in ("class", "sample")))


@pytest.mark.parametrize("variant", ["class", "sample", "nca"])
def test_gradients_are_right_and_half_precision_and_autocast_keep_the_parameters(variant):
    loss, (embeddings, labels) = proxy_anchor(variant=variant, alpha=4.0), batch(4)
    exact = copy.deepcopy(loss).double()
    assert torch.autograd.gradcheck(lambda e, p: functional(exact, e, labels, p), (embeddings, exact.proxies))
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            value = loss(embeddings.to(dtype), labels)
        value.backward()
        assert value.dtype == loss.proxies.dtype == loss.proxies.grad.dtype == torch.float32
        assert value.item() == pytest.approx(exact(embeddings, labels).item(), rel=0.05)


def functional(loss: ProxyAnchorLoss, embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
    return torch.func.functional_call(loss, {"proxies": proxies}, (embeddings, labels))


def test_a_class_weight_of_zero_silences_the_samples_of_the_class():
    embeddings, labels = batch()
    weights = torch.ones(C, dtype=torch.float64)
    weights[labels[0]] = 0.0
    loss = proxy_anchor(reducer=reducers.ClassWeightedReducer(weights))
    per_sample = proxy_anchor().compute_loss(embeddings, labels, None, embeddings, labels)["loss"]["losses"]
    assert per_sample.shape == labels.shape
    torch.testing.assert_close(loss(embeddings, labels), (per_sample * weights[labels]).mean())


def test_the_term_of_a_proxy_is_shared_in_proportion_to_what_each_sample_adds_to_its_sum():
    loss, (embeddings, labels) = proxy_anchor(alpha=4.0, variant="sample"), batch()
    losses = loss.sample_losses(embeddings, labels, torch.ones(len(labels), dtype=torch.float64))
    cosine = loss.get_logits(embeddings).tolist()
    y, n = labels.tolist(), range(len(labels))
    for i in n:
        expected = math.log1p(sum(math.exp(-4 * (cosine[j][y[i]] - 0.1)) for j in n if y[j] == y[i]))
        for c in range(C):
            if c != y[i]:
                total = sum(math.exp(4 * (cosine[j][c] + 0.1)) for j in n if y[j] != c)
                expected += len(y) / C * math.log1p(total) * math.exp(4 * (cosine[i][c] + 0.1)) / total
        assert losses[i].item() == pytest.approx(expected, rel=1e-10)


def test_a_true_distance_enters_with_a_minus_sign():
    loss, (embeddings, labels) = proxy_anchor(distance=LpDistance()), batch()
    unit = torch.nn.functional.normalize
    expected = -torch.cdist(unit(embeddings), unit(loss.proxies.to(embeddings)))
    torch.testing.assert_close(loss.get_logits(embeddings), expected)
    assert loss(embeddings, labels).isfinite()


def test_invalid_hyper_parameters_are_named():
    for arguments, message in [
        ({"alpha": 0.0}, "alpha must be a finite number > 0, got 0.0"),
        ({"margin": math.nan}, "margin must be a finite number, got nan"),
        ({"variant": "classes"}, "variant must be one of .*; did you mean 'class'"),
    ]:
        with pytest.raises(ValueError, match=message):
            proxy_anchor(**arguments)


def test_it_compiles_without_graph_breaks():
    torch.compiler.reset()
    for variant in ("class", "sample", "nca"):
        loss, (embeddings, labels) = proxy_anchor(variant=variant), batch(dtype=torch.float32)
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(embeddings, labels), loss(embeddings, labels))
