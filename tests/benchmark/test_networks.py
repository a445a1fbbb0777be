import pytest
import torch

from pml_proxyext.benchmark.networks import TRUNKS, build_models


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("embedding_size", [5, None])
def test_build_models_fit_together(trunk, embedding_size):
    models = build_models(trunk, embedding_size)
    embeddings = models["embedder"](models["trunk"](torch.rand(3, 1, 32, 32)))
    assert embeddings.shape == (3, embedding_size or TRUNKS[trunk][1])


def test_pixels_are_left_as_they_are():
    images = torch.rand(2, 1, 32, 32)
    models = build_models("pixels", None)
    assert torch.equal(models["embedder"](models["trunk"](images)), images.flatten(1))


def test_build_models_unknown_trunk_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"trunk must be one of .* did you mean 'small_cnn'"):
        build_models("small_cn", 5)
