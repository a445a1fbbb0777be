from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import reducers, regularizers
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor
from torch.func import jacrev
from torch.nn.functional import normalize

from pml_proxyext.flows import CONDITION_MODES
from pml_proxyext.losses import NIRLoss, NivMFLoss, ProxyAnchorLoss

C, D = 4, 6
# Without noise a value is a function of the batch, which most of these tests need.
SMALL = {"n_blocks": 2, "n_layers": 2, "hidden_size": 8, "noise_scale": 0.0}
BASES = {
    "ours": lambda: ProxyAnchorLoss(C, D),
    "ProxyAnchor": lambda: pml.ProxyAnchorLoss(C, D),
    "ProxyNCA": lambda: pml.ProxyNCALoss(C, D),
    "SoftTriple": lambda: pml.SoftTripleLoss(C, D, centers_per_class=3),
    "NormalizedSoftmax": lambda: pml.NormalizedSoftmaxLoss(C, D),
    "ArcFace": lambda: pml.ArcFaceLoss(C, D),
}

PENALTIES = {"plain": lambda nll: nll / D, "softplus": lambda nll: math.log1p(math.exp(nll / D)), "exp": math.exp}


def nir_loss(base: str | None = None, **kwargs: object) -> NIRLoss:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return NIRLoss(C, D, None if base is None else BASES[base](), **(SMALL | kwargs))


