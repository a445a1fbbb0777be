"""Every critic against a loop over pairs, in each of the forms that it takes; then what only some of them do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from pml_proxyext.information.conditional_gaussian import ConditionalGaussian
from pml_proxyext.information.critics import BilinearCritic, CosineCritic, Critic, DotCritic
from pml_proxyext.information.mlp_critics import ConcatenatedCritic, SeparableCritic

X_SIZE, Y_SIZE = 5, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def dense(network: nn.Module, x: Tensor) -> Tensor:
    """Run linear layers with ReLU between them, one neuron at a time."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for i, layer in enumerate(layers):
        x = torch.stack([w @ x + b for w, b in zip(layer.weight, layer.bias, strict=True)])
        x = x.clamp(min=0) if i < len(layers) - 1 else x
    return x


def dot(critic: DotCritic, x: Tensor, y: Tensor) -> Tensor:
    return sum(a * b for a, b in zip(x, y, strict=True)) / critic.temperature


def cosine(critic: CosineCritic, x: Tensor, y: Tensor) -> Tensor:
    return dot(critic, x, y) / (x @ x).sqrt() / (y @ y).sqrt()


def bilinear(critic: BilinearCritic, x: Tensor, y: Tensor) -> Tensor:
    return sum(x[i] * critic.weight[i, j] * y[j] for i in range(len(x)) for j in range(len(y)))


def separable(critic: SeparableCritic, x: Tensor, y: Tensor) -> Tensor:
    return dense(critic.x_network, x) @ dense(critic.y_network, y) / math.sqrt(7)


def concatenated(critic: ConcatenatedCritic, x: Tensor, y: Tensor) -> Tensor:
    return dense(critic, torch.cat([x, y]))[0]


def gaussian(critic: ConditionalGaussian, x: Tensor, y: Tensor) -> Tensor:
    mean, raw = dense(critic.network, x).chunk(2)
    return MultivariateNormal(mean, torch.diag(torch.exp(critic.max_log_variance * torch.tanh(raw)))).log_prob(y)


CRITICS: dict[str, tuple[Callable[[], Critic], Callable[..., Tensor]]] = {
    "dot": (lambda: DotCritic(0.3), dot),
    "cosine": (lambda: CosineCritic(0.3), cosine),
    "bilinear": (lambda: BilinearCritic(X_SIZE, Y_SIZE, generator()), bilinear),
    "separable": (lambda: SeparableCritic(X_SIZE, Y_SIZE, (6, 4), 7, generator()), separable),
    "concatenated": (lambda: ConcatenatedCritic(X_SIZE, Y_SIZE, (6, 4), None, generator()), concatenated),
    "chunked": (lambda: ConcatenatedCritic(X_SIZE, Y_SIZE, (6, 4), 2, generator()), concatenated),
    "gaussian": (lambda: ConditionalGaussian(X_SIZE, Y_SIZE, (6,), 2.0, generator()), gaussian),
}
#: Those that draw weights.
LEARNED = [name for name in CRITICS if name not in ("dot", "cosine")]

every = pytest.mark.parametrize("name", CRITICS)


def sizes(name: str) -> tuple[int, int]:
    return (X_SIZE, Y_SIZE) if name in LEARNED else (4, 4)


@every
def test_all_pairs_own_candidates_and_aligned_pairs_are_those_of_a_loop(name):
    make, loop = CRITICS[name]
    critic, (x_size, y_size) = make().double(), sizes(name)
    x, y, own = normal(5, x_size), normal(4, y_size, seed=1), normal(5, 3, y_size, seed=2)
    expected = torch.stack([torch.stack([loop(critic, row, other) for other in y]) for row in x])
    torch.testing.assert_close(critic(x, y), expected)
    expected = torch.stack(
        [torch.stack([loop(critic, a, b) for b in others]) for a, others in zip(x, own, strict=True)]
    )
    torch.testing.assert_close(critic(x, own), expected)
    torch.testing.assert_close(critic.aligned(x, own[:, 1]), expected[:, 1])
    positive, negatives = critic.with_negatives(x, own[:, 0], own[:, 1:])
    torch.testing.assert_close(torch.cat([positive[:, None], negatives], dim=1), expected)
    torch.testing.assert_close(critic.with_negatives(x, own[:, 0], y)[1], critic(x, y))


@every
def test_gradients_pass_gradcheck(name):
    critic, (x_size, y_size) = CRITICS[name][0]().double(), sizes(name)
    parameters = tuple(critic.parameters())
    names = [key for key, _ in critic.named_parameters()]
    for y in (normal(3, y_size, seed=1), normal(5, 2, y_size, seed=2)):

        def score(x: Tensor, y: Tensor, *values: Tensor) -> Tensor:
            return torch.func.functional_call(critic, dict(zip(names, values, strict=True)), (x, y))

        inputs = (normal(5, x_size).requires_grad_(), y.requires_grad_(), *parameters)
        # Recomputing chunks under functional_call would see the module's own parameters: those are the same numbers.
        assert torch.autograd.gradcheck(score, inputs)


