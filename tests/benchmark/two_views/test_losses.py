import math

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss, NTXentLoss

from pml_proxyext.benchmark.two_views.losses import BothDirections, DebiasedLoss, LearnedScale, MaxMarginLoss
from pml_proxyext.losses import HardNegNTXentLoss

LABELS = torch.tensor([0, 1, 2, 1, 3, 4, 0])  # of rows with one label, neither is a negative of the other


def views(seed, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=requires_grad) for _ in "ab"]


def cosines(a, b):
    return torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T


def looped_max_margin(a, b, margin):
    s, losses = cosines(a, b), []
    for i in range(len(s)):
        hinges = [max(0.0, margin + s[i, k] - s[i, i]) for k in range(len(s)) if LABELS[k] != LABELS[i]]
        losses.append(sum(hinges) / len(hinges))
    return sum(losses) / len(losses)


def looped_debiased(a, b, tau, share):
    s, losses = cosines(a, b) / tau, []
    for i in range(len(s)):
        negatives = [math.exp(s[i, k]) for k in range(len(s)) if LABELS[k] != LABELS[i]]
        positive = math.exp(s[i, i])
        g = (sum(negatives) / len(negatives) - share * positive) / (1 - share)
        g = max(g, math.exp(-1 / tau))
        losses.append(-math.log(positive / (positive + len(negatives) * g)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.9])
def test_max_margin_is_the_loop(margin):
    a, b = views(0)
    found = MaxMarginLoss(margin)(a, LABELS, ref_emb=b)
    assert found.item() == pytest.approx(float(looped_max_margin(a, b, margin)), abs=1e-12)
    assert found > 0


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.6])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_debiased_is_the_loop(tau, share):
    a, b = views(1)
    found = DebiasedLoss(tau, share)(a, LABELS, ref_emb=b)
    assert found.item() == pytest.approx(looped_debiased(a, b, tau, share), abs=1e-12)


def test_debiased_reaches_its_bound_and_keeps_gradients_finite():
    """Partners are so near that more than all of the negatives would be taken for positives."""
    a, _ = views(2, requires_grad=True)
    b = (a + 0.01).detach()
    loss = DebiasedLoss(0.1, 0.5)(a, LABELS, ref_emb=b)
    count = torch.tensor([(label != LABELS).sum() for label in LABELS])
    expected = (1 + count * (-1 / 0.1 - cosines(a, b).diagonal() / 0.1).exp()).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.3), DebiasedLoss(0.5, 0.05)], ids=lambda loss: type(loss).__name__)
def test_gradients_are_those_of_finite_differences(loss):
    a, b = views(3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: loss(x, LABELS, ref_emb=y), (a, b))


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.3), DebiasedLoss(0.5, 0.05)], ids=lambda loss: type(loss).__name__)
def test_labels_are_required(loss):
    a, b = views(4)
    with pytest.raises(ValueError, match=r"^labels are required, got None$"):
        loss(a, ref_emb=b)


def test_debiased_without_share_is_ntxent_where_labels_differ():
    a, b = views(5)
    ids = torch.arange(len(a))
    expected = NTXentLoss(temperature=0.3)(a, ids, ref_emb=b, ref_labels=ids + 0)
    assert DebiasedLoss(0.3, 0.0)(a, ids, ref_emb=b).item() == pytest.approx(expected.item(), rel=1e-9)


def test_both_directions_is_the_mean_and_tells_partners_from_the_row_itself():
    a, b = views(6)
    one = NTXentLoss(temperature=0.3)
    expected = one(a, LABELS, ref_emb=b, ref_labels=LABELS + 0) + one(b, LABELS, ref_emb=a, ref_labels=LABELS + 0)
    found = BothDirections(one)(a, LABELS, ref_emb=b, input_emb=a, ref_input_emb=b)
    assert found.item() == pytest.approx(expected.item() / 2, rel=1e-12)
    assert BothDirections(ContrastiveLoss())(a, LABELS, ref_emb=b) > 0


def test_learned_scale_is_the_inverse_temperature_and_learns():
    a, b = views(7)
    scaled = HardNegNTXentLoss(1.0, concentration=0.0, distance=LearnedScale(0.25))
    loss = BothDirections(scaled)(a, LABELS, ref_emb=b)
    plain = BothDirections(HardNegNTXentLoss(0.25, concentration=0.0))(a, LABELS, ref_emb=b)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    loss.backward()
    (parameter,) = scaled.parameters()
    assert parameter.grad.abs() > 0


def test_learned_scale_is_bounded():
    a, b = views(8)
    torch.testing.assert_close(LearnedScale(1e-4)(a, b), 100 * cosines(a, b))
