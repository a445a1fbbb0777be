import pickle

import pytest

from pml_proxyext.benchmark.parts import Part

ARCFACE = Part("pytorch_metric_learning.losses.ArcFaceLoss", {"margin": 10})


def test_make_hands_over_options_and_what_the_class_takes():
    loss = ARCFACE.make(num_classes=3, embedding_size=4)
    assert loss.W.shape == (4, 3)
    supcon = Part("pytorch_metric_learning.losses.SupConLoss", {"temperature": 0.3}).make(num_classes=3)
    assert supcon.temperature == 0.3


def test_arguments_include_inherited_ones():
    names = ARCFACE.arguments()
    assert {"margin", "scale", "num_classes", "embedding_size", "reducer"} <= set(names)
    assert not {"self", "kwargs"} & set(names)


def test_settings_are_options_over_the_defaults_of_the_class():
    settings = ARCFACE.settings()
    assert settings["margin"] == "10"
    assert settings["scale"] == "64"  # PML's default
    assert "num_classes" not in settings


def test_with_option_adds_to_a_copy():
    other = ARCFACE.with_option("scale", 8)
    assert other.options == {"margin": 10, "scale": 8}
    assert ARCFACE.options == {"margin": 10}


def test_with_option_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"option of ArcFaceLoss .* got 'margn'; did you mean 'margin'"):
        ARCFACE.with_option("margn", 1)


def test_parts_among_options_are_made_anew_each_time_and_settings_tell_them_apart():
    def contrastive(power: int) -> Part:
        distance = Part("pytorch_metric_learning.distances.LpDistance", {"power": power})
        return Part("pytorch_metric_learning.losses.ContrastiveLoss", {"distance": distance})

    first, second = contrastive(2).make(), contrastive(2).make()
    assert first.distance.power == 2
    assert first.distance is not second.distance
    assert contrastive(2).settings() == contrastive(2).settings() != contrastive(1).settings()


def test_part_survives_pickling():
    assert pickle.loads(pickle.dumps(ARCFACE)) == ARCFACE
