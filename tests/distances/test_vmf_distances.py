"""The three comparisons against a loop over pairs in mpmath, against integrals, and in PML's losses and miners."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import losses, miners
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pml_proxyext.distances import VMFBhattacharyya, VMFExpectedLikelihood, VMFKLDivergence
from pml_proxyext.distributions import VonMisesFisher

DISTANCES = [VMFExpectedLikelihood, VMFBhattacharyya, VMFKLDivergence]
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])


def embeddings_of(n, dim, scale=1.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(n, dim, generator=generator, dtype=torch.float64)).to(dtype)


def log_normalizer(kappa, dim):
    half = mpmath.mpf(dim) / 2
    if kappa == 0:
        return mpmath.loggamma(half) - mpmath.log(2) - half * mpmath.log(mpmath.pi)
    bessel = mpmath.besseli(half - 1, kappa)
    return (half - 1) * mpmath.log(kappa) - half * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)


def by_loop(distance, query, ref):
    """Return the matrix from the defining formulas, one pair after another, with 30 digits."""
    dim = query.shape[1]
    rows = []
    with mpmath.workdps(30):
        for e in query.tolist():
            row = []
            for r in ref.tolist():
                e_norm, r_norm = (mpmath.sqrt(mpmath.fsum(mpmath.mpf(x) ** 2 for x in v)) for v in (e, r))
                both = mpmath.sqrt(mpmath.fsum((mpmath.mpf(x) + mpmath.mpf(y)) ** 2 for x, y in zip(e, r, strict=True)))
                log_e, log_r = log_normalizer(e_norm, dim), log_normalizer(r_norm, dim)
                if isinstance(distance, VMFExpectedLikelihood):
                    row.append(float(log_e + log_r - log_normalizer(both, dim)))
                elif isinstance(distance, VMFBhattacharyya):
                    row.append(float((log_e + log_r) / 2 - log_normalizer(both / 2, dim)))
                else:
                    half = mpmath.mpf(dim) / 2
                    gap = 0
                    if e_norm:
                        ratio = mpmath.besseli(half, e_norm) / mpmath.besseli(half - 1, e_norm)
                        product = mpmath.fsum(mpmath.mpf(x) * y for x, y in zip(e, r, strict=True))
                        gap = ratio * (e_norm - product / e_norm)
                    row.append(float(log_e - log_r + gap))
            rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("dim", [2, 8, 128])
@pytest.mark.parametrize("distance_class", DISTANCES)
def test_matrix_matches_a_loop_of_the_definition(distance_class, dim, scale):
    query, ref = embeddings_of(3, dim, scale), embeddings_of(4, dim, scale, seed=1)
    query[2] = ref[0] = 0
    ref[1] = query[1]
    expected = by_loop(distance_class(), query, ref)
    mat = distance_class()(query, ref)
    assert mat.shape == (3, 4)
    torch.testing.assert_close(mat, expected, rtol=1e-10, atol=1e-10)
    pairs = distance_class().pairwise_distance(query, ref[:3])
    torch.testing.assert_close(pairs, expected.diagonal(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_values_are_the_integrals_that_define_them(distance_class):
    turn = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
    values = torch.stack([turn.cos(), turn.sin()], dim=1)
    query, ref = embeddings_of(5, 2, 3.0), embeddings_of(5, 2, 3.0, seed=1)
    p, q = (
        VonMisesFisher(normalize(e, dim=1), e.norm(dim=1)).log_prob(values[:, None]) for e in (query, ref)
    )  # (4000, 5)
    step = 2 * math.pi / 4000
    expected = {
        VMFExpectedLikelihood: ((p + q).exp().sum(0) * step).log(),
        VMFBhattacharyya: (((p + q) / 2).exp().sum(0) * step).log(),
        VMFKLDivergence: (p.exp() * (p - q)).sum(0) * step,
    }[distance_class]
    torch.testing.assert_close(distance_class().pairwise_distance(query, ref), expected, rtol=1e-10, atol=1e-10)


@given(st.integers(2, 200), st.floats(1e-3, 100.0), st.integers(0, 10_000))
def test_symmetry_signs_and_equality_of_equals(dim, scale, seed):
    embeddings = embeddings_of(5, dim, scale / math.sqrt(dim), seed)
    slack = 1e-12 * (1 + scale)
    likelihood, bhattacharyya, divergence = (distance_class()(embeddings) for distance_class in DISTANCES)
    torch.testing.assert_close(likelihood, likelihood.T)
    torch.testing.assert_close(bhattacharyya, bhattacharyya.T)
    assert (bhattacharyya <= slack).all()
    assert (divergence >= -slack).all()
    assert bhattacharyya.diagonal().abs().max() <= slack
    assert divergence.diagonal().abs().max() <= slack
    if scale > 0.1:  # below it, different embeddings are nearly the same uniform distribution
        others = ~torch.eye(5, dtype=torch.bool)
        assert (bhattacharyya[others] < -slack).all()
        assert (divergence[others] > slack).all()
    # Cauchy-Schwarz: twice a likelihood is at most the sum of the self-likelihoods.
    own = likelihood.diagonal()
    assert (2 * likelihood <= own[:, None] + own[None, :] + slack + 1e-12 * likelihood.abs()).all()


def test_divergence_is_that_of_the_distributions_with_the_query_first():
    query, ref = embeddings_of(6, 16, 2.0), embeddings_of(6, 16, 0.5, seed=1)
    p, q = (VonMisesFisher(normalize(e, dim=1), e.norm(dim=1)) for e in (query, ref))
    distance = VMFKLDivergence()
    torch.testing.assert_close(distance.pairwise_distance(query, ref), kl_divergence(p, q))
    torch.testing.assert_close(distance(query, ref).diagonal(), kl_divergence(p, q))
    torch.testing.assert_close(distance(ref, query).diagonal(), kl_divergence(q, p))


@pytest.mark.parametrize("dim", [3, 70])
@pytest.mark.parametrize("distance_class", DISTANCES)
def test_gradients_pass_gradcheck_with_zero_and_opposite_embeddings(distance_class, dim):
    query, ref = embeddings_of(3, dim), embeddings_of(3, dim, seed=1)
    query[0] = 0
    ref[1] = 0
    ref[2] = -query[2] * (1 + 1e-3)
    inputs = (query.requires_grad_(), ref.requires_grad_())
    assert torch.autograd.gradcheck(distance_class(), inputs)
    assert torch.autograd.gradcheck(distance_class().pairwise_distance, inputs)


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_all_zero_and_cancelling_embeddings_are_finite(distance_class):
    embeddings = torch.zeros(4, 32)
    embeddings[1, 0], embeddings[2, 0] = 3.0, -3.0
    embeddings.requires_grad_()
    mat = distance_class()(embeddings)
    mat.sum().backward()
    assert mat.isfinite().all()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_opposites_of_huge_norm_survive_rounding_of_their_sum(distance_class):
    # In float32 the squared norm of the sum comes out as noise of either sign, of the size of 1e12 times epsilon.
    embeddings = embeddings_of(20, 32, 1e5, dtype=torch.float32)
    mat = distance_class()(embeddings, -embeddings)
    assert mat.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("distance_class", DISTANCES)
def test_low_precision_is_computed_and_returned_in_float32(distance_class, dtype):
    embeddings = embeddings_of(8, 512, 1.0, dtype=dtype).requires_grad_()
    mat = distance_class()(embeddings)
    assert mat.dtype == torch.float32
    expected = distance_class()(embeddings.detach().double())
    # Values are differences of numbers of the size of the squared norm, here about 512.
    torch.testing.assert_close(mat.double(), expected, rtol=1e-6, atol=512 * 4e-7)
    mat.sum().backward()
    assert embeddings.grad.dtype == dtype
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_autocast_changes_nothing(distance_class):
    embeddings = embeddings_of(8, 64, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mat = distance_class()(embeddings)
    assert torch.equal(mat, distance_class()(embeddings))


def pair_losses(distance):
    """Return losses whose margins suit the size of the distance's values on the batch below."""
    low, high = (0.5, 5.0) if not distance.is_inverted else (-5.0, -0.5)
    if isinstance(distance, VMFExpectedLikelihood):
        low, high = low + 14, high + 14  # about the level of self-similarities at D = 16 and norms near 8
    pos_margin, neg_margin = (high, low) if distance.is_inverted else (low, high)
    return {
        "NTXent": losses.NTXentLoss(temperature=1.0, distance=distance),
        "Contrastive": losses.ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin, distance=distance),
        "TripletMargin": losses.TripletMarginLoss(margin=1.0, distance=distance),
        "MultiSimilarity": losses.MultiSimilarityLoss(alpha=1.0, beta=2.0, base=(low + high) / 2, distance=distance),
        "SupCon": losses.SupConLoss(temperature=1.0, distance=distance),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["NTXent", "Contrastive", "TripletMargin", "MultiSimilarity", "SupCon"])