def batch(rows: int = 7, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = 2 * torch.randn(rows, D, generator=generator, dtype=torch.float64)
    return embeddings.to(dtype).requires_grad_(), torch.randint(C - 1, (rows,), generator=generator)  # class 3 absent


def naive_nll(loss: NIRLoss, embedding: Tensor, label: int) -> Tensor:
    """One sample by the definition: the nearest of its class's proxies, the latent, a Jacobian by differentiation."""
    direction = (embedding / embedding.norm()).detach()
    centres = loss.proxies[label].detach().reshape(-1, D).to(direction)
    best = max(range(len(centres)), key=lambda k: float(direction @ centres[k] / centres[k].norm()))
    context = (centres[best] / centres[best].norm())[None]

    def latent(row: Tensor) -> Tensor:
        return loss.flow(row[None], context)[0][0]

    z = latent(direction)
    return (z @ z) / 2 - torch.linalg.slogdet(jacrev(latent)(direction)).logabsdet


def naive_proxy_anchor(proxies: Tensor, embeddings: Tensor, labels: Tensor) -> float:
    embeddings, proxies = embeddings.detach(), proxies.detach().to(embeddings)
    cosine = [[float(e @ p / e.norm() / p.norm()) for p in proxies] for e in embeddings]
    positive, negative, y = [], [], labels.tolist()
    for c in range(len(proxies)):
        own = [math.exp(-32 * (cosine[i][c] - 0.1)) for i in range(len(y)) if y[i] == c]
        others = [math.exp(32 * (cosine[i][c] + 0.1)) for i in range(len(y)) if y[i] != c]
        positive += [math.log(1 + sum(own))] if own else []
        negative.append(math.log(1 + sum(others)))
    return sum(positive) / len(positive) + sum(negative) / len(negative)


@pytest.mark.parametrize(("variant", "total"), [("sample", "total_loss"), ("nca", "total_loss_with_nca")])
def test_as_released_matches_the_release(released_nir, variant, total):
    r = released_nir
    loss = NIRLoss.as_released(r.C, r.D, r.w_align, variant, **r.flow_arguments).double()
    loss.flow.load_state_dict(r.flow.state_dict())
    loss.proxy_loss.proxies.data.copy_(r.proxies_raw)
    embeddings = r.embeddings.clone().requires_grad_()
    value = loss(embeddings, r.labels)
    value.backward()
    assert value.item() == pytest.approx(getattr(r, total), rel=1e-9)
    nll = loss.negative_log_likelihood(embeddings, r.labels)
    torch.testing.assert_close(nll, r.nll_per_sample, rtol=1e-9, atol=1e-10)
    assert nll.exp().mean().item() == pytest.approx(r.nir_term_mean_exp_nll, rel=1e-9)
    if variant == "sample":
        # The release normalizes in the network, this loss by itself: what arrives before normalizing is compared.
        network_output = r.embeddings.clone().requires_grad_()
        normalize(network_output).backward(r.grad_embeddings)
        torch.testing.assert_close(embeddings.grad, network_output.grad, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(loss.proxy_loss.proxies.grad, r.grad_proxies_raw, rtol=1e-9, atol=1e-10)


def test_as_released_has_the_released_defaults():
    loss = NIRLoss.as_released(C, 8)
    assert (loss.nir_weight, loss.proxy_weight, loss.likelihood, loss.noise_scale) == (1.0, 0.01, "exp", 0.0)
    assert loss.noise_distribution == "uniform"
    assert not loss.detach_condition
    assert len(loss.flow.blocks) == 5
    linears = [m for m in loss.flow.blocks[0].second_moves_first if isinstance(m, torch.nn.Linear)]
    assert [layer.out_features for layer in linears] == [128] * 7 + [8]
    assert sum(p.numel() for p in NIRLoss.as_released(C, 128).flow.parameters()) == 1_402_880
    assert sum(p.numel() for p in NIRLoss.as_released(C, 512).flow.parameters()) == 2_635_520
    spread = NIRLoss.as_released(1000, 64).proxies.std().item()  # 64000 draws: 6 standard errors
    assert abs(spread - 1 / 8) < 6 / 8 / math.sqrt(2 * 64000)
    assert [group["lr"] for group in loss.param_groups(1e-5)] == pytest.approx([0.04, 5e-4])
    assert NIRLoss.as_released(C, 8, noise_scale=0.1, n_blocks=1).noise_scale == 0.1


@pytest.mark.parametrize("base", [None, *BASES])
@pytest.mark.parametrize("likelihood", ["plain", "softplus", "exp"])
def test_value_is_that_of_a_loop_over_samples(base, likelihood):
    loss = nir_loss(base, likelihood=likelihood, nir_weight=0.7, proxy_weight=1.3)
    embeddings, labels = batch()
    nll = [naive_nll(loss, e, y).item() for e, y in zip(embeddings, labels, strict=True)]
    nir = sum(map(PENALTIES[likelihood], nll)) / len(nll)
    if base is None:
        proxy = naive_proxy_anchor(loss.proxies, embeddings, labels)
    else:
        proxy = copy.deepcopy(loss.proxy_loss).double()(embeddings, labels).item()
    assert loss(embeddings, labels).item() == pytest.approx(1.3 * proxy + 0.7 * nir, rel=1e-10)


@pytest.mark.parametrize("mode", CONDITION_MODES)
def test_gradients_are_right_in_every_condition_mode(mode):
    loss = nir_loss(condition_mode=mode, likelihood="softplus").double()
    embeddings, labels = batch(3)
    assert torch.autograd.gradcheck(lambda e, *_: loss(e, labels), (embeddings, *loss.parameters()), fast_mode=True)


def test_exp_gradients_are_plain_ones_times_the_likelihood():
    embeddings, labels = batch()
    exp, plain = nir_loss(likelihood="exp", proxy_weight=0.0), nir_loss(proxy_weight=0.0)
    nll = plain.negative_log_likelihood(embeddings, labels).detach()
    (of_plain,) = torch.autograd.grad(plain(embeddings, labels), embeddings)
    (of_exp,) = torch.autograd.grad(exp(embeddings, labels), embeddings)
    torch.testing.assert_close(of_exp, of_plain * D * nll.exp()[:, None], rtol=1e-10, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 9), likelihood=st.sampled_from(["plain", "softplus", "exp"]))
def test_inequalities_of_the_likelihoods(seed, rows, likelihood):
    """exp and softplus only add to the proxy loss, and by Jensen's inequality the mean of each is above its mean."""
    loss = nir_loss(likelihood=likelihood, proxy_weight=0.01)
    embeddings, labels = batch(rows, seed=seed)
    mean = loss.negative_log_likelihood(embeddings, labels).mean().item()
    added = loss(embeddings, labels).item() - 0.01 * loss.proxy_loss(embeddings, labels).item()
    assert added >= PENALTIES[likelihood](mean) * (1 - 1e-9) - 1e-9
    assert likelihood == "plain" or added > 0


def test_without_blocks_the_nll_is_half_the_squared_norm():
    embeddings, labels = batch()
    loss = nir_loss(n_blocks=0)
    torch.testing.assert_close(loss.negative_log_likelihood(embeddings, labels), torch.full_like(embeddings[:, 0], 0.5))
    assert {id(p) for g in loss.param_groups(1.0) for p in g["params"]} == {id(loss.proxy_loss.proxies)}


def test_order_of_the_batch_and_scale_of_the_embeddings_do_not_matter():
    loss, (embeddings, labels) = nir_loss(), batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(embeddings[order], labels[order]), loss(embeddings, labels))
    torch.testing.assert_close(loss(100 * embeddings, labels), loss(embeddings, labels))


