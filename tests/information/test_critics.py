"""Every critic against a loop over pairs, in each of the forms that it takes; then what only some of them do."""

from __future__ import annotations

import copy
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


def test_layers_start_as_those_of_torch_do():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = [nn.Linear(X_SIZE + Y_SIZE, 6), nn.Linear(6, 1)]
    critic = ConcatenatedCritic(X_SIZE, Y_SIZE, (6,), generator=generator(3))
    for layer, other in zip([m for m in critic.modules() if isinstance(m, nn.Linear)], expected, strict=True):
        assert torch.equal(layer.weight, other.weight)
        assert torch.equal(layer.bias, other.bias)


def test_initial_bilinear_scores_have_variance_one():
    """The mean of 400 squares of nearly normal scores may be off by 5 standard errors: once in 10^6 seeds."""
    x, y = normal(20, 30).float(), normal(20, 40, seed=1).float()
    scores = BilinearCritic(30, 40, generator(2))(x, y)
    # Given x and y the scores are normal with covariance (x_i x_k)(y_j y_l) / (D_x D_y).
    gram = (x @ x.T).square().sum() * (y @ y.T).square().sum() / (30 * 40) ** 2
    expected = (x.square().sum() * y.square().sum() / (30 * 40)).item()
    assert scores.square().sum().item() == pytest.approx(expected, abs=5 * math.sqrt(2 * gram.item()))


def test_chunks_keep_values_gradients_and_do_not_store_all_pairs():
    whole = ConcatenatedCritic(X_SIZE, Y_SIZE, (16, 16), generator=generator())
    chunked = copy.deepcopy(whole)
    chunked.chunk_size = 4
    x, y = normal(10, X_SIZE).float(), normal(9, Y_SIZE, seed=1).float()
    largest = {}
    for critic in (whole, chunked):
        stored: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, stored=stored: (stored.append(t.numel()), t)[1], lambda t: t
        ):
            scores = critic(x, y)
        scores.square().mean().backward()
        largest[critic.chunk_size] = max(stored)
    assert largest[None] == 10 * 9 * 16
    assert largest[4] < 10 * 9 * 16 / 4
    for a, b in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_zero_vector_has_cosine_zero_and_a_finite_gradient():
    x = torch.zeros(1, 3, requires_grad=True)
    scores = CosineCritic()(x, torch.eye(3))
    scores.sum().backward()
    assert scores.tolist() == [[0.0, 0.0, 0.0]]
    assert x.grad.isfinite().all()


def test_far_from_the_origin_gaussian_scores_keep_their_precision():
    critic = ConditionalGaussian(X_SIZE, Y_SIZE, (6,), generator=generator())
    x, y = normal(5, X_SIZE), normal(4, Y_SIZE, seed=1) + 1000
    with torch.no_grad():
        critic.network[2].bias[:Y_SIZE] += 1000
    torch.testing.assert_close(critic(x.float(), y.float()).double(), critic(x, y), rtol=1e-3, atol=1e-2)


def test_gaussian_density_agrees_with_its_distribution_and_its_loss():
    critic = ConditionalGaussian(X_SIZE, Y_SIZE, generator=generator())
    x, y = normal(6, X_SIZE), normal(6, Y_SIZE, seed=1)
    log_prob = critic.distribution(x).log_prob(y)
    torch.testing.assert_close(critic(x, y).diagonal(), log_prob)
    torch.testing.assert_close(critic.loss(x, y), -log_prob.mean())
    assert critic.loss(x[:0], y[:0]) == 0
    # Log-variances are bounded, however far the network goes.
    spread = critic.distribution(1e6 * x).variance
    assert spread.min() >= math.exp(-5) * (1 - 1e-9)
    assert spread.max() <= math.exp(5) * (1 + 1e-9)
    assert spread.max() / spread.min() > math.exp(9)


def test_maximum_likelihood_finds_a_linear_gaussian():
    """y = 2 x + 0.5 noise: 400 steps on 512 pairs; the likelihood comes near the entropy of the noise."""
    x = normal(512, 1).float()
    y = 2 * x + 0.5 * normal(512, 1, seed=1).float()
    critic = ConditionalGaussian(1, 1, (16,), generator=generator(2))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    before = critic.loss(x, y).item()
    for _ in range(400):
        optimizer.zero_grad()
        critic.loss(x, y).backward()
        optimizer.step()
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert before > 1.5
    assert critic.loss(x, y).item() == pytest.approx(entropy, abs=0.08)
    assert critic.distribution(torch.ones(1, 1)).mean.item() == pytest.approx(2.0, abs=0.15)


def test_samples_have_the_moments_of_the_distribution():
    """Means and variances over 40,000 draws within 5 standard errors: off once in 10^5 seeds (12 comparisons)."""
    critic, x, draws = ConditionalGaussian(X_SIZE, Y_SIZE, generator=generator()), normal(2, X_SIZE), 40_000
    samples = critic.sample(x, draws, generator(1))
    assert samples.shape == (2, draws, Y_SIZE)
    assert not samples.requires_grad
    q = critic.distribution(x)
    assert ((samples.mean(1) - q.mean).abs() <= 5 * (q.variance / draws).sqrt()).all()
    assert ((samples.var(1) / q.variance - 1).abs() <= 5 * math.sqrt(2 / draws)).all()
    assert torch.equal(samples, critic.sample(x, draws, generator(1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DotCritic(0.0), "temperature must be a finite number > 0, got 0.0"),
        (lambda: BilinearCritic(0, 3), "x_size must be an integer >= 1, got 0"),
        (lambda: SeparableCritic(3, 3, (8, 0)), "the width of a layer must be an integer >= 1, got 0"),
        (lambda: SeparableCritic(3, 3, embedding_size=0), "embedding_size must be an integer >= 1, got 0"),
        (lambda: ConcatenatedCritic(3, 3, ()), r"hidden_sizes must name at least one layer, got \(\)"),
        (lambda: ConcatenatedCritic(3, 3, chunk_size=0), "chunk_size must be an integer >= 1, got 0"),
        (lambda: ConditionalGaussian(3, 3, max_log_variance=0), "max_log_variance must be a finite number > 0, got 0"),
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
        (lambda: ConditionalGaussian(3, 2).sample(torch.ones(2, 3), 0), "n_samples must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
