"""Cross-GAN as a trainer: two variational encoders whose latents are aligned, crossed and judged in pairs."""

from __future__ import annotations

from typing import Any, cast, get_args

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn

from pml_proxyext.distributions.diagonal_normal import sample_normal, split_normal
from pml_proxyext.losses import CrossViewAlignmentLoss, JointAdversarialLoss
from pml_proxyext.regularizers import GaussianKLRegularizer
from pml_proxyext.trainers.cross_view_checks import KEYS, check_parts, check_views, loss_weights_of
from pml_proxyext.trainers.cross_view_terms import TERMS, EncodedPairs, EncodedView, held_constant
from pml_proxyext.trainers.joint_readings import JointReading, joint_pairs
from pml_proxyext.trainers.latent_spread import LatentSpread
from pml_proxyext.trainers.resumable_trainer import ResumableTrainer
from pml_proxyext.utils.checks import check_choice, check_integer, check_number, check_rows
from pml_proxyext.utils.two_views import TwoViewBatch, moved

__all__ = ["CrossViewGANTrainer"]


class CrossViewGANTrainer(ResumableTrainer):
    r"""Train the encoders of two views, such as two cameras, from pairs of images without identities.

    With :math:`q(z|x) = N(\mu, \mathrm{diag}\,\sigma^2)` of each view, samples :math:`z_a, z_b`, decoders :math:`g`,
    and maps :math:`W, W'` between the latents, these terms are weighted and added:

    =====================  ===========  ===========================================================================
    ``loss_weights``       default      term
    ``recon_loss``         20           :math:`\ell(g_a(z_a), x_a) + \ell(g_b(z_b), x_b)`
    ``kl_loss``            0.02         :math:`\mathrm{KL}(q_a \| N(0, I)) + \mathrm{KL}(q_b \| N(0, I))`
    ``align_loss``         1 / 64       :math:`|W z_a - z_b|^2`, or another kind of alignment
    ``cross_recon_loss``   20           :math:`\ell(g_b(W z_a), x_b) + \ell(g_a(W' z_b), x_a)`, the crossing
    ``adv_loss``           0.1          the encoders' side of the adversarial term
    ``metric_loss``        1            any loss of two views on :math:`W \mu_a` and :math:`\mu_b`, if it is given
    =====================  ===========  ===========================================================================

    A weight of 0 switches a term off, and what only it needs may be missing. Names that ``loss_weights`` leaves out
    have their default.

    ============================  ====================================================================================
    ``models``
    ``trunk``, ``ref_trunk``      encoders of view A and B, to :math:`[\mu \mid \log \sigma^2]`
    ``decoder``, ``ref_decoder``  from latents to data of the same shape
    ``aligner``, ``ref_aligner``  :math:`W` and :math:`W'`; the identity if missing
    ``discriminator``             logits of pairs of latents; alone in an optimizer of its own
    ``loss_funcs``
    ``recon_loss``                :math:`\ell`; by default ``torch.nn.MSELoss()``, the mean over values
    ``kl_loss``                   by default :class:`~pml_proxyext.regularizers.GaussianKLRegularizer`
    ``align_loss``                by default :class:`~pml_proxyext.losses.CrossViewAlignmentLoss`
    ``adv_loss``                  by default :class:`~pml_proxyext.losses.JointAdversarialLoss`
    ``metric_loss``               ``loss(embeddings, labels, None, ref_emb, ref_labels)``
    ============================  ====================================================================================

    The discriminator has a step of its own in every iteration, on detached latents and before the rest. Its loss is in
    ``losses["discriminator_loss"]``, and is not part of the total. What it tells apart is the ``reading``; see
    :func:`~pml_proxyext.trainers.joint_readings.joint_pairs`. For ``"mapped"`` and ``"prior"`` encoders and aligner
    play against it: they lower ``generator_loss`` of the generated pairs. For ``"shuffled"`` they play with it, and
    lower its own loss. It then estimates the density ratio of partners to strangers, and the encoders raise a lower
    bound of the Jensen-Shannon divergence between the two.

    To find partners, compare :meth:`compute_embeddings` with :meth:`compute_ref_embeddings`, or in a
    :class:`~pml_proxyext.testers.CrossModalTester` use :class:`~pml_proxyext.models.LatentMean` as embedders, for view
    A with the aligner after it.

    Args:
        *args: as PML's ``BaseTrainer`` takes them. Batches are those of
            :class:`~pml_proxyext.trainers.CrossModalTrainer`, their data
            tensors; without labels every pair has its own.
        reading: ``"mapped"``, ``"shuffled"`` or ``"prior"``.
        vae_alone_epochs: how many epochs train reconstruction and prior alone.
        align_alone_epochs: how many epochs after them train without the crossing and the adversarial term.
        collapse_below: a warning is logged, once, when the variance of the means of a view, averaged over their
            coordinates, is below this in a batch; ``spread`` and ``ref_spread`` hold trace and effective rank.
        generator: draws all samples; None for torch's default generator.
        **kwargs: as PML's ``BaseTrainer`` takes them; no miners.

    Raises:
        ValueError: for unknown or missing parts and weights, if a trainable parameter is in no optimizer, if the
            discriminator shares one, and for batches without pairs: fewer than two rows, unequal numbers of them, NaN
            or infinity, or all rows of a view the same.

    State:
        see :class:`~pml_proxyext.trainers.ResumableTrainer`; the generator is part of it.

    Departs from the paper or the release:
        no release is known, and of the paper only the abstract and the first lines of the introduction were at hand.
        They say: unsupervised, from pairs of images of two cameras; a variational autoencoder encodes the pair; a
        cross-view alignment reduces the disparity; an adversarial layer seeks the joint distribution of the latents;
        aligned latents are compared. All else is a reconstruction, the plainest that fits: the objective, the
        crossing, all three readings, networks and weights. Its results say nothing about the paper's.

    Reference:
        Zhang, Wu, Wang, "Crossing Generative Adversarial Networks for Cross-View Person Re-identification",
        arXiv:1801.01760.

    Example:
        >>> from torch.utils.data import StackDataset
        >>> from pml_proxyext.models import JointDiscriminator, LatentAligner, mlp_decoder, mlp_encoder
        >>> _ = torch.manual_seed(0)
        >>> pairs = StackDataset(torch.randn(64, 8), torch.randn(64, 6))
        >>> models = {"trunk": mlp_encoder(8, 4), "ref_trunk": mlp_encoder(6, 4)}
        >>> models |= {"decoder": mlp_decoder(4, 8), "ref_decoder": mlp_decoder(4, 6)}
        >>> models |= {"aligner": LatentAligner(4), "ref_aligner": LatentAligner(4)}
        >>> models |= {"discriminator": JointDiscriminator(4)}
        >>> optimizers = {f"{name}_optimizer": torch.optim.Adam(part.parameters()) for name, part in models.items()}
        >>> trainer = CrossViewGANTrainer(
        ...     models,
        ...     optimizers,
        ...     batch_size=32,
        ...     loss_funcs={},
        ...     dataset=StackDataset(pairs, torch.arange(64)),
        ...     dataloader_num_workers=0,
        ... )
        >>> trainer.train(num_epochs=1)
    """

    models: dict[str, nn.Module]
    loss_funcs: dict[str, nn.Module]
    loss_weights: dict[str, float]

    def __init__(
        self,
        *args: Any,
        reading: JointReading = "mapped",
        vae_alone_epochs: int = 0,
        align_alone_epochs: int = 0,
        collapse_below: float = 1e-3,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        self.reading: JointReading = check_choice("reading", reading, get_args(JointReading))
        self.vae_alone_epochs = check_integer("vae_alone_epochs", vae_alone_epochs, low=0)
        self.align_alone_epochs = check_integer("align_alone_epochs", align_alone_epochs, low=0)
        self.collapse_below = check_number("collapse_below", collapse_below, low=0.0)
        self.generator = generator
        self.spread = self.ref_spread = LatentSpread(torch.nan, torch.nan)
        self._has_warned = False
        self._discriminator_loss: Tensor | float = 0.0
        super().__init__(*args, **kwargs)

    def custom_setup(self) -> None:
        identities = {name: nn.Identity() for name in ("aligner", "ref_aligner") if name not in self.models}
        self.models = {**self.models, **identities}
        defaults: dict[str, nn.Module] = {
            "recon_loss": nn.MSELoss(),
            "kl_loss": GaussianKLRegularizer(),
            "align_loss": CrossViewAlignmentLoss(),
            "adv_loss": JointAdversarialLoss(),
        }
        self.loss_funcs = {**defaults, **self.loss_funcs}
        self.loss_weights = loss_weights_of(self.loss_weights, self.loss_funcs)
        self.loss_names = list(self.loss_weights)
        self.full_loss_weights = dict(self.loss_weights)
        check_parts(self)

    def modify_schema(self) -> None:
        for name, allowed in KEYS.items():
            self.schema[name].keys = allowed
            self.schema[name].important = []  # what is missed, check_parts has named
        self.schema["models"].essential = []
        self.schema["optimizers"].important = []

    def _owners(self) -> list[Any]:
        return [self, *super()._owners()]  # for its generator

    def update_loss_weights(self) -> None:
        off: set[str] = set()
        if self.epoch <= self.vae_alone_epochs + self.align_alone_epochs:
            off |= {"cross_recon_loss", "adv_loss"}
        if self.epoch <= self.vae_alone_epochs:
            off |= {"align_loss", "metric_loss"}
        self.loss_weights = {name: 0 if name in off else weight for name, weight in self.full_loss_weights.items()}

    def get_batch(self) -> TwoViewBatch:
        return TwoViewBatch.of(self.data_and_label_getter(next(self.dataloader_iter)))

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """Return the means of view A in the space of view B."""
        return self.models["aligner"](self._means("trunk", data))

    def compute_ref_embeddings(self, ref_data: Tensor) -> Tensor:
        """Return the means of view B."""
        return self._means("ref_trunk", ref_data)

    def _means(self, trunk: str, data: Tensor) -> Tensor:
        return split_normal(self.models[trunk](moved(data, self.data_device, self.dtype)))[0]

    def forward_and_backward(self) -> None:
        self._discriminator_loss = 0.0
        super().forward_and_backward()
        self.losses["discriminator_loss"] = self._discriminator_loss  # after the total has been summed

    def calculate_loss(self, curr_batch: TwoViewBatch) -> None:
        pairs = self._encode(curr_batch)
        self._look_for_collapse(pairs)
        for name, weight in self.loss_weights.items():
            if weight and name == "adv_loss":
                self.losses[name] = self._adversarial(pairs)
            elif weight:
                self.losses[name] = TERMS[name](pairs, self.models, self.loss_funcs)

    def _encode(self, batch: TwoViewBatch) -> EncodedPairs:
        a, b = (
            self._view(trunk, moved(data, self.data_device, self.dtype))
            for trunk, data in zip(("trunk", "ref_trunk"), check_views(batch), strict=True)
        )
        labels = batch.labels if batch.labels is not None else torch.arange(len(a.z))
        labels = c_f.process_label(labels, self.label_hierarchy_level, self.label_mapper)
        return EncodedPairs(a, b, self.models["aligner"](a.z), check_rows(labels, a.z, "labels", "data").to(a.z.device))

    def _view(self, trunk: str, data: Tensor) -> EncodedView:
        packed = self.models[trunk](data)
        mean, log_variance = split_normal(packed, name=f"what {trunk!r} returns")
        return EncodedView(data, packed, mean, sample_normal(mean, log_variance, self.generator))

    def _adversarial(self, pairs: EncodedPairs) -> Tensor:
        game = cast(JointAdversarialLoss, self.loss_funcs["adv_loss"])
        discriminator = self.models["discriminator"]
        true, generated = joint_pairs(self.reading, pairs.a.z, pairs.b.z, pairs.mapped, self.generator)
        detached = [[latents.detach() for latents in pair] for pair in (true, generated)]
        self._step_discriminator(game(*(discriminator(*pair) for pair in detached)))
        with held_constant(discriminator):
            if self.reading == "shuffled":
                return game(discriminator(*true), discriminator(*generated))
            return game.generator_loss(discriminator(*generated))

    def _step_discriminator(self, loss: Tensor) -> None:
        self._discriminator_loss = loss.detach()
        if "discriminator" in self.freeze_these:
            return
        loss.backward()
        if "discriminator_grad_clipper" in (self.gradient_clippers or {}):
            self.gradient_clippers["discriminator_grad_clipper"]()
        self.optimizers["discriminator_optimizer"].step()

    def step_optimizers(self) -> None:
        for name, optimizer in self.optimizers.items():
            if name != "discriminator_optimizer" and name.removesuffix("_optimizer") not in self.freeze_these:
                optimizer.step()

    def _look_for_collapse(self, pairs: EncodedPairs) -> None:
        self.spread, self.ref_spread = LatentSpread.of(pairs.a.mean), LatentSpread.of(pairs.b.mean)
        if self._has_warned:
            return
        for name, spread in (("A", self.spread), ("B", self.ref_spread)):
            if spread.trace < self.collapse_below * pairs.a.mean.shape[1]:
                self._has_warned = True
                c_f.LOGGER.warning(f"The latents of view {name} have nearly no variance: {spread}")
