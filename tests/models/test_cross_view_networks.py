"""The networks of Cross-GAN: shapes, what they start from, and what they refuse."""

import pytest
import torch

from pml_proxyext.models import (
    JointDiscriminator,
    LatentAligner,
    LatentMean,
    VariationalEncoder,
    conv_decoder,
    conv_encoder,
    mlp_decoder,
    mlp_encoder,
)


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_return_what_they_took(channels):
    images = torch.rand(3, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    packed = conv_encoder(5, channels, width=4)(images)
    decoded = conv_decoder(5, channels, width=4)(LatentMean()(packed))
    assert packed.shape == (3, 10)
    assert decoded.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


def test_perceptrons_return_what_they_took():
    packed = mlp_encoder(7, 4, hidden_size=8)(torch.zeros(3, 7))
    assert packed.shape == (3, 8)
    assert mlp_decoder(4, 7, hidden_size=8)(LatentMean()(packed)).shape == (3, 7)


def test_an_encoder_packs_means_first_and_starts_with_small_variances():
    encoder = VariationalEncoder(torch.nn.Identity(), num_features=6, latent_size=2)
    mean, log_variance = encoder(torch.zeros(1, 6)).chunk(2, dim=1)
    assert (log_variance == -2).all()
    assert (mean.abs() < 1).all()
    assert torch.equal(LatentMean()(encoder(torch.ones(2, 6))), encoder(torch.ones(2, 6))[:, :2])


@pytest.mark.parametrize("build", [lambda: conv_encoder(8, width=8), lambda: conv_decoder(8, width=8)])
def test_every_parameter_of_the_convolutions_learns(build):
    torch.manual_seed(0)
    network = build()
    is_encoder = hasattr(network, "head")
    inputs = torch.rand(4, 1, 32, 32) if is_encoder else torch.randn(4, 8)
    network(inputs).square().sum().backward()
    # Batch normalisation takes out whatever the layer before it adds to all rows.
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_the_aligner_starts_as_the_identity_and_is_affine():
    aligner, z = LatentAligner(4), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(aligner(z), z)
    with torch.no_grad():
        aligner.weight *= 2
        aligner.bias += 1
    torch.testing.assert_close(aligner(z), 2 * z + 1)


def test_the_discriminator_looks_at_both_latents_and_at_their_order():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    discriminator = JointDiscriminator(3)
    a, b = torch.randn(2, 5, 3, generator=generator)
    logits = discriminator(a, b)
    assert logits.shape == (5,)
    for other in ((b, a), (a, a), (b, b)):
        assert not torch.allclose(discriminator(*other), logits)
    torch.testing.assert_close(discriminator(a.flip(0), b.flip(0)), logits.flip(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: conv_encoder(0), "latent_size must be an integer >= 1, got 0"),
        (lambda: conv_decoder(4, out_channels=0), "out_channels must be an integer >= 1"),
        (lambda: mlp_encoder(3, 4, hidden_size=0), "hidden_size must be an integer >= 1"),
        (lambda: mlp_decoder(4, 0), "out_features must be an integer >= 1"),
        (lambda: LatentAligner(0), "latent_size must be an integer >= 1"),
        (lambda: JointDiscriminator(4, hidden_size=0), "hidden_size must be an integer >= 1"),
        (lambda: VariationalEncoder(torch.nn.Identity(), 0, 2), "num_features must be an integer >= 1"),
        (lambda: JointDiscriminator(4)(torch.ones(2, 4), torch.ones(2, 3)), "ref_latents must have embedding_size 4"),
        (lambda: JointDiscriminator(4)(torch.ones(2, 4), torch.ones(3, 4)), "ref_latents must have one row for each"),
        (lambda: LatentMean()(torch.ones(2, 3)), r"must be \[mu \| log-variance\]"),
    ],
)
def test_bad_sizes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
