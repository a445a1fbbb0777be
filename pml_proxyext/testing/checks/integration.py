"""The loss inside PML's machinery and this package's wrappers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import torch
from pytorch_metric_learning.losses import MultipleLosses
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.common_functions import EmbeddingDataset
from torch import Tensor, nn

from pml_proxyext.testing.subject import NotApplicable, Subject, require, require_close, seeded
from pml_proxyext.wrappers import CrossBatchMemory, SelfSupervisedLoss, supports_ref_emb

__all__ = ["check_cross_batch_memory", "check_multiple_losses", "check_self_supervised_loss", "check_trainer"]


def check_trainer(subject: Subject) -> None:
    """Two steps of MetricLossOnly move the model and the loss's parameters; GlobalEmbeddingSpaceTester then runs."""
    _require_labels_only(subject)
    loss, batch = subject.build(), subject.batch()
    dataset = EmbeddingDataset(batch.embeddings, batch.labels)
    device, size = torch.device("cpu"), subject.profile.embedding_size
    with seeded(0), contextlib.redirect_stderr(io.StringIO()):  # the progress bars
        trunk = nn.Linear(size, size)
        modules = {"trunk": trunk, "metric_loss": loss}
        before = {name: [p.detach().clone() for p in module.parameters()] for name, module in modules.items()}
        optimizers = {
            f"{name}_optimizer": torch.optim.SGD(module.parameters(), lr=0.1)
            for name, module in modules.items()
            if before[name]
        }
        MetricLossOnly(
            models={"trunk": trunk},
            optimizers=optimizers,
            batch_size=len(dataset),
            loss_funcs={"metric_loss": loss},
            dataset=dataset,
            data_device=device,
            dataloader_num_workers=0,
        ).train(num_epochs=2)
        for name, module in modules.items():
            moved = [not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)]
            require(any(moved) or not moved, f"training leaves the parameters of {name} where they were")
            finite = all(torch.isfinite(p).all() for p in module.parameters())
            require(finite, f"training makes parameters of {name} nan or inf")
        tester = GlobalEmbeddingSpaceTester(
            batch_size=len(dataset),
            data_device=device,
            dataloader_num_workers=0,
            accuracy_calculator=AccuracyCalculator(include=("precision_at_1",), k=1, device=device),
        )
        accuracies = tester.test({"val": dataset}, 0, trunk)
    require("val" in accuracies, f"GlobalEmbeddingSpaceTester gives {accuracies}")


def check_multiple_losses(subject: Subject) -> None:
    """Half of the loss plus half of the loss, through MultipleLosses, is the loss."""
    _require_labels_only(subject)
    batch = subject.batch()
    if subject.profile.random:
        both = MultipleLosses([subject.build()], weights=[1.0])
    else:
        both = MultipleLosses([subject.build(), subject.build()], weights=[0.5, 0.5])
    with seeded(0):
        value = both(batch.embeddings, batch.labels)
    require_close(value, subject.value(subject.build(), batch), "value in MultipleLosses", rtol=1e-5)


def check_cross_batch_memory(subject: Subject) -> None:
    """Over two batches and a resumed checkpoint, or refused in words."""
    _require_labels_only(subject)
    size = subject.profile.embedding_size
    if not supports_ref_emb(subject.build()):
        return _require_refusal("CrossBatchMemory", lambda: CrossBatchMemory(subject.build(), size))
    if not subject.profile.tuples:
        raise NotApplicable("the loss takes no tuples")
    memory = CrossBatchMemory(subject.build(), size, memory_size=32)
    batch = subject.batch()
    for _ in range(2):
        with seeded(0):
            embeddings = batch.embeddings.clone().requires_grad_()
            value = memory(embeddings, batch.labels)
            value.backward()
        require(torch.isfinite(value) and _is_finite(embeddings.grad), f"with a memory the loss is {value}")
    resumed = CrossBatchMemory(subject.build(), size, memory_size=32)
    resumed.load_state_dict(memory.state_dict())
    values = []
    for one in (memory, resumed):
        with seeded(0):
            values.append(one(batch.embeddings, batch.labels))
    if not subject.profile.random:
        require_close(values[1], values[0], "value after the memory is resumed", rtol=1e-6)
    return None


def check_self_supervised_loss(subject: Subject) -> None:
    """Two views in place of labels, symmetric and not; or refused in words."""
    _require_labels_only(subject)
    if not supports_ref_emb(subject.build()):
        return _require_refusal("SelfSupervisedLoss", lambda: SelfSupervisedLoss(subject.build()))
    if subject.profile.num_classes is not None:
        raise NotApplicable("every row is a class of its own, and the loss has a table of classes")
    batch = subject.batch()
    for symmetric in (True, False):
        loss = SelfSupervisedLoss(subject.build(), symmetric=symmetric)
        with seeded(0):
            embeddings = batch.embeddings.clone().requires_grad_()
            value = loss(embeddings, batch.embeddings.flip(1))
            value.backward()
        require(torch.isfinite(value) and _is_finite(embeddings.grad), f"over two views the loss is {value}")
    return None


def _is_finite(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(torch.isfinite(gradient).all())


def _require_labels_only(subject: Subject) -> None:
    if not subject.profile.labels or subject.profile.ref_emb == "required":
        raise NotApplicable("this calls the loss with embeddings and labels alone")


def _require_refusal(wrapper: str, build: Callable[[], nn.Module]) -> None:
    try:
        build()
    except ValueError as error:
        require("not supported" in str(error), f"{wrapper} refuses with {error}, not saying 'not supported'")
    else:
        raise AssertionError(f"{wrapper} takes a loss that does not support ref_emb")