@pytest.mark.parametrize("distance_class", DISTANCES)
def test_pair_losses_of_pml_learn_with_it(distance_class, name, dtype):
    loss_func = pair_losses(distance_class())[name]
    embeddings = embeddings_of(8, 16, 2.0, seed=3, dtype=dtype).requires_grad_()
    loss = loss_func(embeddings, LABELS)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() > 0
    assert gradient.isfinite().all()
    step = 0.1 * gradient / gradient.norm()
    assert loss_func((embeddings - step).detach(), LABELS) < loss_func((embeddings + step).detach(), LABELS)


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_miners_of_pml_choose_by_it(distance_class):
    distance = distance_class()
    embeddings = embeddings_of(8, 16, 2.0, seed=3)
    mat = distance(embeddings) * (-1 if distance.is_inverted else 1)  # smaller is nearer
    anchor, positive, negative = miners.TripletMarginMiner(margin=0.5, distance=distance)(embeddings, LABELS)
    found = set(zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True))
    by_hand = {
        (a, p, n)
        for a in range(8)
        for p in range(8)
        for n in range(8)
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n] and mat[a, n] - mat[a, p] <= 0.5
    }
    assert found == by_hand
    a1, p, a2, n = miners.MultiSimilarityMiner(epsilon=0.1, distance=distance)(embeddings, LABELS)
    for i, j in zip(a1.tolist(), p.tolist(), strict=True):
        assert LABELS[i] == LABELS[j]
        assert mat[i, j] + 0.1 > mat[i, LABELS[i] != LABELS].min()
    assert len(a1)
    assert len(a2) == len(n)


