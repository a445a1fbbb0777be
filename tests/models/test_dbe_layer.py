"""The layer against stored numbers, a loop, and the normal distribution."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pml_proxyext.models import DBELayer, binarize

CASES = json.loads((Path(__file__).parents[1] / "golden" / "dcvh.json").read_text())["cases"]


def tensor(numbers: list) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def stored_layer(stored: dict) -> DBELayer:
    weight = tensor(stored["weight"])
    layer = DBELayer(weight.shape[1], weight.shape[0]).double()
    layer.norm.eps = stored["bn_eps"]
    with torch.no_grad():
        layer.linear.weight.copy_(weight)
        layer.linear.bias.copy_(tensor(stored["bias"]))
        layer.norm.weight.copy_(tensor(stored["bn_gamma"]))
        layer.norm.bias.copy_(tensor(stored["bn_beta"]))
    return layer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_values_and_bits_are_the_stored_ones(case):
    stored = case["dbe"]
    codes = stored_layer(stored)(tensor(stored["features"]))
    torch.testing.assert_close(codes, tensor(stored["z_train_mode"]), rtol=1e-9, atol=1e-9)
    assert torch.equal(binarize(codes), tensor(stored["bits"]))


def test_values_are_those_of_a_loop():
    layer = stored_layer(CASES[0]["dbe"]).requires_grad_(False)
    features = tensor(CASES[0]["dbe"]["features"])
    codes = layer(features)
    for k in range(codes.shape[1]):
        outputs = [float(layer.linear.weight[k] @ row + layer.linear.bias[k]) for row in features]
        mean = sum(outputs) / len(outputs)
        variance = sum((output - mean) ** 2 for output in outputs) / len(outputs)
        for i, output in enumerate(outputs):
            normal = (output - mean) / math.sqrt(variance + layer.norm.eps)
            expected = math.tanh(max(float(layer.norm.weight[k]) * normal + float(layer.norm.bias[k]), 0.0))
            assert codes[i, k].item() == pytest.approx(expected, abs=1e-12)


def test_gradients_pass_gradcheck():
    layer = stored_layer(CASES[1]["dbe"])
    assert torch.autograd.gradcheck(layer, tensor(CASES[1]["dbe"]["features"]).requires_grad_())


def test_a_new_layer_gives_the_share_of_ones_that_the_docstring_says():
    """The means of 10,000 independent rows may be off by four standard errors: once in 16,000 seeds, for each share."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = DBELayer(32, 20)
    codes = layer(torch.randn(10_000, 32, generator=generator))
    expected = 0.5 * math.erfc(math.atanh(0.5) / math.sqrt(2))
    assert expected == pytest.approx(0.29, abs=0.005)
    # Bits of a row depend on one another, so that its mean may vary as much as one bit does, but no more.
    assert binarize(codes).mean().item() == pytest.approx(expected, abs=4 * math.sqrt(0.2065 / 10_000))
    assert ((codes >= 0) & (codes <= 1)).all()
    assert (codes == 0).double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 100)


def test_in_evaluation_mode_bits_do_not_depend_on_the_batch():
    layer = stored_layer(CASES[2]["dbe"])
    features = tensor(CASES[2]["dbe"]["features"])
    layer(features)
    layer.eval()
    torch.testing.assert_close(layer(features)[:2], layer(features[:2]))
    assert not torch.allclose(layer.train()(features)[:2], layer.train()(features[:2]))


def test_binarize_keeps_dtype_and_nan_and_gives_zero_at_the_threshold():
    bits = binarize(torch.tensor([0.5, 0.51, math.nan], dtype=torch.bfloat16))
    assert bits.dtype == torch.bfloat16
    assert bits[:2].tolist() == [0.0, 1.0]
    assert bits[2].isnan()
    assert binarize(torch.tensor([-0.1, 0.0, 0.1]), threshold=0.0).tolist() == [0.0, 0.0, 1.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="in_features must be an integer >= 1, got 0"):
        DBELayer(0, 8)
    with pytest.raises(ValueError, match=r"num_bits must be an integer >= 1, got 8\.0"):
        DBELayer(4, 8.0)
    with pytest.raises(ValueError, match=r"features must have embedding_size 4, got shape \(2, 5\)"):
        DBELayer(4, 8)(torch.ones(2, 5))
    with pytest.raises(ValueError, match="threshold must be a finite number, got nan"):
        binarize(torch.ones(2), threshold=math.nan)
