"""Rendered scenes: masks are what is drawn, questions have one answer, and figures know right from wrong."""

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest

from crossviz.evaluate.probes import scenes
from crossviz.evaluate.probes.scene_makers import MAKERS, make_tests
from crossviz.evaluate.probes.scene_parts import COLOURS
from crossviz.evaluate.probes.scene_renderer import SIDE, Scene, Thing, render
from crossviz.evaluate.probes.scene_shapes import SHAPES
from crossviz.evaluate.probes.scenes import measure_tests

CHANNELS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # background, first and second thing
PAIRS = tuple(name for name in MAKERS if name != "count")


def two(back: str, front: str, apart: float) -> Scene:
    return Scene(
        (Thing(back, "red", 0.5 - apart / 2, 0.78, 0.45), Thing(front, "blue", 0.5 + apart / 2, 0.86, 0.4, True)),
        "studio",
        3,
    )


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_the_masks_are_what_is_drawn(kind):
    picture = render(two(kind, "box", 0.3), plain=CHANNELS)
    shown = picture.pixels.argmax(-1)  # a channel holds its owner's share of the pixel
    assert picture.pixels.shape == (SIDE, SIDE, 3)
    for number, mask in enumerate(picture.masks, 1):
        assert 0.01 < mask.mean() < 0.3
        np.testing.assert_array_equal(mask, shown == number)


def test_light_and_shadow_move_no_mask():
    scene = two("dog", "ball", 0.2)
    np.testing.assert_array_equal(render(scene).masks, render(scene, plain=CHANNELS).masks)


def test_what_is_in_front_covers_what_is_behind():
    scene = two("box", "cup", 0.12)
    both = render(scene).masks
    box, cup = (render(Scene((thing,), scene.background, scene.seed)).masks[0] for thing in scene.things)
    overlap = box & cup
    assert overlap.sum() > 1000
    assert not (both[0] & both[1]).any()
    assert both[1][overlap].all()
    assert not (both[0] & ~box).any()
    np.testing.assert_array_equal(both[0] | both[1], box | cup)
    hidden = render(Scene(scene.things[::-1], scene.background, scene.seed)).masks
    assert (hidden[1] & overlap).sum() == overlap.sum(), "the box, drawn last, covers the cup"


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_thing_has_its_colour_in_any_light(colour, channel):
    for seed in range(3):
        picture = render(Scene((Thing("cup", colour, 0.5, 0.85, 0.5),), "studio", seed))
        mean = picture.pixels[picture.masks[0]].mean(0)
        assert mean.argmax() == channel
        assert mean[channel] > 1.5 * np.delete(mean, channel).max()