def test_sign_conventions():
    assert [distance_class().is_inverted for distance_class in DISTANCES] == [True, True, False]
    near, far = torch.tensor([[5.0, 0.0], [5.0, 1.0]]), torch.tensor([[5.0, 0.0], [-5.0, 1.0]])
    for distance_class in DISTANCES:
        distance = distance_class()
        assert distance.margin(distance(near)[0, 1], distance(far)[0, 1]) < 0  # "near is nearer", both ways round


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_power_and_shapes_of_odd_batches(distance_class):
    query, ref = embeddings_of(3, 6), embeddings_of(5, 6, seed=1)
    torch.testing.assert_close(distance_class(power=2)(query, ref), distance_class()(query, ref) ** 2)
    assert distance_class()(query[:0], ref).shape == (0, 5)
    assert distance_class()(query[:1]).shape == (1, 1)
    query[0, 0] = math.nan
    assert distance_class()(query, ref).isnan().all(1).tolist() == [True, False, False]


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_bad_input_is_refused(distance_class):
    with pytest.raises(ValueError, match=r"normalize_embeddings must be False, got True, which is not supported"):
        distance_class(normalize_embeddings=True)
    with pytest.raises(ValueError, match=r"ref_emb must have embedding_size 3, got shape \(2, 4\)"):
        distance_class()(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"query_emb must be floating point"):
        distance_class()(torch.ones(2, 3, dtype=torch.long))


@pytest.mark.parametrize("distance_class", DISTANCES)
def test_compiles_into_one_graph(distance_class):
    embeddings = embeddings_of(4, 128, dtype=torch.float32)
    compiled = torch.compile(distance_class().compute_mat, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(embeddings, embeddings), distance_class()(embeddings))
