from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance

from pml_proxyext.losses import ProxyAnchorLoss
from pml_proxyext.losses.proxy_access import class_proxies, full_precision_loss, own_proxies, similarity_logits

C, D, K = 5, 8, 3
BASES = {
    "ours": lambda: ProxyAnchorLoss(C, D),
    "ProxyAnchor": lambda: pml.ProxyAnchorLoss(C, D),
    "ProxyAnchor_euclidean": lambda: pml.ProxyAnchorLoss(C, D, distance=LpDistance()),
    "ProxyNCA": lambda: pml.ProxyNCALoss(C, D),
    "SoftTriple": lambda: pml.SoftTripleLoss(C, D, centers_per_class=K),
    "NormalizedSoftmax": lambda: pml.NormalizedSoftmaxLoss(C, D),
    "ArcFace": lambda: pml.ArcFaceLoss(C, D),
    "CosFace": lambda: pml.CosFaceLoss(C, D),
    "SubCenterArcFace": lambda: pml.SubCenterArcFaceLoss(num_classes=C, embedding_size=D, sub_centers=K),
}


@pytest.fixture(params=BASES)
def base(request):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return BASES[request.param]()


def test_class_proxies_are_those_of_the_class(base):
    """Whatever the layout, a sample that lies on a proxy has its class's logit as the largest."""
    proxies = class_proxies(base, C, D)
    assert proxies.shape == (C, K if hasattr(base, "centers_per_class") or hasattr(base, "sub_centers") else 1, D)
    for k in range(proxies.shape[1]):
        # Softmax over centres (SoftTriple) needs the sample near the centre, not on a scale of the centre's norm.
        embeddings = torch.nn.functional.normalize(proxies[:, k].detach())
        assert similarity_logits(base, embeddings).argmax(1).tolist() == list(range(C))


def test_class_proxies_give_the_gradient_to_the_parameter(base):
    class_proxies(base, C, D).sum().backward()
    assert all((parameter.grad == 1).all() for parameter in base.parameters())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (pml.TripletMarginLoss(), r"proxy_loss must keep its proxies in a matrix \.proxies, \.W, \.fc, got Triplet"),
        ("proxies", "proxy_loss must keep its proxies in a matrix .*, got str"),
        (
            pml.ProxyNCALoss(2 * C, D),
            "proxy_loss must have num_classes=5 times 1 proxies .*, got 10 of size 8 in ProxyNC",
        ),
        (pml.ArcFaceLoss(C, D + 1), "embedding_size=8, got 5 of size 9 in ArcFaceLoss"),
        (pml.SoftTripleLoss(C, D - 1, centers_per_class=2), "5 times 2 proxies .* got 10 of size 7 in SoftTripleLoss"),
    ],
)
def test_losses_without_fitting_proxies_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        class_proxies(loss, C, D)


def test_own_proxies_takes_the_nearest_centre_by_cosine():
    generator = torch.Generator().manual_seed(0)
    proxies = torch.randn(C, K, D, generator=generator) * torch.tensor([1.0, 10.0, 0.1])[None, :, None]
    directions = torch.nn.functional.normalize(torch.randn(20, D, generator=generator))
    labels = torch.randint(C, (20,), generator=generator)
    chosen = own_proxies(proxies, directions, labels)
    picks = set()
    for i, label in enumerate(labels.tolist()):
        cosines = [(directions[i] @ centre / centre.norm()).item() for centre in proxies[label]]
        best = max(range(K), key=cosines.__getitem__)
        picks.add(best)
        torch.testing.assert_close(chosen[i], proxies[label, best] / proxies[label, best].norm())
    assert picks == set(range(K))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_full_precision_loss_keeps_the_parameters_what_they_are(base, dtype, autocast):
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(6, D, generator=generator).to(dtype).requires_grad_()
    labels = torch.arange(6) % C
    parameters = dict(base.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = full_precision_loss(base, embeddings, labels)
        assert torch.is_autocast_enabled("cpu") == autocast
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert embeddings.grad.isfinite().all()
    for name, parameter in base.named_parameters():
        assert parameter is parameters[name]
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert torch.equal(parameter, before[name])
        assert (parameter.grad != 0).any()
    torch.testing.assert_close(value.float(), base(embeddings.detach().float(), labels).detach(), rtol=1e-5, atol=1e-5)


def test_full_precision_loss_passes_the_tuples_on():
    base, labels = pml.NormalizedSoftmaxLoss(C, D), torch.arange(6) % C
    embeddings = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    indices_tuple = (torch.tensor([0]), torch.tensor([5]), torch.tensor([1]))
    expected = base(embeddings, labels, indices_tuple)
    torch.testing.assert_close(full_precision_loss(base, embeddings, labels, indices_tuple), expected)
    assert not torch.isclose(expected, base(embeddings, labels))


def test_similarity_logits_accept_other_dtypes_and_change_no_parameter(base):
    embeddings = torch.randn(4, D, generator=torch.Generator().manual_seed(1))
    expected = similarity_logits(base, embeddings)
    for dtype in (torch.float64, torch.bfloat16):
        logits = similarity_logits(base, embeddings.to(dtype))
        tolerance = (0.02 if dtype == torch.bfloat16 else 1e-5) * expected.abs().max().item()
        torch.testing.assert_close(logits.float(), expected, rtol=0, atol=tolerance)
    assert all(parameter.dtype == torch.float32 for parameter in base.parameters())
