"""What a browser may ask a picture to be drawn with."""

import pytest

from crossviz.errors import CrossvizError
from crossviz.models.generators import Settings
from crossviz.web.generate_values import MAX_SEED, settings_of

OWN = Settings(seed=5, guidance=3.0, temperature=1.0)


def test_several_pictures_have_the_seeds_that_follow_and_none_leaves_the_range():
    assert [one.seed for one in settings_of(7, None, None, 4, OWN)] == [7, 8, 9, 10]
    assert [one.seed for one in settings_of(MAX_SEED, None, None, 2, OWN)] == [MAX_SEED, 0]
    assert settings_of(None, None, None, 1, OWN) == [Settings(seed=5)]
    assert settings_of(3.0, 1, 2, 1, OWN) == [Settings(seed=3, guidance=1.0, temperature=2.0)]


def test_what_the_model_does_not_have_is_left_out():
    assert settings_of(1, 99, "hot", 1, Settings()) == [Settings(seed=1)]


@pytest.mark.parametrize("value", [-1, MAX_SEED + 1, 10**400, 0.5, float("nan"), float("inf"), "7", True, [], {}])
def test_a_seed_that_is_none_is_refused_in_a_sentence(value):
    with pytest.raises(CrossvizError, match=r"The seed must be a whole number from 0 to 2147483647"):
        settings_of(value, None, None, 1, OWN)


@pytest.mark.parametrize("value", [0.9, 10.5, float("nan"), "3", False, [3]])
def test_guidance_and_temperature_keep_to_their_bounds(value):
    with pytest.raises(CrossvizError, match="Guidance must be a number from 1 to 10"):
        settings_of(0, value, None, 1, OWN)
    with pytest.raises(CrossvizError, match="Temperature must be a number from 0 to 2"):
        settings_of(0, None, value if value != 0.9 else 2.1, 1, OWN)


@pytest.mark.parametrize("count", [0, 3, 5, None, "1", True])
def test_one_two_or_four_pictures(count):
    with pytest.raises(CrossvizError, match="The number of pictures must be"):
        settings_of(0, None, None, count, OWN)
