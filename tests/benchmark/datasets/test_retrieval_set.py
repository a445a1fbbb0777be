import hashlib

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets import MemorySet, load_data, split_classes

NAMES = [chr(ord("a") + i) for i in range(24)]


def test_split_classes_halves_in_the_order_of_the_hash():
    train, test = split_classes(NAMES, "test")
    hashes = [hashlib.sha256(NAMES[i].encode()).hexdigest() for i in [*train, *test]]
    assert hashes == sorted(hashes)
    assert (len(train), len(test)) == (12, 12)


def test_split_classes_validation_is_the_end_of_the_training_half():
    train, _ = split_classes(NAMES, "test")
    fit, held_out = split_classes(NAMES, "validation")
    assert fit + held_out == train
    assert len(held_out) == 3


def test_split_classes_does_not_depend_on_the_order_of_the_classes():
    reverse = NAMES[::-1]
    assert [reverse[i] for i in split_classes(reverse, "test")[0]] == [
        NAMES[i] for i in split_classes(NAMES, "test")[0]
    ]


def test_image_set_labels_are_positions_in_the_chosen_classes():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1) * 51
    part = MemorySet(images, np.array([0, 1, 2, 0, 1, 2]), [2, 0], ["a", "b", "c"])
    assert part.class_names == ["c", "a"]
    assert part.labels.tolist() == [1, 0, 1, 0]
    assert part.images.flatten().tolist() == pytest.approx([0.0, 0.4, 0.6, 1.0])
    assert part.images.shape == (4, 1, 1, 1)
    image, label = part[2]
    assert (float(image), label) == (pytest.approx(0.6), 1)
    assert part.first_classes(1).labels.tolist() == [0, 0]


def test_load_data_unknown_names_are_errors():
    with pytest.raises(ValueError, match="did you mean 'glyphs'"):
        load_data("glyph")
    with pytest.raises(ValueError, match="split must be one of 'test', 'validation', got 'train'"):
        load_data("glyphs", "train")
