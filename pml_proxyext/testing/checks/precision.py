"""Number formats and devices: the arithmetic follows the embeddings, the parameters stay what they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from pml_proxyext.testing.subject import NotApplicable, Subject, require, require_close, seeded

__all__ = [
    "check_autocast",
    "check_bfloat16",
    "check_cuda_embeddings",
    "check_float16",
    "check_float32",
    "check_float64",
]

# A half-precision similarity is off by about eps, and a scale of some tens in an exponent multiplies that.
_HALF_PRECISION_FACTOR = 16


def check_float64(subject: Subject) -> None:
    _check_dtype(subject, torch.float64)


def check_float32(subject: Subject) -> None:
    _check_dtype(subject, torch.float32)


def check_bfloat16(subject: Subject) -> None:
    _check_dtype(subject, torch.bfloat16)


def check_float16(subject: Subject) -> None:
    _check_dtype(subject, torch.float16)


def check_autocast(subject: Subject) -> None:
    """Under CPU autocast a layer's output is bfloat16 while the loss's parameters are float32, and stay so."""
    loss, batch = subject.build(), subject.batch()
    dtypes = _dtypes(loss)
    with seeded(0):
        layer = nn.Linear(subject.profile.embedding_size, subject.profile.embedding_size)
    with torch.autocast("cpu", torch.bfloat16):
        value = subject.value(loss, replace(batch, embeddings=subject.fitted(layer(batch.embeddings))))
    _require_dtypes(loss, dtypes)
    value.backward()
    require(torch.isfinite(value), f"under autocast the loss is {value.item()}")
    grad = layer.weight.grad
    require(grad is not None and torch.isfinite(grad).all(), "under autocast the gradient has nan or inf")


def check_cuda_embeddings(subject: Subject) -> None:
    """Embeddings on a GPU with labels and parameters on the CPU are an ordinary call, if a transfer at each step."""
    if not torch.cuda.is_available():
        raise NotApplicable("no CUDA device here")
    subject.require_deterministic()
    batch = subject.batch()
    ref_emb = None if batch.ref_emb is None else batch.ref_emb.cuda()
    on_gpu = subject.evaluate(replace(batch, embeddings=batch.embeddings.cuda(), ref_emb=ref_emb))
    require_close(on_gpu.value.cpu(), subject.evaluate(batch).value, "value on the GPU", rtol=1e-3)


def _check_dtype(subject: Subject, dtype: torch.dtype) -> None:
    batch, loss = subject.batch(dtype=dtype), subject.build()
    dtypes = _dtypes(loss)
    subject.value(loss, batch)
    _require_dtypes(loss, dtypes)
    result = subject.evaluate(batch)
    result.require_finite(str(dtype))
    require(result.embeddings_grad.dtype == dtype, f"the gradient is {result.embeddings_grad.dtype}, not {dtype}")
    if not subject.profile.random:  # torch draws other numbers for other formats
        double = replace(batch, embeddings=batch.embeddings.double())
        if batch.ref_emb is not None:
            double = replace(double, ref_emb=batch.ref_emb.double())
        exact = subject.value(subject.build().double(), double)
        rtol = _HALF_PRECISION_FACTOR * torch.finfo(dtype).eps
        rtol = max(rtol, 1e-4)  # a temperature of 0.01 multiplies float32's rounding errors too
        require_close(result.value, exact, f"value in {dtype} against float64", rtol=rtol, atol=rtol)


def _dtypes(loss: nn.Module) -> dict[str, torch.dtype]:
    return {name: tensor.dtype for name, tensor in loss.state_dict().items()}


def _require_dtypes(loss: nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    now = _dtypes(loss)
    changed = [f"{name} from {dtype} to {now.get(name)}" for name, dtype in dtypes.items() if now.get(name) != dtype]
    require(not changed, f"forward re-types parameters in place: {', '.join(changed)}")
