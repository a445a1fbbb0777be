"""On any number of processes a loss must be what it is on one; what it is on one is tested with the losses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import ClassWeightedReducer
from pytorch_metric_learning.regularizers import LpRegularizer
from pytorch_metric_learning.utils import distributed as pml_distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pml_proxyext.losses import NIRLoss, NivMFLoss, ProxyAnchorLoss
from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.testing.subject import seeded
from pml_proxyext.wrappers import DistributedLossWrapper, ShardedProxies, load_whole
from pml_proxyext.wrappers.rank_slices import class_range

C, D, N = 10, 6, 12
MakeLoss = Callable[[int], Any]
WEIGHTS = torch.arange(1.0, C + 1)
DEVIANCE = BinomialDeviance(alpha=0.1, positive_margin=1.0, negative_margin=-1.0, positives="classes")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nivmf(similarity: str, draws: bool = False, **kwargs: Any) -> MakeLoss:
    def make(count: int) -> NivMFLoss:
        noise = {"generator": generator(3)} if draws else {}
        return NivMFLoss(count, D, similarity, temperature=4.0, norm_multiplier=2.0, **noise, **kwargs)

    return make


def nir(count: int, base: Any = None) -> NIRLoss:
    return NIRLoss(count, D, base, n_blocks=1, n_layers=2, hidden_size=8, proxy_weight=0.5, generator=generator())


# Scales and temperatures at which the bare losses themselves are right to 1e-6 in float32.
LOSSES: dict[str, MakeLoss] = {
    "normalized_softmax": lambda count: pml.NormalizedSoftmaxLoss(count, D),
    "class_weights": lambda count: pml.NormalizedSoftmaxLoss(count, D, reducer=ClassWeightedReducer(WEIGHTS)),
    "regularized": lambda count: pml.NormalizedSoftmaxLoss(count, D, embedding_regularizer=LpRegularizer()),
    "arcface": lambda count: pml.ArcFaceLoss(count, D, scale=8),
    "cosface": lambda count: pml.CosFaceLoss(count, D, scale=8),
    "proxy_nca": lambda count: pml.ProxyNCALoss(count, D, softmax_scale=3.0),
    "anchor": lambda count: ProxyAnchorLoss(count, D, alpha=8.0),
    "anchor_lp": lambda count: ProxyAnchorLoss(count, D, alpha=4.0, distance=LpDistance()),
    "anchor_nca": lambda count: ProxyAnchorLoss(count, D, alpha=8.0, variant="nca"),
    "nivmf": nivmf("nivmf"),
    "el_vmf": nivmf("el_vmf"),
    "b_vmf": nivmf("b_vmf"),
    "kl_vmf": nivmf("kl_vmf"),
    "l2": nivmf("l2"),
    "cosine": nivmf("cosine"),
    "el_nivmf": nivmf("el_nivmf", draws=True),
    "el_nivmf_closed": nivmf("el_nivmf", estimator="closed_form", warp_samples=False),
    "nivmf_guided": nivmf("el_vmf", guidance_weight=0.1),
    "nivmf_deviance": nivmf("el_vmf", objective=DEVIANCE),
    "nir": nir,
    "nir_of_pml": lambda count: nir(count, pml.NormalizedSoftmaxLoss(count, D)),
}


def class_axis(name: str) -> int | None:
    """Return the dimension of the classes in a parameter, or None."""
    return {"proxies": 0, "concentrations": 0, "W": 1}.get(name.rpartition(".")[2])


class Outcome(NamedTuple):
    value: Tensor
    embeddings: Tensor
    parameters: dict[str, Tensor]


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return a batch without samples of some classes, and of no class of the last of four ranks."""
    embeddings = torch.randn(N, D, generator=generator(1), dtype=torch.float64)
    return embeddings.to(dtype), torch.randint(6, (N,), generator=generator(2))


def whole(name: str, dtype: torch.dtype) -> Any:
    with seeded(0):
        loss = LOSSES[name](C)
        for parameter in loss.parameters():
            if parameter.ndim:  # concentrations that are alike would let a wrong centre pass
                nn.init.uniform_(parameter, -1.0, 1.0)
        for key, parameter in loss.named_parameters():
            if key == "concentrations" or key.endswith(".concentrations"):
                nn.init.uniform_(parameter, 1.0, 5.0)
    return loss.to(dtype)


def outcome(loss: nn.Module, inner: nn.Module, embeddings: Tensor, labels: Tensor, *arguments: Any) -> Outcome:
    embeddings = embeddings.clone().requires_grad_()
    value = loss(embeddings, labels, *arguments)
    value.backward()
    return Outcome(value.detach(), embeddings.grad, {k: p.grad for k, p in inner.named_parameters()})


def sharded(name: str, dtype: torch.dtype, **kwargs: Any) -> ShardedProxies:
    with seeded(7):
        loss = ShardedProxies(LOSSES[name], C, **kwargs).to(dtype)
    load_whole(loss, whole(name, dtype).state_dict())
    return loss


