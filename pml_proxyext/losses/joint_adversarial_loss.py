r"""The two sides of an adversarial game over pairs of latents."""

from __future__ import annotations

from torch import Tensor, nn

from pml_proxyext.utils.precision import log1p_exp, upcast

__all__ = ["JointAdversarialLoss"]


class JointAdversarialLoss(nn.Module):
    r"""Tell pairs of one joint distribution from pairs of another, or be mistaken for them.

    A discriminator gives pairs of latents a logit :math:`s`, high where it thinks them true. Its side of the game, the
    call itself, and the other side, :meth:`generator_loss`, are

    .. math::
        L_D = \frac1N \sum_i \log(1 + e^{-s_i}) + \frac1M \sum_j \log(1 + e^{\tilde s_j}), \qquad
        L_G = \frac1M \sum_j \log(1 + e^{-\tilde s_j})

    with :math:`s_i` the logits of true pairs and :math:`\tilde s_j` those of generated ones. :math:`L_D` is least at
    :math:`s = \log p / \tilde p`, the log-ratio of the two densities, and is :math:`\log 4` minus twice the
    Jensen-Shannon divergence there. :math:`L_G` is the non-saturating form: where the discriminator is sure, the
    negative of :math:`L_D` has no gradient left, and :math:`L_G` has its largest.

    It is no loss of embeddings, so it has neither labels nor reducers and is no ``BaseMetricLossFunction``;
    :class:`~pml_proxyext.trainers.CrossViewGANTrainer` calls it.

    Shapes:
        logits of any shape, floating point -> a scalar, in float32 for half precision. Of no logits the mean is NaN.

    Departs from the paper or the release:
        no release is known, and of the paper only the abstract and the first lines were at hand: an adversarial layer
        seeks the joint distribution of the latents. Both formulas are what is usual, not the paper's own words.

    Reference:
        Zhang, Wu, Wang, "Crossing Generative Adversarial Networks for Cross-View Person Re-identification",
        arXiv:1801.01760; Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014.

    Example:
        >>> import torch
        >>> game, undecided = JointAdversarialLoss(), torch.zeros(4)
        >>> game(undecided, undecided), game.generator_loss(undecided)
        (tensor(1.3863), tensor(0.6931))
    """

    def forward(self, true_logits: Tensor, generated_logits: Tensor) -> Tensor:
        """Return the loss of the discriminator."""
        return log1p_exp(-upcast(true_logits)).mean() + log1p_exp(upcast(generated_logits)).mean()

    def generator_loss(self, generated_logits: Tensor) -> Tensor:
        """Return the loss of whoever made the generated pairs."""
        return log1p_exp(-upcast(generated_logits)).mean()
