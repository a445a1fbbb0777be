from __future__ import annotations

import math

import mpmath
import pytest
import torch

from pml_proxyext.utils.precision import accumulation_dtype, log1p_exp, upcast


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_accumulates_in_float32(dtype, expected):
    assert accumulation_dtype(dtype) == expected
    tensor = torch.ones(2, dtype=dtype, requires_grad=True)
    assert upcast(tensor).dtype == expected
    assert (upcast(tensor) is tensor) == (dtype == expected)
    upcast(tensor).sum().backward()
    assert tensor.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1p_exp_is_exact_over_its_range(dtype):
    values = torch.tensor([-700.0, -50.0, -20.0, -1.0, 0.0, 1.0, 19.0, 21.0, 30.0, 39.0, 41.0, 700.0], dtype=dtype)
    expected = [float(mpmath.log1p(mpmath.exp(mpmath.mpf(value)))) for value in values.tolist()]
    limits = torch.finfo(dtype)
    torch.testing.assert_close(
        log1p_exp(values), torch.tensor(expected, dtype=dtype), rtol=4 * limits.eps, atol=limits.tiny
    )


def test_log1p_exp_keeps_what_softplus_drops_above_twenty():
    excess = log1p_exp(torch.tensor(21.0, dtype=torch.float64)).item() - 21.0
    assert excess == pytest.approx(math.exp(-21.0), rel=1e-5)


def test_log1p_exp_has_the_logistic_gradient():
    values = torch.linspace(-30, 30, 13, dtype=torch.float64, requires_grad=True)
    log1p_exp(values).sum().backward()
    torch.testing.assert_close(values.grad, torch.sigmoid(values.detach()), rtol=1e-12, atol=0)
