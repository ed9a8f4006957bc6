"""Settings of a view: what comes from elsewhere is taken as it is meant, or refused in a sentence."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossviz.errors import CrossvizError
from crossviz.view_settings import MOST_HELD, ViewSettings

spans = st.tuples(st.integers(0, 500), st.integers(1, 90)).map(lambda pair: (pair[0], pair[0] + pair[1]))
share = st.floats(0, 1)
settings = st.builds(
    ViewSettings,
    shown=st.none() | spans,
    held=st.lists(spans, max_size=MOST_HELD).map(tuple),
    layer=st.none() | st.text(max_size=20),
    head=st.none() | st.integers(0, 40) | st.lists(st.tuples(st.text(max_size=9), st.integers(0, 40))).map(tuple),
    smooth=st.booleans(),
    own=st.booleans(),
    opacity=share,
    cmap=st.none() | st.sampled_from(["viridis", "magma"]),
    contour=st.sampled_from([0, 0.5, 0.8]),
    saw=st.booleans(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(settings)
def test_settings_come_back_from_json(one):
    assert ViewSettings.from_json(json.loads(json.dumps(one.as_dict()))) == one


def test_what_is_left_out_is_as_in_a_new_view():
    assert ViewSettings.from_json({}) == ViewSettings()
    assert ViewSettings.from_json({"own": True}) == ViewSettings(own=True)


def test_held_words_go_before_the_shown_one():
    assert ViewSettings(shown=(0, 3)).words == ((0, 3),)
    assert ViewSettings(shown=(0, 3), held=((8, 9), (4, 7))).words == ((8, 9), (4, 7))
    assert ViewSettings().words == ()
    assert ViewSettings().drawing()["scale"] == "shared" and ViewSettings(own=True).drawing()["scale"] == "word"
    assert ViewSettings(contour=0).drawing()["contour"] is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shown", [3]),
        ("shown", [3, 3]),
        ("shown", [-1, 3]),
        ("shown", [True, 3]),
        ("shown", [0.0, 3]),
        ("shown", [0, 1 << 40]),
        ("shown", "03"),
        ("held", 5),
        ("held", [[0, 1]] * (MOST_HELD + 1)),
        ("held", [[0, 1], None]),
        ("layer", 3),
        ("layer", "x" * 201),
        ("head", -1),
        ("head", True),
        ("head", 1.5),
        ("head", [3]),
        ("head", [["layer 1", -1]]),
        ("head", [[1, 1]]),
        ("head", "all"),
        ("smooth", 1),
        ("own", None),
        ("saw", "yes"),
        ("opacity", float("nan")),
        ("opacity", float("inf")),
        ("opacity", 1.01),
        ("opacity", True),
        ("opacity", "0.5"),
        ("cmap", ["viridis"]),
        ("contour", 0.6),
        ("contour", None),
    ],
    ids=str,
)
def test_what_can_not_be_is_named(name, value):
    with pytest.raises(CrossvizError, match=f"`{name}` must be") as told:
        ViewSettings.from_json({name: value})
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("value", [None, [], "held", 7, float("nan")], ids=str)
def test_anything_but_an_object_is_refused(value):
    with pytest.raises(CrossvizError, match="must be a JSON object"):
        ViewSettings.from_json(value)


def test_an_unknown_setting_is_refused_by_its_name():
    with pytest.raises(CrossvizError, match="no view setting 'colour'"):
        ViewSettings.from_json({"colour": "red"})


@given(st.sampled_from([field.name for field in dataclasses.fields(ViewSettings)]), anything)
def test_nothing_from_elsewhere_raises_anything_else(name, value):
    try:
        ViewSettings.from_json({name: value})
    except CrossvizError as error:
        assert "\n" not in str(error)