def own_rows(rank: int, world_size: int) -> slice:
    return slice(N // world_size * rank, N // world_size * (rank + 1))


def largest_difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max().clamp_min(1.0))


def assert_is_whole(name: str, dtype: torch.dtype, tolerance: float, found: list[Outcome]) -> None:
    """Compare the outcomes of all ranks with that of the loss of all classes on the whole batch."""
    loss, world_size = whole(name, dtype), len(found)
    expected = outcome(loss, loss, *batch(dtype))
    for rank, actual in enumerate(found):
        where = f"{name}, {dtype}, rank {rank}"
        assert largest_difference(actual.value, expected.value) < tolerance, where
        mean = actual.embeddings / world_size  # which DistributedDataParallel would take of a model's
        assert largest_difference(mean, expected.embeddings[own_rows(rank, world_size)]) < tolerance, where
        assert actual.parameters.keys() == expected.parameters.keys()
        for key, gradient in expected.parameters.items():
            axis = class_axis(key)
            if axis is not None:
                first, stop = class_range(C, rank, world_size)
                gradient = gradient.narrow(axis, first, stop - first)
            assert largest_difference(actual.parameters[key], gradient) < tolerance, f"{where}, {key}"


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_value_and_gradients_of_all_losses_are_those_of_one_process(world_size: int) -> None:
    cases = [(name, *precision) for name in LOSSES for precision in ((torch.float64, 1e-12), (torch.float32, 1e-6))]

    def steps(rank: int) -> list[Outcome]:
        found = []
        for name, dtype, _ in cases:
            loss = sharded(name, dtype)
            found.append(outcome(loss, loss.loss, *(tensor[own_rows(rank, world_size)] for tensor in batch(dtype))))
        return found

    for case, *found in zip(cases, *run_processes(steps, world_size, timeout=120), strict=True):
        assert_is_whole(*case, found)


def test_slices_in_chunks_are_the_slices() -> None:
    names = ["normalized_softmax", "arcface", "anchor", "anchor_nca", "el_nivmf", "nivmf_guided", "nir"]

    def steps(rank: int) -> list[Outcome]:
        found = []
        for name in names:
            loss = sharded(name, torch.float64, chunk_size=2)
            embeddings, labels = (tensor[own_rows(rank, 2)] for tensor in batch(torch.float64))
            found.append(outcome(loss, loss.loss, embeddings, labels))
        return found

    for name, *found in zip(names, *run_processes(steps), strict=True):
        assert_is_whole(name, torch.float64, 1e-12, found)


def test_training_inside_ddp_is_that_of_one_process() -> None:
    """Three steps of SGD, which would show a wrong factor of a gradient, as Adam would not."""

    def model() -> nn.Linear:
        with seeded(1):
            return nn.Linear(D, D, bias=False).double()

    def trained(net: nn.Module, loss: nn.Module, rows: slice) -> None:
        optimizer = torch.optim.SGD([*net.parameters(), *loss.parameters()], lr=0.5)
        for step in range(3):
            embeddings, labels = batch(torch.float64)
            optimizer.zero_grad()
            loss(net(embeddings.roll(step, 0)[rows]), labels[rows]).backward()
            optimizer.step()

    def steps(rank: int) -> tuple[Tensor, dict[str, Tensor]]:
        net, loss = model(), sharded("kl_vmf", torch.float64)
        trained(DistributedDataParallel(net), DistributedDataParallel(loss), own_rows(rank, 2))
        return net.weight.detach(), dict(loss.loss.state_dict())

    net, loss = model(), whole("kl_vmf", torch.float64)
    trained(net, loss, slice(None))
    assert not torch.equal(loss.log_temperature, whole("kl_vmf", torch.float64).log_temperature)
    for rank, (weight, state) in enumerate(run_processes(steps)):
        torch.testing.assert_close(weight, net.weight.detach(), rtol=1e-12, atol=1e-12)
        for name, expected in loss.state_dict().items():
            if expected.ndim:
                expected = expected[slice(*class_range(C, rank, 2))]
            torch.testing.assert_close(state[name], expected, rtol=1e-12, atol=1e-12)


def test_miners_weigh_the_samples_as_in_one_process() -> None:
    names = ["arcface", "anchor", "nir"]
    embeddings, labels = batch(torch.float64)

    def step(rank: int) -> dict[str, Tensor]:
        rows = own_rows(rank, 2)
        tuples = pml_distributed.DistributedMinerWrapper(miners.MultiSimilarityMiner())(embeddings[rows], labels[rows])
        return {name: sharded(name, torch.float64)(embeddings[rows], labels[rows], tuples) for name in names}

    tuples = miners.MultiSimilarityMiner()(embeddings, labels)
    for found in run_processes(step):
        for name in names:
            loss = whole(name, torch.float64)
            expected = loss(embeddings, labels, tuples)
            assert abs(expected - loss(embeddings, labels)) > 1e-3  # the weights matter
            torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)


