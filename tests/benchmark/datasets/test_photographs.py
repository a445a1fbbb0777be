import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_metric_learning.datasets import CUB

from pml_proxyext.benchmark.datasets import load_data, prepare
from pml_proxyext.benchmark.datasets.photographs import PhotographSet
from pml_proxyext.benchmark.datasets.tiny_trees import TINY_TREES, make_tiny_tree
from pml_proxyext.benchmark.datasets.views import Views

NAMES = list(TINY_TREES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for name in NAMES:
        make_tiny_tree(name, folder)
    return folder


@pytest.fixture(autouse=True)
def _variable(root, monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(root))


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_zero_based_and_every_class_is_there(name):
    data = load_data(name)
    for part in (data.train, data.evaluation):
        assert part.num_classes == 12
        assert part.labels.unique().tolist() == list(range(12))
        assert part.labels.dtype == torch.int64
    assert not set(data.train.class_names) & set(data.evaluation.class_names)
    assert len(data.train) == 48
    assert len(data.evaluation) == (24 if name == "inshop" else 48)


@pytest.mark.parametrize(
    ("name", "first_train", "first_test"), [("cub200", 1, 101), ("cars196", 1, 99), ("sop", 1, 13), ("inshop", 1, 13)]
)
def test_first_half_of_the_classes_is_for_training(name, first_train, first_test):
    data = load_data(name)
    assert data.train.class_names == [str(first_train + i) for i in range(12)]
    assert data.evaluation.class_names == [str(first_test + i) for i in range(12)]


@pytest.mark.parametrize("name", ["cub200", "sop", "inshop"])
def test_label_of_an_image_is_that_of_its_class(name):
    data = load_data(name)
    for part in (data.train, data.evaluation):
        for path, label in zip(part.paths, part.labels.tolist(), strict=True):
            number = int(part.class_names[label])
            marks = {"cub200": f"{number:03}.", "sop": f"/{number}_", "inshop": f"id_{number:08}"}
            assert marks[name] in path


def test_inshop_queries_have_a_gallery_of_the_same_classes():
    data = load_data("inshop")
    assert data.gallery is not None
    assert data.gallery.class_names == data.evaluation.class_names
    assert data.gallery.labels.bincount().tolist() == data.evaluation.labels.bincount().tolist() == [2] * 12
    assert not set(data.gallery.paths) & set(data.evaluation.paths)
    assert load_data("cub200").gallery is None


@pytest.mark.parametrize("name", NAMES)
def test_validation_divides_the_training_classes_and_leaves_the_test_classes_alone(name):
    test, validation = load_data(name), load_data(name, "validation")
    learnt, held_out = set(validation.train.class_names), set(validation.evaluation.class_names)
    assert (len(learnt), len(held_out)) == (9, 3)
    assert learnt | held_out == set(test.train.class_names)
    assert validation.gallery is None
    assert validation.evaluation.labels.bincount().tolist() == [4, 4, 4]
    assert set(validation.train.paths) | set(validation.evaluation.paths) == set(test.train.paths)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", NAMES)
def test_samples_are_rgb_from_grey_and_palette_images(name):
    part = load_data(name).train.plain()
    modes = [Image.open(path).mode for path in part.paths]
    assert {"L", "P", "RGB"} <= set(modes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = [part.sample(modes.index(mode)) for mode in ("L", "P", "RGB")]
    assert all(sample.shape == (3, 224, 224) and sample.dtype == torch.float32 for sample in samples)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    grey, *colours = (sample * std + mean for sample in samples)
    torch.testing.assert_close(grey[0], grey[1], atol=1e-5, rtol=0)
    for mode, seen in zip(("P", "RGB"), colours, strict=True):
        pixels = np.asarray(Image.open(part.paths[modes.index(mode)]).convert("RGB"), np.float32)
        # Noise of 24/255 over 5,000 pixels, of which the view crops some.
        np.testing.assert_allclose(seen.mean((1, 2)).numpy(), pixels.mean((0, 1)) / 255, atol=0.03)


@pytest.mark.usefixtures("torchvision")
def test_training_samples_are_random_and_plain_ones_are_not():
    data = load_data("cub200").seen_through(Views(size=32, resize=40))
    torch.manual_seed(0)
    first, second = data.train.sample(5), data.train.sample(5)
    assert first.shape == (3, 32, 32)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(data.train.sample(5), first)
    plain = data.train.plain()
    assert torch.equal(plain.sample(5), plain.sample(5))
    assert torch.equal(data.evaluation.sample(5), data.evaluation.sample(5))
    assert not torch.equal(data.train.sample(5), plain.sample(5))


@pytest.mark.usefixtures("torchvision")
def test_workers_give_the_batches_of_the_process_itself():
    part = load_data("cub200").evaluation.seen_through(Views(size=16, resize=16))
    alone, helped = (
        torch.cat([images for images, _ in torch.utils.data.DataLoader(part, batch_size=16, num_workers=workers)])
        for workers in (0, 2)
    )
    assert torch.equal(alone, helped)


def test_first_classes_keep_images_and_labels_together():
    part = load_data("cub200").evaluation.first_classes(5)
    assert isinstance(part, PhotographSet)
    assert (len(part), part.num_classes) == (20, 5)
    assert all(f"{101 + label:03}." in path for path, label in zip(part.paths, part.labels.tolist(), strict=True))


def test_missing_data_are_errors_that_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("PML_PROXYEXT_DATA")
    with pytest.raises(FileNotFoundError, match="set the environment variable PML_PROXYEXT_DATA"):
        load_data("cub200")
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(tmp_path))
    for name in ("cub200", "cars196", "sop"):
        with pytest.raises(FileNotFoundError, match=f"{name} is not in .*benchmark prepare {name}"):
            load_data(name)
    with pytest.raises(FileNotFoundError, match=r"inshop is not in .*DeepFashion.*list_eval_partition"):
        load_data("inshop")


@pytest.mark.parametrize("name", NAMES)
def test_missing_images_are_an_error_at_once(name, tmp_path, monkeypatch):
    make_tiny_tree(name, tmp_path)
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(tmp_path))
    for path in load_data(name).evaluation.paths[:1]:
        (tmp_path / path).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is incomplete"):
        load_data(name)


