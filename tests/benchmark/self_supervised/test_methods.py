import math

import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.self_supervised.methods import METHODS, UNTRAINED, WIDTH, Encoded, small_encoder
from pml_proxyext.losses import DEMILoss

COUNT, TEMPERATURE = 7, 0.3


def encoded(name, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    view, other, part, other_of_part = torch.randn(4, COUNT, 5, generator=generator, dtype=dtype).unbind(0)
    method = METHODS[name]
    return Encoded(view if method.needs_view else None, other, part if method.needs_part else None, other_of_part)


def cosines(a, b):
    return (nn.functional.normalize(a) @ nn.functional.normalize(b).T / TEMPERATURE).tolist()


def rest(scores, i):
    return [scores[i][k] for k in range(COUNT) if k != i]


def contrast(scores):
    """Return the mean loss of telling the diagonal from the others of its row."""
    return sum(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(scores)) / COUNT


def importance_sampled(psi, phi):
    total = 0.0
    for i in range(COUNT):
        weights = [math.exp(score) for score in rest(psi, i)]
        tilted = sum(w * math.exp(score) for w, score in zip(weights, rest(phi, i), strict=True)) / sum(weights)
        total += math.log(1 + (COUNT - 1) * tilted / math.exp(phi[i][i]))
    return total / COUNT


def by_hand(name):
    batch = encoded(name)
    phi = cosines(batch.view, batch.other) if batch.view is not None else None
    psi = cosines(batch.part, batch.other_of_part) if batch.part is not None else None
    if name == "infonce":
        return contrast(phi)
    if name == "infonce_crop":
        return contrast(psi)
    if name == "multi_crop":
        return contrast(phi) + contrast(psi)
    if name == "demi_boosted":
        both = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(psi, phi, strict=True)]
        return contrast(psi) + contrast(both)
    return contrast(psi) + importance_sampled(psi, phi)


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_loops_over_the_candidates_of_each_row(name):
    assert METHODS[name].make(TEMPERATURE)(encoded(name)).item() == pytest.approx(by_hand(name), rel=1e-9)


def test_the_contrast_of_the_crop_alone_is_demi_without_its_conditional_part():
    batch, rows = encoded("demi_boosted"), torch.arange(COUNT)
    others = {"ref_emb": batch.other, "ref_labels": rows.clone()}
    crops = {"sub_emb": batch.part, "sub_ref_emb": batch.other_of_part}
    expected = DEMILoss(temperature=TEMPERATURE, cond_weight=0.0)(batch.view, rows, **others, **crops)
    found = METHODS["infonce_crop"].make(TEMPERATURE)(batch._replace(view=None))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_gradient_for_all_that_it_is_given(name):
    batch = Encoded(*(None if one is None else one.requires_grad_() for one in encoded(name)))
    METHODS[name].make(TEMPERATURE)(batch).backward()
    looked_at = [batch.view, batch.part]
    looked_at += [batch.other] if METHODS[name].needs_view else []
    looked_at += [batch.other_of_part] if METHODS[name].needs_part else []
    assert all(one.grad.abs().sum() > 0 for one in looked_at if one is not None)


def test_methods_are_compared_with_others_that_there_are():
    bases = {name: set(method.compared_with) for name, method in METHODS.items()}
    assert bases["demi_boosted"] == bases["demi_is"] == {"infonce", "multi_crop"}
    assert bases["multi_crop"] == bases["infonce_crop"] == {"infonce"}
    assert bases["infonce"] == set()


def test_all_methods_try_the_same_settings():
    trials = METHODS["infonce"].trials(6)
    assert trials[0] == {"lr": 3e-3, "temperature": 0.1}
    assert len({str(trial) for trial in trials}) == 6
    assert all(method.trials(6) == trials for method in METHODS.values())
    assert METHODS["infonce"].trials(3) == trials[:3]


def test_untrained_networks_give_features():
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert UNTRAINED["untrained"].make()(pictures).shape == (2, WIDTH)
    assert torch.equal(UNTRAINED["pixels"].make()(pictures), pictures.flatten(1))


def test_the_encoder_takes_pictures_of_other_sizes_and_its_features_are_means_over_positions():
    network = small_encoder().eval()
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = nn.Sequential(*list(network)[:-1])(pictures.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(network(pictures), maps.mean((2, 3)))
