import pytest
import torch

from pml_proxyext.benchmark.networks import build_models, load_models
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.training import Training


@pytest.mark.parametrize(
    ("trunk", "shape", "width"),
    [("small_cnn", (1, 32, 32), 4096), ("small_cnn", (3, 32, 32), 4096), ("identity", (7,), 7)],
)
@pytest.mark.parametrize("embedding_size", [5, 0])
def test_build_models_fit_together(trunk, shape, width, embedding_size):
    models = build_models(trunk, embedding_size, torch.Size(shape))
    assert all(model.training for model in models.values())
    embeddings = models["embedder"](models["trunk"](torch.rand(3, *shape)))
    assert embeddings.shape == (3, embedding_size or width)


def test_identity_leaves_pixels_as_they_are():
    images = torch.rand(2, 1, 32, 32)
    models = build_models("identity", 0, images[0].shape)
    assert torch.equal(models["embedder"](models["trunk"](images)), images.flatten(1))


def test_build_models_unknown_trunk_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"trunk must be one of .* did you mean 'small_cnn'"):
        build_models("small_cn", 5, torch.Size([1, 32, 32]))


def test_load_models_gives_back_what_a_run_saved(tmp_path):
    run = Run("supcon", smoke=True)
    data = run.load().train
    training = Training(run.resolved_recipe(), data, seed=0)
    training.save_models(tmp_path / "models" / "m.pt")
    images = data.images[:4]
    expected, loaded = training.models, load_models(tmp_path / "models" / "m.pt")
    for model in expected.values():
        model.eval()
    assert torch.equal(loaded["embedder"](loaded["trunk"](images)), expected["embedder"](expected["trunk"](images)))
