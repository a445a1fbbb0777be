r"""The conditional normalizing flow of NIR, as a transform of nflows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
from nflows.transforms import Transform
from torch import Tensor, nn

from pml_proxyext.flows.coupling import CouplingBlock, FollowingLinear
from pml_proxyext.utils.checks import check_choice, check_embeddings, check_integer, check_number
from pml_proxyext.utils.precision import upcast

__all__ = ["CONDITION_MODES", "ConditionMode", "ConditionalFlow"]

ConditionMode = Literal["dense", "dense_embed", "dense_embed_multi", "dense_embed_multi_stacked", "start", "mid", "end"]

#: How the context may reach the blocks; see :class:`ConditionalFlow`.
CONDITION_MODES: tuple[ConditionMode, ...] = (
    "dense",
    "dense_embed",
    "dense_embed_multi",
    "dense_embed_multi_stacked",
    "start",
    "mid",
    "end",
)


def _perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(FollowingLinear(width, width), nn.ReLU(), FollowingLinear(width, width))


class ConditionalFlow(Transform):
    r"""An invertible map :math:`x \mapsto z` given a context, whose log-determinant comes for free.

    It is a chain of :class:`~pml_proxyext.flows.coupling.CouplingBlock`. Each block scales each coordinate once, by
    at most :math:`e^{0.99903\,\mathrm{clamp}}` either way, so that
    :math:`|\log|\det \partial z / \partial x|| \le 0.99903\,\mathrm{clamp} \cdot D \cdot n_\mathrm{blocks}`.
    Half precision runs in float32 and outside autocast; float64 runs in float64; parameters keep their dtype.

    Args:
        dim: width :math:`D \ge 2` of the inputs.
        context_dim: width of the context.
        n_blocks: number of blocks (5 in the release of NIR); 0 gives the identity.
        n_layers: linear layers in each coupling network (8 in the release).
        hidden_size: their width (128 in the release).
        clamp: bound of the log-scales, positive (2 in the release).
        condition_mode: what the blocks see of the context (``"dense"`` in the release). ``"dense"``: each block sees
            it as it is. ``"dense_embed"``: each block sees it through one shared perceptron.
            ``"dense_embed_multi"``: each block through a perceptron of its own. ``"dense_embed_multi_stacked"``: each
            block's perceptron is applied to the output of the one before. ``"start"``, ``"mid"``, ``"end"``: only the
            first, the middle (``n_blocks // 2``) or the last block sees it.
        permutation_seed: block ``k`` permutes by a generator seeded with ``permutation_seed + k``; 0 gives the
            permutations of the release.

    Shapes:
        inputs ``(N, D)`` floating point, context ``(N, context_dim)`` -> latents ``(N, D)``, log-determinants ``(N,)``.

    Raises:
        ValueError: for sizes out of range, an unknown ``condition_mode``, or inputs of another shape.

    Departs from the paper or the release:
        its dropout and margin options, which never act, are left out; permutations do not touch numpy's global
        generator; :meth:`inverse` is public.

    Reference:
        Roth, Vinyals, Akata, "Non-isotropy Regularization for Proxy-based Deep Metric Learning", CVPR 2022,
        arXiv:2203.08547. The blocks follow Kingma and Dhariwal, "Glow", NeurIPS 2018, arXiv:1807.03039.

    Example:
        >>> flow = ConditionalFlow(dim=4, context_dim=3, n_blocks=2, n_layers=2, hidden_size=8)
        >>> inputs, context = torch.randn(5, 4), torch.randn(5, 3)
        >>> latents, log_det = flow(inputs, context)
        >>> latents.shape, log_det.shape
        (torch.Size([5, 4]), torch.Size([5]))
        >>> torch.allclose(flow.inverse(latents, context)[0], inputs, atol=1e-4)
        True
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        n_blocks: int = 5,
        n_layers: int = 8,
        hidden_size: int = 128,
        clamp: float = 2.0,
        condition_mode: ConditionMode = "dense",
        permutation_seed: int = 0,
    ) -> None:
        super().__init__()
        self.dim = check_integer("dim", dim, low=2)
        self.context_dim = check_integer("context_dim", context_dim)
        check_integer("n_blocks", n_blocks, low=0)
        check_integer("n_layers", n_layers)
        check_integer("hidden_size", hidden_size)
        check_integer("permutation_seed", permutation_seed, low=0)
        check_number("clamp", clamp, low=0.0, open_low=True)
        check_choice("condition_mode", condition_mode, CONDITION_MODES)
        self.condition_mode: ConditionMode = condition_mode
        only = {"start": 0, "mid": n_blocks // 2, "end": n_blocks - 1}.get(condition_mode)
        self.is_conditional = [only in (None, k) for k in range(n_blocks)]
        self.blocks = nn.ModuleList(
            CouplingBlock(dim, context_dim * sees, n_layers, hidden_size, clamp, permutation_seed + k)
            for k, sees in enumerate(self.is_conditional)
        )
        n_embedders = {"dense_embed": min(1, n_blocks)}.get(condition_mode, n_blocks)
        self.embedders = nn.ModuleList(
            _perceptron(context_dim) for _ in range(n_embedders if condition_mode.startswith("dense_embed") else 0)
        )

    def forward(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents and the log-determinant of their Jacobian with respect to the inputs."""
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, context = self._checked(inputs, context)
            log_det = outputs.new_zeros(len(outputs))
            for block, seen in zip(self.blocks, self._contexts(context), strict=True):
                outputs, change = block(outputs, seen)
                log_det = log_det + change
        return outputs, log_det

    def inverse(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return what :meth:`forward` maps to ``inputs``, and the log-determinant of this way back."""
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, context = self._checked(inputs, context)
            log_det = outputs.new_zeros(len(outputs))
            contexts = list(self._contexts(context))
            for block, seen in zip(reversed(self.blocks), reversed(contexts), strict=True):
                outputs, change = cast(CouplingBlock, block).inverse(outputs, seen)
                log_det = log_det + change
        return outputs, log_det

    def _checked(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        check_embeddings(inputs, self.dim, name="inputs")
        check_embeddings(context, self.context_dim, name="context")
        if len(inputs) != len(context):
            raise ValueError(f"context must have one row per input, got {len(context)} for {len(inputs)}")
        inputs = upcast(inputs)
        return inputs, context.to(inputs)

    def _contexts(self, context: Tensor) -> Iterator[Tensor | None]:
        """Yield what each block sees of the context."""
        if self.condition_mode == "dense_embed" and self.embedders:
            context = self.embedders[0](context)
        embedded = context
        for k, sees in enumerate(self.is_conditional):
            if self.condition_mode == "dense_embed_multi":
                embedded = self.embedders[k](context)
            elif self.condition_mode == "dense_embed_multi_stacked":
                embedded = self.embedders[k](embedded)
            yield embedded if sees else None
