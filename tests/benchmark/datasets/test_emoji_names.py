import pytest

from pml_proxyext.benchmark.datasets.emoji_names import Emoji, IconNames, IconSet, bare_key, choose_emoji, slug

MESSAGES = {
    "groups": [{"order": 3, "key": "things"}, {"order": 7, "key": "flags"}, {"order": 2, "key": "component"}],
    "subgroups": [{"order": 5, "key": "fruit"}, {"order": 6, "key": "keycap"}, {"order": 8, "key": "family"}],
}


def entry(hexcode, label, group=3, subgroup=5, order=1):
    return {"hexcode": hexcode, "label": label, "group": group, "subgroup": subgroup, "order": order}


def names_of(emoji=(), sets=(), short_codes=()):
    return IconNames([Emoji(key, name, "") for key, name in emoji], sets, short_codes)


def icon_set(name_of_key=None, aliases=None):
    return IconSet({"icons": {}, "aliases": aliases or {}}, name_of_key or {})


@pytest.mark.parametrize(
    ("code_points", "key"),
    [("2764-FE0F", "2764"), ("1f441-fe0f-200d-1f5e8-fe0f", "1F441-200D-1F5E8"), ("2122-FE0E", "2122")],
)
def test_bare_key_leaves_out_variation_selectors(code_points, key):
    assert bare_key(code_points) == key


@pytest.mark.parametrize(
    ("name", "icon"),
    [("Red Heart!", "red-heart"), ("piñata", "pinata"), ("men's room", "mens-room"), ("A  &  B", "a-b")],
)
def test_slug_spells_names_as_icons_are(name, icon):
    assert slug(name) == icon


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [
        (entry("1F3C1", "chequered flag", group=7), "flag"),
        (entry("1F550", "one o\u2019clock"), "clock face"),
        (entry("1F55C", "one-thirty"), "clock face"),
        (entry("0031-FE0F-20E3", "keycap: 1", subgroup=6), "keycap"),
        (entry("1F3C3-200D-2640-FE0F", "woman running"), "gendered"),
        (entry("1F469-200D-1F680", "woman astronaut"), "role of a man or woman"),
        (entry("1F46A", "family", subgroup=8), "family"),
        (entry("1F9B0", "red hair", group=2), "component"),
        ({"hexcode": "1F1E6", "label": "regional indicator A"}, "component"),
    ],
)
def test_choose_emoji_drops_what_small_images_do_not_tell_apart(dropped, reason):
    chosen, reasons = choose_emoji([entry("1F34E", "red apple"), dropped], MESSAGES)
    assert [emoji.name for emoji in chosen] == ["red apple"]
    assert reasons == {reason: 1}


def test_choose_emoji_keeps_signs_and_persons_in_the_order_of_unicode():
    data = [entry("1F9D1-200D-1F680", "astronaut", order=3), entry("2640-FE0F", "female sign", order=2)]
    chosen, reasons = choose_emoji([*data, entry("1F468", "man", order=1)], MESSAGES)
    assert [emoji.key for emoji in chosen] == ["1F468", "2640", "1F9D1-200D-1F680"]
    assert not reasons


def test_icon_names_know_listed_names_and_labels():
    names = names_of([("1F34E", "red apple")], [icon_set({"1f431": "cat", "2764-fe0f": "heart"})])
    assert [names.key(name) for name in ("red-apple", "cat", "heart", "dog")] == ["1F34E", "1F431", "2764", None]


def test_icon_names_leave_out_a_name_of_two_emoji():
    names = names_of(sets=[icon_set({"1F431": "cat"}), icon_set({"1F408": "cat"})])
    assert names.key("cat") is None


def test_icon_names_prefer_sure_names_to_likely_ones():
    names = names_of(sets=[icon_set({"1F431": "cat"})], short_codes=[{"1F408": ["cat", "cat2"]}])
    assert names.key("cat") == "1F431"
    assert names.key("cat2") == "1F408"


def test_icon_names_know_short_codes_and_the_names_of_characters():
    names = names_of([("1F479", "ogre")], short_codes=[{"1F34E": "apple"}, {"1F34F": ["green_apple", "granny"]}])
    assert [names.key(name) for name in ("apple", "green-apple", "granny")] == ["1F34E", "1F34F", "1F34F"]
    assert names.key("japanese-ogre") == "1F479"


def test_icon_names_follow_aliases_both_ways_unless_the_drawing_is_turned():
    aliases = {
        "kitty": {"parent": "cat"},
        "hound": {"parent": "puppy"},
        "cat-left": {"parent": "cat", "hFlip": True},
    }
    names = names_of(sets=[icon_set({"1F431": "cat", "1F436": "hound"}, aliases)])
    assert [names.key(name) for name in ("kitty", "puppy", "cat-left")] == ["1F431", "1F436", None]


def test_icon_names_read_names_in_one_word():
    names = names_of([("1F34E", "red apple"), ("1F34F", "green apple")])
    assert names.key("redapple") == "1F34E"
    twice = names_of([("1F34E", "red apple"), ("1F34F", "re dapple")])
    assert twice.key("redapple") is None


def test_icon_names_count_numbered_drawings():
    names = names_of([("1F431", "cat"), ("1F51F", "keycap 10"), ("0031", "digit-1")])
    assert names.key_and_variant("cat") == ("1F431", 0)
    assert names.key_and_variant("cat-1") == ("1F431", 0)
    assert names.key_and_variant("cat-3") == ("1F431", 2)
    assert names.key_and_variant("digit-1") == ("0031", 0)  # the number is its name
    assert names.key_and_variant("dog-2") == (None, 1)