def test_a_thing_throws_a_soft_shadow_on_the_ground_only():
    bare = render(Scene((), "studio", 4)).pixels.astype(int)
    picture = render(Scene((Thing("cup", "red", 0.5, 0.8, 0.4),), "studio", 4))
    change = (picture.pixels.astype(int) - bare).mean(-1)
    around = np.ones((SIDE, SIDE), bool)
    around[1:-1, 1:-1] = ~np.any(
        [np.roll(picture.masks[0], (y, x), (0, 1))[1:-1, 1:-1] for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0
    )
    assert change[around].min() < -30
    assert change[around].max() <= 2
    levels = np.unique(change[around & (change < -3)].round())
    assert len(levels) > 15, "the shadow fades out"
    rows = np.nonzero((change < -5) & around)[0]
    assert rows.min() > 0.5 * SIDE - 2, "nothing falls on the wall"


def test_a_seed_gives_one_picture_and_others_another():
    first, again, other = (next(make_tests("noun", 1, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    np.testing.assert_array_equal(render(first.scene).pixels, render(again.scene).pixels)
    assert len({test.scene for test in make_tests("colour", 10, 0)}) == 10


@pytest.mark.parametrize("maker", sorted(MAKERS))
def test_everything_that_is_asked_for_can_be_seen(maker):
    for test in make_tests(maker, 3, 0):
        masks = drawn(test.scene).masks
        for ask in test.asks:
            for number in (*ask.meant, *ask.others):
                assert masks[number].mean() > 0.008
                rows, columns = np.nonzero(masks[number])
                assert min(rows.min(), columns.min()) >= 0
                assert max(rows.max(), columns.max()) < SIDE
    assert {thing.colour for thing in test.scene.things} <= set(COLOURS)


@pytest.mark.parametrize("maker", PAIRS)
def test_every_phrase_of_a_pair_has_its_counterpart(maker):
    for test in make_tests(maker, 30, 0):
        first, second = test.asks
        assert (first.meant, first.others) == (second.others, second.meant)
        assert len(first.meant) == 1
        for ask in test.asks:
            meant, other = test.scene.things[ask.meant[0]], test.scene.things[ask.others[0]]
            assert meant.kind in ask.text
            if maker == "noun":
                assert other.kind != meant.kind
                continue
            assert other.kind == meant.kind
            if maker == "colour":
                assert meant.colour in ask.text
                assert meant.colour != other.colour
                continue
            assert meant.colour == other.colour
            if maker == "left or right":
                assert ("left" in ask.text) == (meant.x < other.x)
            else:
                assert ("on the box" in ask.text) == (meant.on is not None)
                assert ("beside" in ask.text) == (meant.on is None)


def test_what_stands_on_the_box_touches_it_and_is_over_it():
    for test in make_tests("on or beside", 4, 1):
        on = next(n for n, thing in enumerate(test.scene.things) if thing.on is not None)
        box = test.scene.things[on].on
        assert test.scene.things[box].kind == "box"
        masks = render(test.scene).masks
        low = np.nonzero(masks[on])[0].max()
        rows, columns = np.nonzero(masks[box])
        assert np.nonzero(masks[on])[0].mean() < rows.mean()
        below = masks[box][min(low + 2, SIDE - 1)]
        assert below.any(), "the box begins where the thing ends"
        assert columns.min() <= np.nonzero(masks[on])[1].mean() <= columns.max()


def test_the_number_asked_for_is_the_number_there_is():
    for test in make_tests("count", 20, 0):
        many, one = test.asks
        assert len(test.scene.things) == {"two": 2, "three": 3}[many.text.split()[0]]
        assert many.meant == one.meant == tuple(range(len(test.scene.things)))
        assert len({(thing.kind, thing.colour) for thing in test.scene.things}) == 1
        assert one.text.startswith("one ")


class Planted:
    """Answers with a map made of the scene's masks: `answer(masks, ask)`."""

    def __init__(self, tests, answer):
        self._tests, self._answer = tests, answer

    def encode(self, photo):
        test = self._tests[int(photo.name.split()[-1])]
        return test, drawn(test.scene).masks

    def explain(self, image, text):
        test, masks = image
        ask = next(ask for ask in test.asks if ask.text == text)
        return SimpleNamespace(heatmap=lambda span: self._answer(masks, ask).astype(np.float32))


@pytest.fixture(autouse=True, scope="module")
def drawn_once():
    """The same scenes are measured again and again: each is drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "render", drawn)
        yield


drawn = lru_cache(maxsize=64)(render)


def figures(maker, answer, count=3):
    tests = list(make_tests(maker, count, 0))
    return {f.name: f for f in measure_tests(Planted(tests, answer), maker, tests)}


@pytest.mark.parametrize("maker", PAIRS)
def test_a_map_that_knows_is_always_right(maker):
    found = figures(maker, lambda masks, ask: masks[ask.meant[0]])
    assert found[f"{maker}: points into the one meant"].value == 100
    assert found[f"{maker}: the one meant, of the two"].value == 100
    assert found[f"{maker}: its share of the mass on both"].value == 100
    assert found[f"{maker}: points into the one meant"].low < 70, "three scenes prove little"


def test_a_map_of_the_other_thing_is_always_wrong():
    found = figures("colour", lambda masks, ask: masks[ask.others[0]])
    assert [found[f"colour: {name}"].value for name in ("points into the one meant", "the one meant, of the two")] == [
        0,
        0,
    ]


def test_a_map_that_does_not_read_the_word_is_right_in_half():
    found = figures("left or right", lambda masks, ask: masks[min(ask.meant + ask.others)])
    assert found["left or right: the one meant, of the two"].value == 50
    assert found["left or right: the one meant, of the two"].chance == 50


def test_an_even_map_points_as_often_as_chance():
    found = figures("noun", lambda masks, ask: np.ones(masks.shape[1:]))
    figure = found["noun: points into the one meant"]
    assert figure.value == pytest.approx(figure.chance)
    assert found["noun: the one meant, of the two"].value == pytest.approx(50)


def test_covering_one_of_several_is_not_covering_all():
    every = figures("count", lambda masks, ask: masks.any(0))
    single = figures("count", lambda masks, ask: masks[0])
    assert {f.value for name, f in every.items() if name.endswith("covered")} == {100}
    assert {f.value for f in single.values()} == {0}
    weak = figures("count", lambda masks, ask: masks[0] + 0.4 * masks.any(0))
    assert {f.value for name, f in weak.items() if name.endswith("covered")} == {0}
