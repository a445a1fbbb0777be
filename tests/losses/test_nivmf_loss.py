"""NivMFLoss against the official code's numbers, a loop over samples and proxies, and the properties of the method."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

from pml_proxyext.distributions import VonMisesFisher, log_vmf_normalizer
from pml_proxyext.losses import NivMFLoss
from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.losses.nivmf_released import released_log_normalizer, released_vmf_samples
from pml_proxyext.losses.nivmf_similarities import polar

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = {"el_nivmf": "el_nivmf", "nivmf_point": "nivmf", "el_vmf": "el_vmf", "b_vmf": "b_vmf", "kl_vmf": "kl_vmf"}
NAMES |= {"l2": "l2", "cos": "cosine"}
FIXTURES = sorted(path.stem for path in GOLDEN.glob("nivmf_*.json"))
SIMILARITIES = ["el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine"]


class Fixture:
    def __init__(self, stem: str) -> None:
        self.raw: dict[str, Any] = json.loads((GOLDEN / f"{stem}.json").read_text())
        self.similarity = NAMES[self.raw["variant"]]
        self.embeddings = self.tensor(self.raw["embeddings"]).requires_grad_()
        self.labels = torch.tensor(self.raw["labels"])
        self.guidance_weight = self.raw["guidance_w"] or 0.0

    @staticmethod
    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    def loss(self, **kwargs: Any) -> NivMFLoss:
        raw = self.raw
        kwargs = {"guidance_weight": self.guidance_weight, "n_samples": raw["n_samples"] or 1, **kwargs}
        loss_func = NivMFLoss(raw["C"], raw["D"], self.similarity, temperature=raw["temp"], **kwargs).double()
        with torch.no_grad():
            loss_func.proxies.copy_(self.tensor(raw["proxy_directions_raw"]))
            loss_func.log_temperature.copy_(self.tensor(math.log(raw["temp"])))
            if self.similarity != "cosine":
                loss_func.concentrations.copy_(self.tensor(raw["kappa"]))
        return loss_func

    def check(self, loss_func: NivMFLoss, expected: dict[str, Any], with_embeddings: bool = True) -> None:
        """Compare loss and gradients at the tolerances of golden/README.md; d/dT = (d / d log T) / T."""
        value = loss_func(self.embeddings, self.labels)
        torch.testing.assert_close(value, self.tensor(expected["loss"]), rtol=1e-9, atol=1e-9)
        value.backward()
        gradients = {"grad_proxy_directions_raw": loss_func.proxies.grad}
        if with_embeddings:
            gradients["grad_embeddings"] = self.embeddings.grad
        if self.similarity != "cosine":
            gradients["grad_kappa"] = loss_func.concentrations.grad
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, self.tensor(expected[name]), rtol=1e-9, atol=1e-9, msg=name)
        temperature_gradient = loss_func.log_temperature.grad / self.raw["temp"]
        torch.testing.assert_close(temperature_gradient, self.tensor(expected["grad_temp"]), rtol=1e-7, atol=1e-7)


def objective_of(raw: dict[str, Any]) -> BinomialDeviance | None:
    if raw["bindev"] is None:
        return None
    alpha, delta = raw["bindev"]["alpha"], raw["bindev"]["delta"]
    return BinomialDeviance(alpha, delta, delta, "classes", "proxies" if raw["bindev"]["dim"] else "samples")


@pytest.mark.parametrize("stem", FIXTURES)
def test_released_form_matches_the_official_loss_and_gradients(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = Fixture(stem)
    official = fixture.raw["official"]
    loss_func = fixture.loss(
        normalization="released",
        warp_samples=False,
        estimator="released_monte_carlo",
        objective=objective_of(fixture.raw),
    )
    if fixture.similarity == "el_nivmf":
        samples = fixture.tensor(official["mc_samples"])
        monkeypatch.setattr(loss_func, "_draw", lambda embeddings: samples)
    # The gradient of the Monte Carlo loss with respect to the embeddings depends on the release's random numbers.
    fixture.check(loss_func, official, with_embeddings=fixture.similarity != "el_nivmf")
    logits = loss_func.get_logits(fixture.embeddings)
    expected = fixture.tensor(official["sims"])
    torch.testing.assert_close(
        logits - logits.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True), rtol=1e-9, atol=1e-8
    )


@pytest.mark.parametrize(
    ("stem", "entry", "kwargs"),
    [
        *((f"nivmf_nivmf_point_D{d}", "exact_logcp", {"normalization": "released_determinant"}) for d in (8, 64, 128)),
        *((f"nivmf_nivmf_point_D{d}", "normalised", {}) for d in (8, 64, 128)),
        *((f"nivmf_el_vmf_D{d}", "exact_logcp", {}) for d in (8, 64, 128)),
        *((f"nivmf_b_vmf_D{d}", "exact_logcp", {}) for d in (8, 64)),
        *((f"nivmf_kl_vmf_D{d}", "true_kl", {}) for d in (8, 64)),
        *(
            (
                f"nivmf_el_nivmf{guided}_D{d}",
                entry,
                {"estimator": "closed_form", "normalization": n, "warp_samples": False},
            )
            for d in (8, 64)
            for guided in ("", "_guided")
            for entry, n in (
                ("released_closed_form", "released"),
                ("released_closed_form_exact_logcp", "released_determinant"),
            )
        ),
    ],
)
def test_exact_form_matches_the_reference_loss_and_gradients(stem: str, entry: str, kwargs: dict[str, Any]) -> None:
    fixture = Fixture(stem)
    fixture.check(fixture.loss(guidance_weight=0.0, **kwargs), fixture.raw["reference_exact"][entry])


@pytest.mark.parametrize("stem", ["nivmf_el_nivmf_D8", "nivmf_el_nivmf_guided_D8"])
def test_warped_expected_likelihood_matches_the_reference_by_monte_carlo(stem: str) -> None:
    """Both sides are Monte Carlo: 24 entries at 5.5 standard errors, false alarms below 1e-6."""
    fixture = Fixture(stem)
    reference = fixture.raw["reference_exact"]["paper_form_mc"]
    n_samples, repeats = 5_000, 40
    loss_func = fixture.loss(
        normalization="released_determinant",
        n_samples=n_samples,
        guidance_weight=0.0,
        generator=torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        draws = torch.stack([loss_func.get_logits(fixture.embeddings) for _ in range(repeats)])
    log_means = draws - draws.mean(2, keepdim=True)
    estimate, deviation = log_means.mean(0), log_means.std(0) / math.sqrt(repeats)
    expected = fixture.tensor(reference["sims"])
    errors = fixture.tensor(reference["sims_se"])
    # A centred entry carries the errors of its whole row; the sum of squares bounds them.
    spread = (deviation.square() + errors.square() + errors.square().mean(1, keepdim=True)).sqrt()
    z_scores = (estimate - (expected - expected.mean(1, keepdim=True))) / spread
    reliable = errors.max(1).values < 0.05
    assert reliable.any()
    assert z_scores[reliable].abs().max() < 5.5


@pytest.mark.parametrize("sampler", ["correct", "official"])
def test_n_sample_loss_has_the_reference_mean(sampler: str) -> None:
    """1000 repeats against the stored mean: 6 standard errors of both, false alarms below 1e-8."""
    fixture = Fixture("nivmf_el_nivmf_D64")
    stored = fixture.raw["reference_exact"][f"n_sample_loss_distribution_{sampler}_sampler"]
    loss_func = fixture.loss(
        normalization="released",
        warp_samples=False,
        estimator="monte_carlo" if sampler == "correct" else "released_monte_carlo",
        generator=torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        values = torch.stack([loss_func(fixture.embeddings, fixture.labels) for _ in range(1000)])
    error = math.hypot(float(values.std()) / math.sqrt(1000), stored["se"])
    assert abs(float(values.mean()) - stored["mean"]) < 6 * error


@pytest.mark.parametrize(("dim", "kappa", "official"), [(64, 11.0, -0.1751), (128, 50.0, 0.2215), (512, 50.0, -0.4366)])
def test_released_sampler_has_the_bias_of_the_release(dim: int, kappa: float, official: float) -> None:
    """The official mean cosines, measured with 4000 draws each: within 0.01, more than 10 standard errors of both."""
    direction = torch.nn.functional.normalize(torch.ones(1, dim, dtype=torch.float64))
    samples = released_vmf_samples(
        direction, torch.tensor([kappa], dtype=torch.float64), 4000, torch.Generator().manual_seed(2)
    )
    torch.testing.assert_close(samples.norm(dim=-1), torch.ones(4000, 1, dtype=torch.float64))
    assert abs(float((samples @ direction[0]).mean()) - official) < 0.01


@pytest.mark.parametrize(("p", "column"), [(8, "official_new"), (128, "official_new"), (512, "official_new")])
def test_released_normalizer_matches_the_official_fits(p: int, column: str) -> None:
    rows = [row for row in json.loads((GOLDEN / "log_cp.json").read_text())["rows"] if row["p"] == p]
    kappa = torch.tensor([row["kappa"] for row in rows], dtype=torch.float64)
    expected = torch.tensor([row[column] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(released_log_normalizer(kappa, p), expected, rtol=1e-12, atol=1e-9)


def naive_logit(loss_func: NivMFLoss, e: Tensor, m: Tensor, k: Tensor, samples: Tensor) -> Tensor:
    """One image against one proxy, straight from the table of the docstring; `samples` is (n, D)."""
    dim, norm, temperature = len(e), e.norm(), loss_func.log_temperature.exp()
    mu, m, k = e / norm, m / m.norm(), k.clamp_min(0.1)
    a = k * m

    def log_c(kappa: Tensor) -> Tensor:
        v = dim / 2 - 1
        value = v * mpmath.log(float(kappa)) - (dim / 2) * mpmath.log(2 * mpmath.pi)
        return torch.tensor(float(value - mpmath.log(mpmath.besseli(v, float(kappa)))), dtype=torch.float64)

    def log_density(z: Tensor) -> Tensor:
        warped = k * z
        cosine = warped @ a / (warped.norm() * a.norm())
        return log_c(a.norm()) + k.log().sum() - dim * warped.norm().log() + a.norm() * cosine

    if loss_func.similarity == "el_nivmf":
        likelihoods = torch.stack([(log_density(z) / temperature).exp() for z in samples])
        return likelihoods.mean().log()
    if loss_func.similarity == "nivmf":
        return log_density(mu) / temperature
    if loss_func.similarity == "el_vmf":
        return (log_c(norm) + log_c(k) - log_c((e + a).norm())) / temperature
    if loss_func.similarity == "b_vmf":
        return (log_c(norm) / 2 + log_c(k) / 2 - log_c((e + a).norm() / 2)) / temperature
    if loss_func.similarity == "kl_vmf":
        ratio = float(mpmath.besseli(dim / 2, float(norm)) / mpmath.besseli(dim / 2 - 1, float(norm)))
        return -(log_c(norm) - log_c(k) + ratio * (norm - mu @ a)) / temperature
    if loss_func.similarity == "l2":
        return -(e - a).square().sum() / temperature
    return mu @ m / temperature


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_value_matches_a_loop_over_samples_and_proxies(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    loss_func = NivMFLoss(4, 6, similarity, temperature=0.7, n_samples=3, guidance_weight=0.0).double()
    embeddings = 3 * torch.randn(5, 6, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 3, 0])
    concentrations = torch.ones(4, dtype=torch.float64)
    if similarity != "cosine":
        with torch.no_grad():
            loss_func.concentrations.uniform_(0.5, 4.0, generator=generator)
        concentrations = loss_func.concentrations.detach()
    samples = VonMisesFisher(*polar(embeddings)).sample(torch.Size([3]), generator=generator)
    monkeypatch.setattr(loss_func, "_draw", lambda _: samples)
    with torch.no_grad():
        logits = torch.stack(
            [
                torch.stack(
                    [
                        naive_logit(loss_func, e, loss_func.proxies[c], concentrations[c], samples[:, i])
                        for c in range(4)
                    ]
                )
                for i, e in enumerate(embeddings)
            ]
        )
        expected = torch.stack([-row[y] + row.exp().sum().log() for row, y in zip(logits, labels, strict=True)]).mean()
        torch.testing.assert_close(loss_func(embeddings, labels), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("normalization", ["exact", "released_determinant", "released"])
def test_gradients_match_finite_differences(similarity: str, normalization: str) -> None:
    loss_func = NivMFLoss(
        3, 5, similarity, temperature=0.8, concentration=2.0, guidance_weight=0.5, normalization=normalization
    ).double()
    embeddings = (
        2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0])
    samples = VonMisesFisher(*polar(embeddings.detach())).sample(
        torch.Size([2]), generator=torch.Generator().manual_seed(5)
    )
    parameters = dict(loss_func.named_parameters())

    def value(embeddings: Tensor, *tensors: Tensor) -> Tensor:
        loss_func._draw = lambda e: samples + 0 * e  # type: ignore[method-assign]
        return torch.func.functional_call(loss_func, dict(zip(parameters, tensors, strict=True)), (embeddings, labels))

    assert torch.autograd.gradcheck(value, (embeddings, *parameters.values()))


def test_monte_carlo_approaches_the_closed_form_from_below() -> None:
    """E of the n-sample log-mean grows with n to the closed form (Jensen); at 6 standard errors."""
    generator = torch.Generator().manual_seed(6)
    embeddings = 6 * torch.nn.functional.normalize(torch.randn(8, 16, generator=generator, dtype=torch.float64))
    kwargs: dict[str, Any] = {"temperature": 0.6, "concentration": 3.0, "warp_samples": False}
    closed = NivMFLoss(5, 16, estimator="closed_form", **kwargs).double()
    proxies = closed._proxies(embeddings)

    def absolute(loss_func: NivMFLoss) -> Tensor:
        logits, offset = loss_func._logits(embeddings, proxies)
        return logits + offset

    with torch.no_grad():
        exact = absolute(closed)
        previous = torch.full_like(exact, -math.inf)
        for n_samples in (1, 4, 32):
            sampled = NivMFLoss(5, 16, n_samples=n_samples, generator=generator, **kwargs).double()
            sampled.load_state_dict(closed.state_dict())
            draws = torch.stack([absolute(sampled) for _ in range(400)])
            mean, error = draws.mean(0), draws.std(0) / 20
            assert ((mean - exact) < 6 * error).all()
            assert (mean > previous - 6 * error).all()
            previous = mean
        likelihoods = torch.stack([absolute(sampled) for _ in range(400)]).sub(exact).exp()
    assert ((likelihoods.mean(0) - 1).abs() < 6 * likelihoods.std(0) / 20).all()


@pytest.mark.parametrize("similarity", ["nivmf", "cosine"])
def test_value_ignores_the_norm_where_the_image_is_a_point(similarity: str) -> None:
    loss_func = NivMFLoss(4, 6, similarity, temperature=0.3).double()
    embeddings = torch.randn(5, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 3, 0])
    torch.testing.assert_close(loss_func(embeddings, labels), loss_func(7 * embeddings, labels))


def test_isotropic_concentrations_reduce_nivmf_to_vmf() -> None:
    loss_func = NivMFLoss(4, 6, "nivmf", temperature=1.0, concentration=3.0).double()
    embeddings = torch.randn(5, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    directions, _ = polar(embeddings)
    cosines = directions @ polar(loss_func.proxies)[0].T
    logits, offset = loss_func._logits(embeddings, loss_func._proxies(embeddings))
    log_c = log_vmf_normalizer(torch.tensor(3.0, dtype=torch.float64), 6)
    torch.testing.assert_close(logits + offset, log_c + 3 * cosines)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_relabelling_the_classes_changes_nothing(similarity: str) -> None:
    order = torch.tensor([2, 0, 3, 1])
    embeddings = 4 * torch.randn(5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 3, 0])
    first = NivMFLoss(4, 6, similarity, temperature=0.5, generator=torch.Generator().manual_seed(0)).double()
    second = NivMFLoss(4, 6, similarity, temperature=0.5, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        if similarity != "cosine":
            first.concentrations.uniform_(0.5, 4.0, generator=torch.Generator().manual_seed(10))
            second.concentrations[order] = first.concentrations
        second.proxies[order] = first.proxies
    torch.testing.assert_close(first(embeddings, labels), second(embeddings, order[labels]))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_float32_agrees_with_float64_at_the_released_temperature(similarity: str) -> None:
    """D = 512, T = 0.003: logits of hundreds of thousands, of which the official float32 code loses 0.06."""
    torch.manual_seed(11)
    temperature = 0.003 if similarity in ("el_nivmf", "nivmf", "cosine") else 0.1
    kwargs: dict[str, Any] = {"temperature": temperature, "concentration": 18.0}
    single = NivMFLoss(10, 512, similarity, **kwargs)
    embeddings = torch.randn(6, 512)
    labels = torch.tensor([0, 1, 2, 3, 4, 4])
    samples = VonMisesFisher(*polar(embeddings.double())).sample(torch.Size([5]))
    single._draw = lambda e: samples.to(e)  # type: ignore[method-assign]
    double = NivMFLoss(10, 512, similarity, **kwargs).double()
    double.load_state_dict(single.state_dict())
    double._draw = single._draw  # type: ignore[method-assign]
    torch.testing.assert_close(
        single(embeddings, labels).double(), double(embeddings.double(), labels), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_init_from_puts_proxies_on_the_class_means(similarity: str) -> None:
    generator = torch.Generator().manual_seed(12)
    centres = polar(torch.randn(3, 16, generator=generator, dtype=torch.float64))[0]
    labels = torch.arange(3).repeat_interleave(400)
    images = VonMisesFisher(centres[labels], torch.full((1200,), 40.0, dtype=torch.float64)).sample(generator=generator)
    loss_func = NivMFLoss(4, 16, similarity)
    absent = loss_func.proxies[3].detach().clone()
    loss_func.init_from(5 * images.float(), labels)
    assert (polar(loss_func.proxies.detach().double())[0][:3] * centres).sum(1).min() > 0.99
    torch.testing.assert_close(loss_func.proxies[3].detach(), absent)
    if similarity != "cosine":
        assert 38 < float(loss_func.concentrations.detach().mean()) < 42
        assert float(loss_func.concentrations.detach().std()) == 0.0


def test_init_from_one_image_a_class_keeps_the_concentrations() -> None:
    loss_func = NivMFLoss(4, 8, concentration=7.0)
    loss_func.init_from(torch.randn(4, 8, generator=torch.Generator().manual_seed(13)), torch.arange(4))
    assert (loss_func.concentrations == 7.0).all()


def test_uncertainty_falls_as_the_norm_grows() -> None:
    loss_func = NivMFLoss(4, 8)
    direction = torch.nn.functional.normalize(torch.ones(1, 8))
    values = loss_func.uncertainty(torch.tensor([0.0, 1.0, 10.0, 1000.0])[:, None] * direction)
    assert float(values[0]) == 1.0
    assert (values.diff() < 0).all()
    assert 0.0 < float(values[-1]) < 0.01


def test_param_groups_have_the_released_multipliers_or_those_given() -> None:
    loss_func = NivMFLoss(4, 8)
    learning_rates = {id(group["params"][0]): group["lr"] for group in loss_func.param_groups(1e-5)}
    assert learning_rates[id(loss_func.proxies)] == pytest.approx(0.05)
    assert learning_rates[id(loss_func.concentrations)] == pytest.approx(0.2)
    assert learning_rates[id(loss_func.log_temperature)] == pytest.approx(0.002)
    groups = loss_func.param_groups(1e-3, proxies=100.0, concentrations=10.0, log_temperature=1.0)
    assert sorted(group["lr"] for group in groups) == pytest.approx([1e-3, 1e-2, 1e-1])


def test_param_groups_hold_every_parameter_of_every_similarity() -> None:
    for similarity in SIMILARITIES:
        loss_func = NivMFLoss(4, 8, similarity)
        grouped = [parameter for group in loss_func.param_groups(1e-5) for parameter in group["params"]]
        assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in loss_func.parameters()}
    with pytest.raises(ValueError, match="multipliers must name parameters, got 'concentrations'"):
        NivMFLoss(4, 8, "cosine").param_groups(1e-5, concentrations=2.0)


def test_temperature_stays_positive_under_large_steps() -> None:
    loss_func = NivMFLoss(4, 8, temperature=0.003)
    optimizer = torch.optim.Adam(loss_func.param_groups(1e-2, log_temperature=100.0))
    embeddings = 5 * torch.randn(8, 8, generator=torch.Generator().manual_seed(14))
    labels = torch.arange(4).repeat(2)
    for _ in range(10):
        optimizer.zero_grad()
        loss_func(embeddings, labels).backward()
        optimizer.step()
    assert float(loss_func.log_temperature.detach().exp()) > 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"similarity": "el_nivfm"}, "similarity must be one of .* did you mean 'el_nivmf'"),
        ({"temperature": 0.0}, "temperature must be a finite number > 0, got 0"),
        ({"concentration": -1.0}, "concentration must be a finite number > 0, got -1"),
        ({"n_samples": 0}, "n_samples must be an integer >= 1, got 0"),
        ({"guidance_weight": -0.1}, "guidance_weight must be a finite number >= 0"),
        ({"estimator": "exact"}, "estimator must be one of"),
        ({"normalization": "none"}, "normalization must be one of"),
        ({"estimator": "closed_form"}, "closed_form.* is not supported with warp_samples=True"),
        ({"embedding_size": 1}, "embedding_size must be an integer >= 2, got 1"),
        ({"distance": torch.nn.Identity()}, "distance is not supported"),
    ],
)
def test_invalid_arguments_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NivMFLoss(**{"num_classes": 4, "embedding_size": 8, **kwargs})


def test_nan_embedding_shows_in_the_loss() -> None:
    embeddings = torch.randn(4, 8)
    embeddings[2, 3] = math.nan
    for similarity in SIMILARITIES:
        assert NivMFLoss(4, 8, similarity)(embeddings, torch.arange(4)).isnan(), similarity