def test_inshop_is_read_in_the_shorter_layout_too(root, tmp_path, monkeypatch):
    (tmp_path / "inshop").mkdir()
    (tmp_path / "inshop" / "img").symlink_to(root / "inshop" / "Img" / "img")
    listing = (root / "inshop" / "Eval" / "list_eval_partition.txt").read_text()
    (tmp_path / "inshop" / "list_eval_partition.txt").write_text(listing)
    expected = load_data("inshop")
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(tmp_path))
    found = load_data("inshop")
    assert found.evaluation.labels.tolist() == expected.evaluation.labels.tolist()
    (tmp_path / "inshop" / "list_eval_partition.txt").write_text("1\nnames\nimg/a.jpg id_1 nowhere\n")
    with pytest.raises(ValueError, match=r"line 3 must be an image, an item and a part, got .img/a\.jpg id_1 nowhere"):
        load_data("inshop")


def test_prepare_lets_pml_download_into_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(tmp_path))
    asked = []

    def download(self):
        asked.append(self.root)
        make_tiny_tree("cub200", tmp_path)

    monkeypatch.setattr(CUB, "download_and_remove", download)
    assert prepare("cub200") == f"96 images of cub200 in {tmp_path / 'cub200'}"
    assert prepare("cub200")
    assert asked == [str(tmp_path / "cub200")]
    assert load_data("cub200").train.num_classes == 12


def test_an_old_pml_without_data_sets_is_an_error_that_says_which_to_take(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.datasets", None)
    with pytest.raises(ImportError, match=r"needs a newer pytorch-metric-learning, .* 2\.8\.1 or later"):
        load_data("cub200")


def test_sets_in_memory_have_no_views():
    with pytest.raises(ValueError, match="views must be None"):
        load_data("glyphs").seen_through(Views())
