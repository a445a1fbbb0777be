"""In chunks a loss must be what it is without them; what it is without is tested with the losses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.reducers import ClassWeightedReducer
from pytorch_metric_learning.regularizers import LpRegularizer
from torch import Tensor, nn

from pml_proxyext.losses import CrossEntropyDMLLoss, NIRLoss, NivMFLoss, ProxyAnchorLoss
from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.testing import loss_checks
from pml_proxyext.testing.subject import seeded
from pml_proxyext.wrappers import ChunkedProxies

C, D, N = 7, 6, 9
DEVIANCE = BinomialDeviance(alpha=0.1, positive_margin=1.0, negative_margin=-1.0, positives="classes")


def nivmf(similarity: str, **kwargs: Any) -> NivMFLoss:
    loss = NivMFLoss(C, D, similarity, temperature=0.3, norm_multiplier=4.0, **kwargs)
    if similarity != "cosine":
        nn.init.uniform_(loss.concentrations, 1.0, 20.0)  # alike, they would let a wrong centre pass
    return loss


LOSSES: dict[str, Callable[[], Any]] = {
    "normalized_softmax": lambda: pml.NormalizedSoftmaxLoss(C, D),
    "normalized_softmax_lp": lambda: pml.NormalizedSoftmaxLoss(C, D, distance=LpDistance()),
    "arcface": lambda: pml.ArcFaceLoss(C, D),
    "cosface": lambda: pml.CosFaceLoss(C, D),
    "proxy_nca": lambda: pml.ProxyNCALoss(C, D, softmax_scale=3.0),
    "proxy_nca_dot": lambda: pml.ProxyNCALoss(C, D, distance=DotProductSimilarity()),
    **{f"anchor_{v}": lambda v=v: ProxyAnchorLoss(C, D, variant=v) for v in ("class", "sample", "nca")},
    "anchor_lp": lambda: ProxyAnchorLoss(C, D, distance=LpDistance()),
    **{s: lambda s=s: nivmf(s) for s in ("nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine")},
    "el_nivmf": lambda: nivmf("el_nivmf"),
    "closed_form": lambda: nivmf("el_nivmf", estimator="closed_form", warp_samples=False),
    "released": lambda: nivmf("el_nivmf", normalization="released", warp_samples=False),
    "guided": lambda: nivmf("el_vmf", guidance_weight=0.7),
    "deviance": lambda: nivmf("el_vmf", objective=DEVIANCE),
}


def batch(dtype: torch.dtype = torch.float64, rows: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(rows, D, generator=generator, dtype=torch.float64).to(dtype)
    return embeddings.requires_grad_(), torch.randint(C - 1, (rows,), generator=generator)


def build(name: str) -> tuple[nn.Module, nn.Module]:
    """Return the same loss twice, in double precision."""
    pair = []
    for _ in range(2):
        with seeded(0):
            pair.append(LOSSES[name]().double())
    return pair[0], pair[1]


def gradients(loss: nn.Module, embeddings: Tensor, labels: Tensor, *arguments: Any) -> list[Tensor]:
    """Return the value and the gradients of embeddings and parameters."""
    embeddings = embeddings.detach().requires_grad_()
    with seeded(5):
        value = loss(embeddings, labels, *arguments)
    value.backward()
    return [value.detach(), embeddings.grad, *(parameter.grad for parameter in loss.parameters())]


def assert_same(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("chunk_size", [1, 3, C, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_are_those_of_the_loss(name: str, chunk_size: int) -> None:
    plain, wrapped = build(name)
    chunked = ChunkedProxies(wrapped, chunk_size)
    assert_same(gradients(chunked, *batch()), gradients(plain, *batch()))


@pytest.mark.parametrize("name", ["normalized_softmax", "arcface", "anchor_class", "nivmf"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    loss = ChunkedProxies(build(name)[1], chunk_size=3)
    embeddings, labels = batch(rows=3)
    parameters = dict(loss.named_parameters())
    assert torch.autograd.gradcheck(
        lambda e, *values: torch.func.functional_call(loss, dict(zip(parameters, values, strict=True)), (e, labels)),
        (embeddings, *(p.detach().clone().requires_grad_() for p in parameters.values())),
    )


def test_softmax_in_chunks_is_its_definition_sample_by_sample() -> None:
    loss = ChunkedProxies(build("arcface")[1], chunk_size=2)
    embeddings, labels = batch()
    total = 0.0
    for e, y in zip(embeddings.detach(), labels.tolist(), strict=True):
        cosines = [float(e @ w / e.norm() / w.norm()) for w in loss.loss.W.detach().t()]
        logits = torch.tensor([64 * c for c in cosines], dtype=torch.float64)
        angle = torch.tensor(cosines[y], dtype=torch.float64).acos() + torch.deg2rad(torch.tensor(28.6)).double()
        assert angle < torch.pi
        logits[y] = 64 * angle.cos()
        total -= float(logits.log_softmax(0)[y])
    assert float(loss(embeddings, labels).detach()) == pytest.approx(
        total / len(labels), rel=1e-7
    )  # 28.6 degrees in float32


def test_tuples_reducers_and_regularizers_are_those_of_the_loss() -> None:
    weights = torch.linspace(0.1, 2.0, C, dtype=torch.float64)

    def loss() -> pml.NormalizedSoftmaxLoss:
        with seeded(0):
            return pml.NormalizedSoftmaxLoss(
                C,
                D,
                reducer=ClassWeightedReducer(weights),
                weight_regularizer=LpRegularizer(),
                weight_reg_weight=0.3,
                embedding_regularizer=LpRegularizer(),
                embedding_reg_weight=0.2,
            ).double()

    triplets = (torch.tensor([0, 0, 3]), torch.tensor([1, 2, 4]), torch.tensor([5, 6, 7]))
    actual = gradients(ChunkedProxies(loss(), chunk_size=3), *batch(), triplets)
    assert_same(actual, gradients(loss(), *batch(), triplets))


def test_nir_takes_a_chunked_base() -> None:
    def loss(chunk: bool) -> NIRLoss:
        with seeded(0):
            base = ProxyAnchorLoss(C, D)
            return NIRLoss(C, D, ChunkedProxies(base, chunk_size=2) if chunk else base, noise_scale=0.0).double()

    assert_same(gradients(loss(True), *batch()), gradients(loss(False), *batch()))


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_and_autocast_give_float32_values_and_leave_the_parameters(name: str) -> None:
    plain, wrapped = build(name)
    chunked = ChunkedProxies(wrapped.float(), chunk_size=3)
    embeddings, labels = batch(torch.bfloat16)
    expected = gradients(plain.float(), embeddings.float(), labels)[0]  # float64 would draw other samples
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradients(chunked, embeddings, labels)
    outside = gradients(chunked, embeddings, labels)
    for value in (inside[0], outside[0]):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert inside[1].dtype == torch.bfloat16
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in chunked.parameters())


@pytest.mark.parametrize("name", ["normalized_softmax", "l2"])
def test_compiles_into_one_graph(name: str) -> None:
    plain, wrapped = build(name)
    chunked = ChunkedProxies(wrapped, chunk_size=4)
    torch.compiler.reset()
    chunked.compile(backend="aot_eager", fullgraph=True)
    assert_same(gradients(chunked, *batch()), gradients(plain, *batch()), tolerance=1e-11)
    torch.compiler.reset()


def test_no_matrix_of_all_classes_is_kept_or_made() -> None:
    """Neither forward nor backward: the largest tensor of a step has the size of the parameters or of a chunk."""
    num_classes, rows, chunk = 600, 80, 10
    with seeded(0):
        loss = NivMFLoss(num_classes, 4, "el_vmf", temperature=0.3)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            found = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
            self.size = max([self.size, *(t.numel() for t in found)])
            return result

    def largest(one: nn.Module) -> int:
        embeddings = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with Largest() as mode:
            one(embeddings, torch.arange(rows)).backward()
        return mode.size

    assert largest(copy.deepcopy(loss)) == num_classes * rows
    assert largest(ChunkedProxies(loss, chunk)) <= max(4 * num_classes, rows * rows)


def test_odd_batches_are_finite_and_keep_the_graph() -> None:
    loss = ChunkedProxies(ProxyAnchorLoss(C, D), chunk_size=2)
    for labels in (torch.tensor([], dtype=torch.long), torch.tensor([0]), torch.tensor([6, 6, 6])):
        embeddings = torch.zeros(len(labels), D, requires_grad=True)
        value = loss(embeddings, labels)
        value.backward()
        assert value.isfinite()
    embeddings, labels = batch(torch.float32)
    broken = embeddings.detach().clone()
    broken[2] = torch.nan
    assert loss(broken, labels).isnan()


@pytest.mark.parametrize("check", loss_checks(lambda **kwargs: ChunkedProxies(ProxyAnchorLoss(C, D, **kwargs), 4)))
def test_conforms_as_losses_do(check: Callable[[], None]) -> None:
    check()


def test_optimizers_get_the_groups_of_the_loss() -> None:
    (group,) = ChunkedProxies(pml.ArcFaceLoss(C, D)).param_groups(0.1)
    assert group["lr"] == pytest.approx(10.0)
    ours = nivmf("el_vmf")
    rates = {
        id(p): group["lr"] for group in ChunkedProxies(ours).param_groups(0.1, proxies=3.0) for p in group["params"]
    }
    assert rates[id(ours.proxies)] == pytest.approx(0.3)
    assert rates[id(ours.log_temperature)] == pytest.approx(20.0)


def test_state_is_that_of_the_loss() -> None:
    one, other = (ChunkedProxies(loss, chunk_size=2) for loss in (build("arcface")[0], pml.ArcFaceLoss(C, D)))
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.loss.W.double(), one.loss.W, rtol=0, atol=0)
    assert one.proxies.shape == (C, D)
    assert one.get_logits(batch()[0]).shape == (N, C)


@pytest.mark.parametrize(
    "loss",
    [
        lambda: pml.SupConLoss(),
        lambda: pml.SubCenterArcFaceLoss(num_classes=C, embedding_size=D),
        lambda: CrossEntropyDMLLoss(C, D),
    ],
)
def test_other_losses_are_refused(loss: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"loss must be one of .*NivMFLoss.* got"):
        ChunkedProxies(loss())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size must be an integer >= 1, got 0"):
        ChunkedProxies(pml.ArcFaceLoss(C, D), chunk_size=0)
    with pytest.raises(ValueError, match="objective must have the methods of_slice"):
        ChunkedProxies(nivmf("el_vmf", objective=lambda logits, labels, weights: logits.sum(1)))
    loss = ChunkedProxies(pml.ArcFaceLoss(C, D))
    with pytest.raises(ValueError, match="labels must lie in"):
        loss(torch.zeros(2, D), torch.tensor([0, C]))
    with pytest.raises(ValueError, match="embedding_size"):
        loss(torch.zeros(2, D + 1), torch.tensor([0, 1]))
