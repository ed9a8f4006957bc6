"""Where a value lies on the colour scale."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossviz.errors import RenderError
from crossviz.render.scale import CHANCE, FLOOR, Scale, shared_scale, word_scale

finite = st.floats(-1e6, 1e6, allow_nan=False)


def uniform(words=2, gh=4, gw=5):
    return np.full((words, gh, gw), 1 / (gh * gw))


def test_probabilities_start_at_chance_and_end_at_the_strongest_word():
    maps = uniform()
    maps[1, 2, 3] = 0.9
    scale = shared_scale(maps, "probability")
    assert (scale.vmin, scale.factor) == (CHANCE, 20.0)
    assert scale.vmax == pytest.approx(0.9 * 20)
    assert scale.position(np.array(0.9)) == 1.0
    assert scale.position(np.array(1 / 20)) == 0.0
    # a quarter of the way from chance to the end is half of the way on the bar
    assert scale.position(np.array((1 + 17 / 4) / 20)) == pytest.approx(0.5)


def test_words_that_found_nothing_do_not_stretch_the_scale():
    weak = uniform() * np.array([1.0, 0.03])[:, None, None]
    weak[0, 0, 0] *= 2
    scale = shared_scale(weak, "probability")
    assert scale.vmax == FLOOR
    assert scale.position(weak[1]).max() == 0
    assert scale.position(weak[0]).max() == pytest.approx(math.sqrt(1 / (FLOOR - 1)))


def test_the_same_value_has_the_same_position_in_every_word():
    rng = np.random.default_rng(0)
    maps = rng.dirichlet(np.ones(20) * 0.2, 3).reshape(3, 4, 5)
    maps[0, 0, 0] = maps[2, 3, 4] = 0.17
    scale = shared_scale(maps, "probability")
    positions = [scale.position(word) for word in maps]
    assert positions[0][0, 0] == positions[2][3, 4]
    order = np.argsort(maps, axis=None, kind="stable")
    assert (np.diff(np.concatenate([p.ravel() for p in positions])[order]) >= 0).all()


def test_signed_maps_are_symmetric_linear_and_neutral_at_zero():
    maps = np.array([[[-0.2, 0.0], [0.05, 0.1]]])
    scale = shared_scale(maps, "similarity share", signed=True)
    np.testing.assert_allclose(scale.position(maps), [[[-1, 0], [0.25, 0.5]]])
    assert (scale.vmin, scale.vmax) == (-0.2, 0.2)
    assert scale.ticks() == [-0.2, -0.1, 0, 0.1, 0.2]


def test_other_units_run_from_zero_to_their_largest_value():
    scale = shared_scale(np.array([[[0.0, 1.0], [4.0, 2.0]]]), "relevance")
    np.testing.assert_allclose(scale.position(np.array([0.0, 1.0, 4.0])), [0, 0.5, 1])
    assert scale.label == "relevance"


@pytest.mark.parametrize("unit, signed", [("probability", False), ("relevance", False), ("share", True)])
@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_a_constant_map_has_a_position_and_no_nan(unit, signed, value):
    maps = np.full((1, 4, 5), value)
    shared = shared_scale(maps, unit, signed=signed)
    for scale in (shared, word_scale(maps[0], shared)):
        t = scale.position(maps)
        assert np.isfinite(t).all() and len(np.unique(t)) == 1
        assert (np.abs(t) <= 1).all()


def test_a_words_own_scale_ends_at_its_own_maximum_and_says_so():
    maps = uniform()
    maps[0, 0, 0], maps[1, 1, 1] = 0.2, 0.9
    shared = shared_scale(maps, "probability")
    own = word_scale(maps[0], shared)
    assert own.position(maps[0]).max() == 1 > shared.position(maps[0]).max()
    assert own.vmin == CHANCE and own.position(np.array(1 / 20)) == 0
    assert "this word alone" in own.label and shared.label == "× chance"
    below = word_scale(uniform()[0] * 0.5, shared)
    assert below.position(uniform()[0] * 0.5).max() == 0


@given(st.floats(1.01, 1e5))
def test_ticks_lie_on_the_scale_in_order_and_apart(vmax):
    scale = Scale("probability", 1.0, vmax)
    ticks = scale.ticks()
    assert ticks[0] == 1.0 and ticks[-1] == vmax and len(ticks) <= 6
    positions = [float(scale.position_of_displayed(np.float64(tick))) for tick in ticks]
    assert (np.diff(positions) > 0.1).all()


@given(low=finite, high=finite)
def test_a_scale_must_run_upwards(low, high):
    if low < high:
        assert Scale("x", low, high).position_of_displayed(np.array([low, high])).tolist() == [0, 1]
    else:
        with pytest.raises(RenderError, match="larger finite"):
            Scale("x", low, high)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_scale_must_be_finite(bad):
    with pytest.raises(RenderError):
        Scale("x", 0.0, bad)


def test_a_logarithmic_scale_gives_every_doubling_the_same_room():
    scale = Scale("probability", 1.0, 64.0, factor=4.0, log=True)
    at = scale.position(np.array([0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 90.0]))
    np.testing.assert_allclose(at, [0, 0, 0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1], atol=1e-12)
    assert scale.label == "× chance, logarithmic"
    ticks = scale.ticks()
    assert ticks[0] == 1.0 and ticks[-1] == 64.0 and 3 <= len(ticks) <= 6
    for start, signed in ((0.0, False), (-64.0, True)):
        with pytest.raises(RenderError, match="logarithmic"):
            Scale("probability", start, 64.0, signed=signed, log=True)
