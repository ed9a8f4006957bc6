"""Where a map lies, in words: of maps whose place is known, and what is said where none should be named."""

import dataclasses

import factories
import numpy as np
import pytest

from crossviz.errors import RenderError, SelectionError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.render.contour import HalfMass
from crossviz.render.places import EVERYWHERE, SEVERAL, places
from crossviz.render.sentences import map_sentence, percent
from crossviz.render.told import alternative

WHOLE = ImageView.squash((90, 90), (64, 64))


def blobs(*spots, size=(12, 12)):
    """Square spots on nothing: (row, column, half a side, weight of each patch)."""
    values = np.full(size, 1e-6)
    for row, column, reach, weight in spots:
        values[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = weight
    return values


@pytest.mark.parametrize(
    ("row", "column", "name"),
    [
        (1, 1, "the upper left"),
        (1, 6, "the upper middle"),
        (1, 10, "the upper right"),
        (6, 1, "the left"),
        (6, 6, "the middle"),
        (6, 10, "the right"),
        (10, 1, "the lower left"),
        (10, 6, "the lower middle"),
        (10, 10, "the lower right"),
    ],
)
def test_nine_places(row, column, name):
    assert places(blobs((row, column, 1, 1.0)), WHOLE) == (name,)


def band(rows=slice(None), columns=slice(None)):
    values = np.full((12, 12), 1e-6)
    values[rows, columns] = 1.0
    return values


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (band(rows=slice(0, 3)), "the upper part"),
        (band(rows=slice(5, 7)), "the middle from side to side"),
        (band(rows=slice(10, 12)), "the lower part"),
        (band(columns=slice(0, 2)), "the left side"),
        (band(columns=slice(5, 7)), "the middle from top to bottom"),
        (band(columns=slice(9, 12)), "the right side"),
        (band(), EVERYWHERE),
    ],
)
def test_parts_that_reach_across(values, name):
    assert places(values, WHOLE, share=0.9) == (name,)


def test_two_places_only_where_both_hold_enough():
    one, two = (1, 1, 1, 1.0), (10, 10, 1, 1.0)
    assert places(blobs(one, two), WHOLE, share=0.9) == ("the upper left", "the lower right")
    assert places(blobs(one, (10, 10, 0, 1.0)), WHOLE, share=0.95) == ("the upper left",), "the other has a tenth"
    three = blobs(one, two, (1, 10, 1, 1.0))
    assert places(three, WHOLE, share=0.9) == (SEVERAL,)
    assert places(blobs((1, 1, 0, 1.0), (1, 3, 0, 1.0), (3, 1, 0, 1.0)), WHOLE, share=0.9) == ("the upper left",)


def test_the_places_are_the_photos_not_the_crops():
    wide = ImageView.shortest((300, 100), (64, 64))  # the model saw the middle third
    assert places(blobs((1, 1, 1, 1.0)), wide) == ("the upper middle",)
    tall = ImageView.longest((100, 300), (96, 96))  # padded left and right: the photo is the middle third
    assert places(blobs((6, 4, 0, 1.0)), tall) == ("the left",)
    assert places(blobs((6, 1, 0, 1.0)), tall) == ("the left",), "in the padding beside it"


def test_no_mass_has_no_place():
    assert places(np.zeros((3, 4)), WHOLE) == ()
    assert places(-np.ones((3, 4)), WHOLE) == ()


HALF = HalfMass(level=0.1, area=0.09, mass=0.5)
REST = "50 % of its attention in 9 % of the picture."


@pytest.mark.parametrize(
    ("where", "null", "said"),
    [
        (["the right"], 0.08, "looks mostly at the right, 46 % of its attention in 9 % of the picture."),
        (["the left", "the right"], None, f"looks at two places, the left and the right, {REST}"),
        ([SEVERAL], None, f"looks at several places, {REST}"),
        ([EVERYWHERE], None, f"looks all over the picture, {REST}"),
        (["the left"], 0.95, "looked, and found nothing here (null 95 %)."),
        (["the left"], 0.6, f"looks mostly at the left, 2{REST[1:-1]}, and may not be here at all (null 60 %)."),
        ([], None, "looks nowhere in particular."),
        ([], 0.6, "looks nowhere in particular, and may not be here at all (null 60 %)."),
    ],
)
def test_sentences_of_where_a_word_looks(where, null, said):
    assert plain(map_sentence("dog", tuple(where), HALF, null, shown=True)) == f"‘dog’ {said}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shown": False}, "‘dog’ looks nowhere in particular."),
        ({"probability": False}, "The map of ‘dog’ lies mostly at the left, 50 % of it in 9 % of the picture."),
        (
            {"reads": False},
            "The map, the same for every word, lies mostly at the left, 50 % of it in 9 % of the picture.",
        ),
        ({"looked": True}, f"‘dog’ is looked at mostly from the left, {REST.replace('its', 'this')}"),
        ({"looked": True, "shown": False}, "‘dog’ is looked at from nowhere in particular."),
    ],
)
def test_sentences_of_other_maps(options, said):
    assert plain(map_sentence("dog", ("the left",), HALF, None, **{"shown": True, **options})) == said


def plain(text):
    return text.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (0.0004, "<0.1 %"), (0.0025, "0.3 %"), (0.07, "7 %"), (0.125, "13 %"), (0.994, ">99 %"), (1, "100 %")],
)
def test_a_little_is_never_nothing(share, said):
    assert percent(share).replace("<\u202f", "<").replace(">\u202f", ">").replace("\u202f", " ") == said


def test_an_explanation_says_where_a_word_looks():
    ex = factories.explanation("a dog and a zebra", grid=PatchGrid(6, 6), peaks=[(0, 5), (0, 5), None, None, (3, 3)],
                               null=[0.1, 0.2, 0.1, 0.1, 0.9])  # fmt: skip
    assert ex.sentence("dog").startswith("‘dog’ looks mostly at the upper right, ")
    assert ex.sentence("zebra") == f"‘zebra’ looked, and found nothing here (null {percent(ex.null_mass('zebra'))})."
    assert ex.sentence("and") == "‘and’ looks nowhere in particular."
    assert ex.sentence("a dog").startswith("‘a dog’ looks mostly at the upper right, ")
    assert ex.sentence(word=1, layer=0, head=1, share=0.8).startswith("‘dog’ looks ")
    with pytest.raises(SelectionError):
        ex.sentence("cat")
    with pytest.raises(RenderError, match="share of the map's mass"):
        ex.sentence("dog", share=2)


def test_the_text_of_a_picture_tells_what_was_found():
    ex = factories.explanation("a dog\nand a zebra", grid=PatchGrid(6, 6), peaks=[(0, 5), (0, 5), None, None, (3, 3)],
                               null=[0.1, 0.2, 0.1, 0.9, 0.9])  # fmt: skip
    assert alternative(ex) == f"Where each word looks: a dog and a zebra. {ex.sentence('a dog')}"
    many = factories.explanation(" ".join(f"w{i}" for i in range(40)))
    assert alternative(many).count(" looks ") <= 7
    signed = factories.as_shares(ex, ex.map.per_head.double(), similarity=0.1)
    assert "The map of ‘a dog’ lies" in alternative(signed)


def test_a_photo_attention_that_goes_to_the_words_is_told_so():
    ex = factories.explanation("a dog", grid=PatchGrid(6, 6), peaks=[None, (5, 0)])
    chart = dataclasses.replace(ex.map, direction="query: image, key: text")
    turned = dataclasses.replace(ex, maps={ex.method: chart})
    assert turned.sentence("dog").startswith("‘dog’ is looked at mostly from the lower left, ")