@every
def test_parameters_stay_in_float32_and_half_precision_is_scored_in_float32(name):
    critic, (x_size, y_size) = CRITICS[name][0](), sizes(name)
    x, y = normal(5, x_size), normal(4, y_size, seed=1)
    exact = critic(x, y)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(critic(x.float(), y.float()), exact.float(), rtol=1e-4, atol=1e-5)
    scale = exact.abs().max().item()
    for dtype in (torch.bfloat16, torch.float16):
        half = critic(x.to(dtype), y.to(dtype))
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps * max(scale, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = critic(x.float(), y.float())
    assert autocast.dtype == torch.float32
    torch.testing.assert_close(
        autocast.double(), exact, rtol=0, atol=4 * torch.finfo(torch.bfloat16).eps * max(scale, 1)
    )
    assert {parameter.dtype for parameter in critic.parameters()} <= {torch.float32}


@every
def test_empty_sides_give_empty_scores_with_gradients_that_are_zero(name):
    critic, (x_size, y_size) = CRITICS[name][0](), sizes(name)
    for rows, columns in ((0, 4), (3, 0), (0, 0)):
        x, y = torch.zeros(rows, x_size, requires_grad=True), torch.zeros(columns, y_size, requires_grad=True)
        scores = critic(x, y)
        assert scores.shape == (rows, columns)
        scores.sum().backward()
        for tensor in (x, y, *critic.parameters()):
            assert tensor.grad is None or not tensor.grad.any()


@every
def test_nan_stays_visible(name):
    critic, (x_size, y_size) = CRITICS[name][0](), sizes(name)
    x, y = torch.ones(3, x_size), torch.ones(2, y_size)
    x[1, 0] = math.nan
    assert critic(x, y).isnan().any(dim=1).tolist() == [False, True, False]


@every
def test_compiled_in_one_graph_it_scores_the_same(name):
    critic, (x_size, y_size) = CRITICS[name][0](), sizes(name)
    x, y = normal(5, x_size).float(), normal(4, y_size, seed=1).float()
    compiled = torch.compile(critic, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y), critic(x, y))


@pytest.mark.parametrize("name", LEARNED)
def test_initial_weights_come_from_the_generator_and_from_torch_without_one(name):
    make = CRITICS[name][0]
    state = torch.random.get_rng_state()
    first, second = make(), make()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    kind = type(first)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        default = kind(X_SIZE, Y_SIZE)
    drawn = kind(X_SIZE, Y_SIZE, generator=generator(3))
    assert all(torch.equal(a, b) for a, b in zip(default.parameters(), drawn.parameters(), strict=True))


def test_initial_bilinear_scores_have_variance_one():
    """The mean of 400 squares of nearly normal scores may be off by 5 standard errors: once in 10^6 seeds."""
    x, y = normal(20, 30).float(), normal(20, 40, seed=1).float()
    scores = BilinearCritic(30, 40, generator(2))(x, y)
    # Given x and y the scores are normal with covariance (x_i x_k)(y_j y_l) / (D_x D_y).
    gram = (x @ x.T).square().sum() * (y @ y.T).square().sum() / (30 * 40) ** 2
    expected = (x.square().sum() * y.square().sum() / (30 * 40)).item()
    assert scores.square().sum().item() == pytest.approx(expected, abs=5 * math.sqrt(2 * gram.item()))


def test_a_zero_vector_has_cosine_zero_and_a_finite_gradient():
    x = torch.zeros(1, 3, requires_grad=True)
    scores = CosineCritic()(x, torch.eye(3))
    scores.sum().backward()
    assert scores.tolist() == [[0.0, 0.0, 0.0]]
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DotCritic(0.0), "temperature must be a finite number > 0, got 0.0"),
        (lambda: BilinearCritic(0, 3), "x_size must be an integer >= 1, got 0"),
        (lambda: DotCritic()(torch.ones(3), torch.ones(2, 3)), r"x must have shape \(R, x_size\), got shape \(3,\)"),
        (
            lambda: DotCritic()(torch.ones(2, 3), torch.ones(3)),
            r"y must have shape \(M, y_size\) or .* got shape \(3,\)",
        ),
        (lambda: DotCritic()(torch.ones(2, 3), torch.ones(2, 4)), r"y must be as wide as x, got shapes \(2, 3\) and"),
        (lambda: DotCritic()(torch.ones(2, 3).long(), torch.ones(2, 3)), "x must be floating point, got torch.int64"),
        (lambda: DotCritic()(torch.ones(2, 3), torch.ones(4, 5, 3)), "y must have one row for each row of x"),
        (lambda: DotCritic().aligned(torch.ones(2, 3), torch.ones(4, 3)), "y must have one row for each row of x"),
        (lambda: DotCritic().aligned(torch.ones(2, 3), torch.ones(2, 1, 3)), r"y must have shape \(R, y_size\)"),
        (lambda: BilinearCritic(3, 2)(torch.ones(2, 4), torch.ones(2, 2)), r"x must have x_size 3, got shape \(2, 4\)"),
        (lambda: BilinearCritic(3, 2)(torch.ones(2, 3), torch.ones(2, 3)), r"y must have y_size 2, got shape \(2, 3\)"),
        (
            lambda: ConditionalGaussian(3, 2).loss(torch.ones(2, 3), torch.ones(1, 2)),
            "y must have one row for each row",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