def test_tuples_of_rank_0_count_where_they_differ() -> None:
    embeddings, labels = batch(torch.float64)
    tuples = [torch.randint(N, (3, 20), generator=generator(rank)) for rank in range(2)]

    def step(rank: int) -> Tensor:
        rows = own_rows(rank, 2)
        return sharded("anchor", torch.float64)(embeddings[rows], labels[rows], tuple(tuples[rank]))

    expected = whole("anchor", torch.float64)(embeddings, labels, tuple(tuples[0]))
    for value in run_processes(step):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_half_precision_is_gathered_as_it_is_and_evaluated_in_full() -> None:
    def steps(rank: int) -> list[tuple[Tensor, Tensor]]:
        found = []
        embeddings, labels = (tensor[own_rows(rank, 2)] for tensor in batch(torch.float32))
        for dtype, autocast in ((torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, False)):
            loss = sharded("normalized_softmax", torch.float32)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                value = loss(embeddings.to(dtype).requires_grad_(), labels)
            value.backward()
            found.append((value.detach(), loss.loss.W.grad))
        return found

    loss = whole("normalized_softmax", torch.float32)
    embeddings, labels = batch(torch.float32)
    for found in run_processes(steps):
        for dtype, (value, gradient) in zip((torch.bfloat16, torch.bfloat16, torch.float16), found, strict=True):
            assert value.dtype == gradient.dtype == torch.float32
            torch.testing.assert_close(value, loss(embeddings.to(dtype).float(), labels).detach())


def test_nan_is_visible_on_all_ranks_and_nothing_gives_zero() -> None:
    def steps(rank: int) -> tuple[Tensor, Tensor]:
        loss = sharded("anchor", torch.float64)
        embeddings, labels = (tensor[own_rows(rank, 2)].clone() for tensor in batch(torch.float64))
        empty = loss(embeddings[:0].requires_grad_(), labels[:0])
        empty.backward()
        if rank == 1:
            embeddings[0] = torch.nan
        return loss(embeddings, labels).detach(), empty.detach()

    for value, empty in run_processes(steps):
        assert value.isnan()
        assert empty == 0


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_slices_start_with_different_proxies_and_the_same_of_all_else(seeds: tuple[int, int]) -> None:
    def made(rank: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        torch.manual_seed(seeds[rank])  # scripts have the same on all ranks, or not
        loss = ShardedProxies(lambda count: NIRLoss(count, D), C)
        noise = torch.randn(3, generator=loss.loss.generator)
        return dict(loss.loss.state_dict()), noise, torch.randn(3)

    (first, noise, others), (second, same_noise, same_others) = run_processes(made)
    assert torch.equal(noise, same_noise)
    assert torch.equal(others, same_others) == (seeds[0] == seeds[1])  # the default generators go on
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]) == (class_axis(name) is None), name


def test_alone_it_is_the_loss_with_the_same_random_numbers() -> None:
    with seeded(3):
        loss = ShardedProxies(LOSSES["normalized_softmax"], C)
    with seeded(3):
        bare = LOSSES["normalized_softmax"](C)
    torch.testing.assert_close(loss.loss.W, bare.W, rtol=0, atol=0)
    torch.testing.assert_close(loss(*batch(torch.float32)), bare(*batch(torch.float32)))


@pytest.mark.parametrize(
    ("make", "num_classes", "message"),
    [
        (lambda count: pml.NormalizedSoftmaxLoss(7, D), C, r"make_loss\(10\) must return a loss of that number"),
        (lambda count: pml.ContrastiveLoss(), C, r"make_loss\(10\) must return a loss that can be sliced, got Value"),
        (
            lambda count: ProxyAnchorLoss(count, D, weight_regularizer=LpRegularizer()),
            C,
            "weight_regularizer, which is not supported",
        ),
        (LOSSES["anchor"], 0, "num_classes must be an integer >= 1, got 0"),
    ],
)
def test_invalid_losses_are_refused(make: MakeLoss, num_classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShardedProxies(make, num_classes)


def test_copies_and_pickles_are_the_same_loss() -> None:
    loss = sharded("nir", torch.float64).eval()
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        expected = outcome(loss, loss.loss, *batch(torch.float64))
        actual = outcome(twin, twin.loss, *batch(torch.float64))
        torch.testing.assert_close(actual.value, expected.value)
        torch.testing.assert_close(actual.parameters, expected.parameters)
        loss.zero_grad()


def test_error_inside_make_loss_is_the_cause() -> None:
    def fails(count: int) -> Any:
        raise MemoryError("too many proxies")

    with pytest.raises(ValueError, match="got MemoryError: too many proxies") as raised:
        ShardedProxies(fails, C)
    assert isinstance(raised.value.__cause__, MemoryError)


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_invalid_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="sample_rate must be a finite number > 0 and <= 1"):
        ShardedProxies(LOSSES["anchor"], C, sample_rate=rate)


def test_invalid_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size must be an integer >= 1, got 0"):
        ShardedProxies(LOSSES["anchor"], C, chunk_size=0)


def test_other_wrapper_around_it_is_refused() -> None:
    with pytest.raises(TypeError, match="must extend BaseMetricLossFunction"):
        DistributedLossWrapper(ShardedProxies(LOSSES["anchor"], C))
