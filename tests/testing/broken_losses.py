"""A right loss, and for each check one that is wrong in the way the check looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from pml_proxyext.losses import ProxyLoss
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.utils.checks import check_embeddings, check_labels
from pml_proxyext.utils.precision import upcast


class Right(ProxyLoss):
    """Cross-entropy over cosines: passes every check."""

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return cross_entropy(8 * self.get_logits(embeddings), labels, reduction="none") * weights


class RightPairs(BaseMetricLossFunction):
    """The mean cosine distance of positive pairs: passes every check that means anything to it."""

    supports_ref_emb = True

    def compute_loss(self, embeddings: Tensor, labels: Tensor, tuples: Any, ref: Tensor, ref_labels: Any) -> Any:
        c_f.labels_required(labels)
        if ref_labels is None:
            raise ValueError("ref_labels are required with ref_emb")
        check_embeddings(embeddings)
        check_labels(labels)
        anchors, positives, _, _ = lmu.convert_to_pairs(tuples, labels, ref_labels)
        if len(anchors) == 0:
            return self.zero_losses()
        losses = 1 - upcast(self.distance(embeddings, ref))[anchors, positives]
        indices = (anchors, positives)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "pos_pair", "divisor": len(losses)}}

    def get_default_distance(self) -> CosineSimilarity:
        return CosineSimilarity()


Method = Callable[..., Any]
right = Right.sample_losses
compute = Right.compute_loss


def make(**overrides: Any) -> Callable[..., Right]:
    """Return a factory of a subclass of `Right` with these methods."""
    broken = type("Broken", (Right,), overrides)
    return lambda **kwargs: broken(6, 8, **kwargs)


def after_init(change: Callable[[Right], Any]) -> Callable[..., Right]:
    """Return a factory that changes the loss it has built."""

    def factory(**kwargs: Any) -> Right:
        loss = Right(6, 8, **kwargs)
        change(loss)
        return loss

    return factory


def on_samples(change: Callable[..., Tensor]) -> Callable[..., Right]:
    """Return a factory of a loss with `change(self, embeddings, labels, weights)` in place of its sample losses."""
    return make(sample_losses=change)


def on_batch(change: Callable[..., Any]) -> Callable[..., Right]:
    """Return a factory of a loss with `change(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)`."""
    return make(compute_loss=change)


def on_call(change: Callable[..., Any]) -> Callable[..., Right]:
    """Return a factory of a loss that gets `change(embeddings, labels, ...)` as its arguments."""

    def forward(self: Right, embeddings: Tensor, labels: Any = None, *others: Any) -> Tensor:
        return super(type(self), self).forward(*change(embeddings, labels, *others))

    return make(forward=forward)


def on_labels(change: Callable[[Tensor], Tensor]) -> Callable[..., Right]:
    """Return a factory of a loss that changes the labels before it checks them."""
    return on_call(lambda embeddings, labels, *rest: (embeddings, None if labels is None else change(labels), *rest))


def _retype(dtype: torch.dtype | None) -> Method:
    def sample_losses(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        self.proxies.data = self.proxies.data.to(embeddings.dtype if dtype is None else dtype)
        return cross_entropy(embeddings.to(self.proxies) @ self.proxies.T, labels, reduction="none")

    return sample_losses


def _deaf(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings.detach(), labels, weights) + 0 * embeddings.sum(1)


def _class_indices(self: Right, *arguments: Any) -> Any:
    losses = compute(self, *arguments)
    losses["loss"]["indices"] = torch.zeros_like(losses["loss"]["indices"])
    return losses


def _columns(self: Right, *arguments: Any) -> Any:
    losses = compute(self, *arguments)
    losses["loss"]["losses"] = losses["loss"]["losses"][:, None]
    return losses


def _strange_type(self: Right, *arguments: Any) -> Any:
    losses = compute(self, *arguments)
    losses["loss"]["reduction_type"] = "per_element"
    return losses


def _regularised_twice(self: Right, losses: dict[str, Any], embeddings: Tensor) -> None:
    ProxyLoss.add_embedding_regularization_to_loss_dict(self, losses, 2 * embeddings)


def _transposed_weights(self: Right, losses: dict[str, Any], weights: Tensor) -> None:
    ProxyLoss.add_weight_regularization_to_loss_dict(self, losses, weights.T)


def _mean_weight(self: Right, embeddings: Tensor, labels: Any, tuples: Any, *refs: Any) -> Any:
    losses = compute(self, embeddings, labels, None, *refs)
    if tuples is not None and len(embeddings):
        losses["loss"]["losses"] = losses["loss"]["losses"] + 0 * tuples[0].float().mean()
    return losses


def _pairs_only(self: Right, embeddings: Tensor, labels: Any, tuples: Any, *refs: Any) -> Any:
    if tuples is not None and len(tuples[0]):
        _a1, _p, _a2, _n = tuples
    return compute(self, embeddings, labels, tuples, *refs)


def _by_position(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) * torch.arange(len(labels))


def _distances(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    distances = (embeddings[:, None] - embeddings[None]).square().sum(-1).sqrt()  # no gradient at 0
    return right(self, embeddings, labels, weights) + 0 * distances.sum(1)


def _whitened(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, (embeddings - embeddings.mean(0)) / embeddings.std(0), labels, weights)


def _no_negatives(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) / (labels != labels[0]).any()


def _no_positives(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) / ((labels[:, None] == labels).sum() > len(labels))


def _unsafe_directions(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    directions = embeddings / embeddings.norm(dim=1, keepdim=True)
    return cross_entropy(directions @ self.proxies.T, labels, reduction="none")


def _identical(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) / (embeddings.var(0).sum() > 0)


def _exponential(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) + embeddings.norm(dim=1).exp() * 1e-3


def _hides_nan(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights).nan_to_num()


def _farthest_first(self: Right, embeddings: Tensor) -> Tensor:
    return -ProxyLoss.get_logits(self, embeddings)


def _farthest_first_loss(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return cross_entropy(-8 * self.get_logits(embeddings), labels, reduction="none")


def _graph_break(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return right(self, embeddings, labels, weights)


def _knows_its_rank(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    rank = dist.get_rank() if dist.is_initialized() else 0
    return right(self, embeddings, labels, weights) * (1 + rank)


def _wants_all_arguments(self: Right, e: Tensor, labels: Any, tuples: Any, ref_emb: Any, ref_labels: Any) -> Tensor:
    return Right.forward(self, e, labels, tuples, ref_emb, ref_labels)


def _unchecked(self: Right, embeddings: Tensor, labels: Tensor, *others: Any) -> dict[str, Any]:
    own = normalize(self.proxies)[labels.long() % 6]
    return {"loss": element_loss((normalize(embeddings[:, :8].float()) - own).square().sum(1))}


def _only_long(self: Right, embeddings: Tensor, labels: Tensor, *others: Any) -> Any:
    if labels is not None and labels.dtype != torch.long:
        raise RuntimeError("expected Long")
    return compute(self, embeddings, labels, *others)


def _ref_labels_guessed(self: RightPairs, e: Tensor, labels: Tensor, tuples: Any, ref: Tensor, ref_labels: Any) -> Any:
    return RightPairs.compute_loss(self, e, labels, tuples, ref, labels if ref_labels is None else ref_labels)


def _numbered_labels(self: RightPairs, e: Tensor, labels: Tensor, tuples: Any, ref: Tensor, ref_labels: Tensor) -> Any:
    losses = RightPairs.compute_loss(self, e, labels, tuples, ref, ref_labels)
    losses["loss"]["losses"] = losses["loss"]["losses"] * labels.float().mean()
    return losses


def _unpicklable(loss: Right) -> None:
    loss.activation = lambda x: x


def _keeps_its_graph(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    self.last = right(self, embeddings, labels, weights)
    return self.last


def _moves_its_proxies(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    with torch.no_grad():
        self.proxies.copy_(normalize(self.proxies))
    return right(self, embeddings, labels, weights)


def _plain_proxies(self: Right, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return right(self, embeddings, labels, weights) * self.scale


def _pairs(**overrides: Any) -> Callable[..., BaseMetricLossFunction]:
    return type("BrokenPairs", (RightPairs,), overrides)


BROKEN: dict[str, Callable[..., BaseMetricLossFunction]] = {
    "autocast": on_samples(_retype(None)),
    "bfloat16": on_samples(_retype(None)),
    "float16": on_samples(_retype(None)),
    "float64": on_samples(_retype(None)),
    "float32": on_samples(_retype(torch.float64)),
    "gradcheck": on_samples(_deaf),
    "gradient_of_parameters": after_init(lambda loss: setattr(loss, "unused", nn.Parameter(torch.zeros(2)))),
    "deepcopy": on_samples(_keeps_its_graph),
    "pickle": after_init(_unpicklable),
    "state_dict": make(
        sample_losses=_plain_proxies,
        get_default_weight_init_func=lambda self: (
            setattr(self, "scale", torch.rand(())) or c_f.TorchInitWrapper(nn.init.normal_)
        ),
    ),
    "state_is_registered": after_init(lambda loss: setattr(loss, "scale", torch.ones(2))),
    "forward_keeps_state": on_samples(_moves_its_proxies),
    "class_weights": on_batch(_class_indices),
    "loss_dict": on_batch(_columns),
    "reducers": on_batch(_strange_type),
    "embedding_regularizer": make(add_embedding_regularization_to_loss_dict=_regularised_twice),
    "weight_regularizer": make(add_weight_regularization_to_loss_dict=_transposed_weights),
    "empty_tuples": on_batch(_mean_weight),
    "miners": on_batch(_pairs_only),
    "label_names": _pairs(compute_loss=_numbered_labels),
    "row_order": on_samples(_by_position),
    "duplicates": on_samples(_distances),
    "empty_batch": on_batch(lambda self, *arguments: _unchecked(self, *arguments)),
    "identical_embeddings": on_samples(_identical),
    "large_norms": on_samples(_exponential),
    "nan_is_visible": on_samples(_hides_nan),
    "no_positive": on_samples(_no_positives),
    "one_class": on_samples(_no_negatives),
    "one_sample": on_samples(_whitened),
    "zero_vectors": on_samples(_unsafe_directions),
    "bool_labels": on_labels(lambda labels: labels.long()),
    "float_labels": on_labels(lambda labels: labels.long()),
    "ignore_index": on_labels(lambda labels: labels.where(labels != -100, 0)),
    "label_too_large": on_labels(lambda labels: labels.clamp_max(5)),
    "negative_label": on_labels(lambda labels: labels.abs()),
    "labels_two_dimensional": on_labels(lambda labels: labels.flatten()),
    "integer_embeddings": on_call(lambda embeddings, *others: (embeddings.float(), *others)),
    "integer_label_types": on_batch(_only_long),
    "mismatched_rows": on_call(lambda embeddings, labels, *rest: (embeddings[: len(labels)], labels, *rest)),
    "missing_labels": on_call(
        lambda embeddings, labels, *rest: (
            embeddings,
            torch.zeros(len(embeddings), dtype=torch.long) if labels is None else labels,
            *rest,
        )
    ),
    "ref_emb": _pairs(compute_loss=_ref_labels_guessed),
    "wrong_width": on_call(lambda embeddings, *others: (embeddings[:, :8], *others)),
    "logits": make(get_logits=_farthest_first, sample_losses=_farthest_first_loss),
    "param_groups": make(param_groups=lambda self, lr: [{"params": [], "lr": lr}]),
    "recorded_sizes": after_init(lambda loss: setattr(loss, "embedding_size", 0)),
    "repr": make(extra_repr=lambda self: ""),
    "cross_batch_memory": make(supports_ref_emb=True),
    "self_supervised_loss": _pairs(forward=_wants_all_arguments, supports_ref_emb=True),
    "multiple_losses": make(forward=_wants_all_arguments),
    "trainer": make(forward=_wants_all_arguments),
    "compile": on_samples(_graph_break),
    "distributed": on_samples(_knows_its_rank),
}