@pytest.mark.parametrize("detach", [False, True])
def test_nir_reaches_the_proxies_of_present_classes_unless_detached(detach):
    loss, (embeddings, labels) = nir_loss(proxy_weight=0.0, detach_condition=detach), batch()
    loss(embeddings, labels).backward()
    reached = (loss.proxy_loss.proxies.grad != 0).any(1)
    present = torch.zeros(C, dtype=torch.bool).scatter(0, labels, True)
    assert torch.equal(reached, torch.zeros_like(present) if detach else present)
    assert (embeddings.grad != 0).any()


def trained_nll(noise_scale: float) -> float:
    """Fit the flow alone to one fixed embedding and return its mean nll per dimension on 4000 fresh draws."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = NIRLoss(1, 4, **(SMALL | {"noise_scale": noise_scale, "generator": torch.Generator().manual_seed(0)}))
        optimizer = torch.optim.Adam(loss.flow.parameters(), lr=1e-2)
        embeddings, labels = torch.ones(64, 4), torch.zeros(64, dtype=torch.long)
        for _ in range(150):
            optimizer.zero_grad()
            loss.negative_log_likelihood(embeddings, labels).mean().backward()
            optimizer.step()
        with torch.no_grad():
            return loss.negative_log_likelihood(torch.ones(4000, 4), torch.zeros(4000).long()).mean().item() / 4


def test_gaussian_noise_bounds_the_likelihood_from_below():
    r"""Mean nll / D >= 1/2 + log(scale / sqrt(D)), whatever the flow; without noise a flow soon falls below it.

    The standard deviation of nll / D at the bound is sqrt(1 / 2 / D), so 6 standard errors of 4000 draws are 0.034:
    a false alarm is rarer than 1e-8.
    """
    bound = 0.5 + math.log(0.1 / 2)
    with_noise = trained_nll(0.1)
    assert bound - 0.034 < with_noise < bound + 0.5
    assert trained_nll(0.0) < bound - 0.5


def test_noise_stays_out_of_evaluation_and_of_the_proxy_loss():
    embeddings, labels = batch()
    loss = nir_loss(noise_scale=0.3, generator=torch.Generator().manual_seed(1))
    assert not torch.isclose(loss(embeddings, labels), loss(embeddings, labels))
    torch.testing.assert_close(loss.eval()(embeddings, labels), nir_loss()(embeddings, labels))
    only_proxies = nir_loss(noise_scale=0.3, nir_weight=0.0)
    torch.testing.assert_close(only_proxies(embeddings, labels), only_proxies.proxy_loss(embeddings, labels))


@pytest.mark.parametrize("likelihood", ["plain", "softplus", "exp"])
@pytest.mark.parametrize("base", [None, "ProxyNCA"])
@pytest.mark.parametrize("norm", [1e-3, 100.0])
def test_float32_stays_finite_at_any_norm_and_any_flow(likelihood, base, norm):
    loss, (embeddings, labels) = nir_loss(base, likelihood=likelihood), batch(dtype=torch.float32)
    for block in loss.flow.blocks:
        for net in (block.second_moves_first, block.first_moves_second):
            net[-1].bias.data += 50.0  # latents far out: nll in the thousands
    embeddings = (norm * normalize(embeddings.detach())).requires_grad_()
    assert loss.negative_log_likelihood(embeddings, labels).max() > 1000
    value = loss(embeddings, labels)
    value.backward()
    assert value.isfinite()
    for tensor in (embeddings, *loss.parameters()):
        assert tensor.grad.square().isfinite().all()
    assert (embeddings.grad != 0).any()


@pytest.mark.parametrize("base", [None, *BASES])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_parameters_keep_their_dtype_in_any_precision(base, dtype, autocast):
    loss, (embeddings, labels) = nir_loss(base), batch(dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(embeddings, labels)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert embeddings.grad.dtype == dtype
    for parameter in loss.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
    exact = copy.deepcopy(loss).double()(embeddings.detach().double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)


@pytest.mark.parametrize("base", [None, *BASES])
def test_odd_batches_give_a_finite_loss_with_a_graph(base):
    loss = nir_loss(base)
    zero_row = torch.randn(3, D)
    zero_row[1] = 0
    for embeddings in (torch.randn(0, D), torch.randn(1, D), torch.ones(4, D), zero_row):
        embeddings.requires_grad_()
        loss.zero_grad()
        value = loss(embeddings, torch.zeros(len(embeddings), dtype=torch.int32))
        value.backward()
        assert value.isfinite()
        assert embeddings.grad.isfinite().all()
    poisoned = torch.randn(3, D)
    poisoned[1, 2] = math.nan
    assert loss(poisoned, torch.tensor([0, 1, 2])).isnan()


def test_class_weights_reach_the_samples():
    embeddings, labels = batch()
    weights = torch.tensor([1.0, 5.0, 0.0, 2.0], dtype=torch.float64)
    loss = nir_loss(reducer=reducers.ClassWeightedReducer(weights))
    sub_losses = nir_loss().compute_loss(embeddings, labels, None, embeddings, labels)
    expected = sum((sub_losses[name]["losses"] * weights[labels]).mean() for name in ("proxy_loss", "nir_loss"))
    torch.testing.assert_close(loss(embeddings, labels), expected)


def test_a_miners_tuples_weight_the_samples_of_both_terms():
    embeddings, labels = batch()
    tuples = (torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), torch.tensor([3, 3, 3]))
    counts = torch.tensor([2.0, 2.0, 2.0, 3.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    loss = nir_loss("NormalizedSoftmax")
    base = copy.deepcopy(loss.proxy_loss).double()
    nir = (loss.negative_log_likelihood(embeddings, labels) / D * counts / 3).mean()
    torch.testing.assert_close(loss(embeddings, labels, tuples), base(embeddings, labels, tuples) + nir)


def test_a_given_proxy_loss_keeps_its_reducer_and_regularizer():
    embeddings, labels = batch(dtype=torch.float32)
    base = pml.NormalizedSoftmaxLoss(
        C, D, reducer=reducers.SumReducer(), weight_regularizer=regularizers.LpRegularizer(), weight_reg_weight=0.5
    )
    loss = NIRLoss(C, D, base, reducer=reducers.MeanReducer(), **(SMALL | {"nir_weight": 0.0}))
    torch.testing.assert_close(loss(embeddings, labels), base(embeddings, labels))


def test_the_default_base_takes_distance_initialiser_and_regularizer():
    embeddings, labels = batch()
    distance = LpDistance()
    loss = nir_loss(
        distance=distance,
        weight_init_func=torch.nn.init.ones_,
        weight_regularizer=regularizers.LpRegularizer(),
        weight_reg_weight=0.5,
        embedding_regularizer=regularizers.LpRegularizer(),
        embedding_reg_weight=0.25,
    )
    assert loss.distance is loss.proxy_loss.distance is distance
    assert (loss.proxies == 1).all()
    assert set(loss.sub_loss_names()) == {"proxy_loss", "nir_loss", "weight_reg_loss", "embedding_reg_loss"}
    terms = loss.compute_loss(embeddings, labels, None, embeddings, labels)
    expected = terms["proxy_loss"]["losses"].mean() + terms["nir_loss"]["losses"].mean()
    expected = expected + 0.5 * math.sqrt(D) + 0.25 * embeddings.norm(dim=1).mean()
    torch.testing.assert_close(loss(embeddings, labels), expected)


@pytest.mark.parametrize("likelihood", ["plain", "softplus", "exp"])
@pytest.mark.parametrize("noise_scale", [0.0, 0.1])
def test_it_compiles_without_graph_breaks(likelihood, noise_scale):
    torch.compiler.reset()  # or the compilations of other tests count against the limit of this one
    loss, (embeddings, labels) = nir_loss(likelihood=likelihood, noise_scale=noise_scale), batch(dtype=torch.float32)
    if noise_scale:
        assert torch.compile(loss, fullgraph=True, backend="aot_eager")(embeddings, labels).isfinite()
    loss.eval()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(embeddings, labels), loss(embeddings, labels))


@pytest.mark.parametrize("base", [None, *BASES])
def test_state_pickle_and_copies_round_trip(base):
    loss, (embeddings, labels) = nir_loss(base), batch(dtype=torch.float32)
    other = NIRLoss(C, D, None if base is None else BASES[base](), **SMALL, permutation_seed=5)
    assert not torch.isclose(other(embeddings, labels), loss(embeddings, labels))
    other.load_state_dict(loss.state_dict())
    for again in (other, pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        torch.testing.assert_close(again(embeddings, labels), loss(embeddings, labels), rtol=0, atol=0)


@pytest.mark.parametrize("base", [None, *BASES])
def test_param_groups_cover_every_parameter_once(base):
    loss = nir_loss(base)
    groups = loss.param_groups(1e-3)
    assert {group["lr"] for group in groups} == {0.1, 1e-3}
    assert all(group["weight_decay"] == 0 for group in groups)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in loss.parameters())
    name = next(name for name, _ in loss.proxy_loss.named_parameters())
    assert {g["lr"] for g in loss.param_groups(1.0, flow=7.0, **{name: 3.0})} == {3.0, 7.0}
    with pytest.raises(ValueError, match=r"multipliers must name parameters, got 'proxy_loss\.flw'"):
        loss.param_groups(1.0, flw=2.0)


@pytest.mark.parametrize("similarity", ["nivmf", "cosine"])
def test_a_proxy_loss_of_this_package_keeps_its_multipliers(similarity):
    base, (embeddings, labels) = NivMFLoss(C, D, similarity), batch(dtype=torch.float32)
    loss = NIRLoss(C, D, base, **(SMALL | {"nir_weight": 0.0}))
    torch.testing.assert_close(loss(embeddings, labels), base(embeddings, labels))
    rates = {id(p): group["lr"] for group in loss.param_groups(1e-5) for p in group["params"]}
    expected = {id(p): group["lr"] for group in base.param_groups(1e-5) for p in group["params"]}
    assert rates == expected | {id(p): 1e-5 for p in loss.flow.parameters()}


def test_logits_rank_the_own_class_first_and_proxies_are_those_of_the_base():
    for base in (None, *BASES):
        loss = nir_loss(base)
        centres = loss.proxies if loss.proxies.ndim == 2 else loss.proxies[:, 0]
        assert loss.get_logits(normalize(centres.detach())).argmax(1).tolist() == list(range(C))
    assert nir_loss("SoftTriple").proxies.shape == (C, 3, D)


def test_statistics_and_hyper_parameters_are_recorded():
    embeddings, labels = batch()
    loss = nir_loss(collect_stats=True)
    loss(embeddings, labels)
    expected = torch.stack([naive_nll(loss, e, y) for e, y in zip(embeddings, labels, strict=True)]).mean().item() / D
    assert loss.nll_per_dimension == pytest.approx(expected)
    assert "nll_per_dimension" in loss._record_these_stats
    assert "nir_weight" in loss._record_these
    for text in ("num_classes=4", "nir_weight=1.0", "likelihood=plain"):
        assert text in repr(loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer >= 1, got 0"),
        ({"embedding_size": 1}, "embedding_size must be an integer >= 2, got 1"),
        ({"nir_weight": -1.0}, "nir_weight must be a finite number >= 0, got -1.0"),
        ({"proxy_weight": math.nan}, "proxy_weight must be a finite number >= 0, got nan"),
        ({"likelihood": "none"}, "likelihood must be one of 'plain', 'softplus', 'exp', got 'none'"),
        ({"noise_scale": -0.1}, "noise_scale must be a finite number >= 0, got -0.1"),
        ({"noise_distribution": "gauss"}, "noise_distribution must be one of .*; did you mean 'gaussian'"),
        ({"condition_mode": "middle"}, "condition_mode must be one of .*, got 'middle'"),
        ({"n_blocks": -1}, "n_blocks must be an integer >= 0, got -1"),
        ({"proxy_loss": pml.NTXentLoss()}, "proxy_loss must keep its proxies in a matrix .* got NTXentLoss"),
        ({"proxy_loss": pml.ProxyNCALoss(C + 1, D)}, "proxy_loss must have num_classes=4 times 1 proxies"),
        ({"proxy_loss": pml.ProxyNCALoss(C, D), "distance": LpDistance()}, "distance is not supported together with"),
        ({"proxy_loss": pml.ProxyNCALoss(C, D), "weight_reg_weight": 2}, "weight_reg_weight is not supported together"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NIRLoss(**({"num_classes": C, "embedding_size": D} | arguments))


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(2, D), None, "labels"),
        (torch.ones(2, D + 1), torch.tensor([0, 1]), "embeddings must have embedding_size 6, got shape"),
        (
            torch.ones(2, D, dtype=torch.long),
            torch.tensor([0, 1]),
            "embeddings must be floating point, got torch.int64",
        ),
        (torch.ones(2, D), torch.tensor([0, C]), r"labels must lie in \[0, 4\), got values from 0 to 4"),
        (torch.ones(2, D), torch.tensor([-1, 0]), r"labels must lie in \[0, 4\), got values from -1 to 0"),
        (torch.ones(2, D), torch.tensor([0.0, 1.0]), "labels must be integers, got torch.float32"),
    ],
)
@pytest.mark.parametrize("base", [None, "ProxyNCA"])
def test_invalid_inputs_are_named(base, embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        nir_loss(base)(embeddings, labels)


def test_reference_embeddings_are_not_supported():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="ref_emb is not supported"):
        nir_loss()(embeddings, labels, ref_emb=embeddings.detach().clone(), ref_labels=labels)
    half = embeddings.detach().bfloat16()
    nir_loss()(half, labels, ref_emb=half, ref_labels=labels)  # the batch itself is no reference
