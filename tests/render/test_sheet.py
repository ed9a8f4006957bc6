"""The sheet of words and heads: every cell to the bit what `overlay` draws of it, each in its row and column."""

import dataclasses

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossviz.errors import RenderError, SelectionError
from crossviz.geometry import ImageView
from crossviz.render import cells as cells_module
from crossviz.render import colour
from crossviz.render.cells import Cells
from crossviz.render.lettering import EDGE, lettered
from crossviz.render.overlay import draw_overlay, mark_unseen
from crossviz.render.scale import shared_scale, word_scale
from crossviz.render.sheet_layout import HEAD, LABEL, MARGIN, cell_side, lay_out

SIZE = (90, 60)
WORDS = "dog cat zebra"


def rgb(packed):
    """Packed pixels as bytes: uint8 `... 3`."""
    return packed.view(np.uint8).reshape(*packed.shape, 4)[..., :3]


def where(sheet, cell):
    """Where a cell stands on a sheet: (left, top) of every place."""
    sheet, cell = np.asarray(sheet), np.asarray(cell)
    high, wide = cell.shape[:2]
    corner = (sheet[: 1 - high, : 1 - wide] == cell[0, 0]).all(-1)
    return [(x, y) for y, x in np.argwhere(corner) if (sheet[y : y + high, x : x + wide] == cell).all()]


def places(ex, sheet, words, heads, width, **how):
    """(left, top) `word head` of the cells that `overlay` draws; each is on the sheet once."""
    found = [
        [where(sheet, ex.overlay(word, layer=at, head=one, width=width, contour=False, **how)) for at, one in heads]
        for word in words
    ]
    assert all(len(place) == 1 for row in found for place in row)
    return np.array(found)[:, :, 0]


def in_rows_and_columns(at):
    """Whether places `word head` are those of a table, words down and heads across."""
    return (np.diff(at[..., 1], axis=1) == 0).all() and (np.diff(at[..., 0], axis=0) == 0).all()


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "how",
    [{}, {"smooth": False}, {"contour": True}, {"contour": 0.8, "smooth": False}, {"trained": False, "opacity": 0.4}],
    ids=str,
)
def test_cells_are_to_the_bit_what_is_drawn_one_by_one(mode, signed, how, monkeypatch):
    monkeypatch.setattr(cells_module, "_BAND", 2 * 70 * 47)  # two at once, and one alone
    view = getattr(ImageView, mode)(SIZE, (64, 96))
    rng = np.random.default_rng(3)
    maps = rng.normal(0, 1, (3, 4, 6)) if signed else rng.gamma(0.5, 0.08, (3, 4, 6))
    scale = shared_scale(maps[:2], "share" if signed else "probability", signed=signed)
    photo, how = factories.photo(*SIZE).image(), {"contour": False, **how}
    drawn = rgb(Cells(photo, view, (70, 47), signed=signed, **how).draw(maps, scale))
    for values, cell in zip(maps, drawn, strict=True):
        one = draw_overlay(photo, values, view, scale, size_wh=(70, 47), **how)
        np.testing.assert_array_equal(cell, np.asarray(one))


def test_every_cell_is_the_overlay_of_its_word_and_head():
    ex = factories.explanation(WORDS, size_wh=SIZE)
    sheet = ex.sheet(cell=60)
    at = places(ex, sheet, WORDS.split(), [(layer, head) for layer in range(2) for head in range(3)], 73)
    assert sheet.mode == "RGB" and in_rows_and_columns(at)
    assert (np.diff(at[:, 0, 1]) > 49).all() and (np.diff(at[0, :, 0]) > 73).all()


def test_parts_of_a_sum_share_the_scale_that_overlay_gives_them():
    ex = factories.signed_explanation()
    assert in_rows_and_columns(places(ex, ex.sheet(words=[1, 2]), [ex.words[1].text, ex.words[2].text], [(1, 2)], 196))


def test_words_layers_and_heads_are_chosen():
    ex = factories.explanation(WORDS, size_wh=SIZE)
    plain = {"cell": 60, "opacity": 0.5, "cmap": "magma"}
    how = {key: value for key, value in plain.items() if key != "cell"}
    layer = ex.sheet("zebra", layer="layer 1", **plain)
    places(ex, layer, ["zebra"], [(1, 0), (1, 1), (1, 2)], 73, **how)
    assert not where(layer, ex.overlay("dog", layer=1, head=0, width=73, contour=False, **how))
    assert not where(layer, ex.overlay("zebra", layer=0, head=0, width=73, contour=False, **how))
    places(ex, ex.sheet([(0, 7)], head=-1, **plain), ["dog cat"], [(0, 2), (1, 2)], 73, **how)
    sheet = ex.sheet([2, 0], head=[("layer 1", 2), (0, 1)], **plain)
    pins = places(ex, sheet, ["zebra", "dog"], [(1, 2), (0, 1)], 73, **how)
    assert in_rows_and_columns(pins) and pins[0, 0, 1] < pins[1, 0, 1] and pins[0, 0, 0] < pins[0, 1, 0]


def test_a_word_has_a_scale_of_its_own_only_if_asked():
    ex = factories.explanation(WORDS, size_wh=SIZE, null=[0.0, 0.4, 0.6])
    sheet = ex.sheet(scale="word", cell=60)
    for word in range(3):
        maps = ex.map.per_head[:, :, word].numpy()
        scale = word_scale(maps, ex.scale)
        cell = draw_overlay(ex.photo.image(), maps[1, 0], ex.view, scale, contour=False, size_wh=(73, 49))
        assert len(where(sheet, cell)) == 1
    assert sheet.tobytes() != ex.sheet(cell=60).tobytes()


def test_absent_and_unread_words_are_the_photo_alone():
    ex = factories.explanation(WORDS, size_wh=SIZE, peaks=[(0, 0), None, (1, 1)], null=[0.1, 0.97, 0.1], read=2)
    small = ex.photo.image().resize((73, 49), 1, reducing_gap=3.0)
    at = where(ex.sheet(cell=60), mark_unseen(small, ex.view, dim=True))
    assert len(at) == 12 and len({y for _, y in at}) == 2  # six heads of "cat" and of "zebra"


def test_untrained_weights_mark_every_cell():
    trained, untrained = (factories.explanation(WORDS, size_wh=SIZE, trained=value) for value in (True, False))
    places(untrained, untrained.sheet(cell=60), WORDS.split(), [(0, 0), (1, 2)], 73)
    assert not where(untrained.sheet(cell=60), trained.overlay("dog", layer=0, head=0, width=73, contour=False))


def test_what_cannot_be_drawn_is_one_sentence():
    ex = factories.explanation(WORDS)
    bare = dataclasses.replace(ex.map, per_head=None, null_mass=None, layers=())
    with pytest.raises(SelectionError, match="not made of single layers and heads"):
        dataclasses.replace(ex, maps={"cross_attention": bare}).sheet()
    with pytest.raises(RenderError, match="at least one"):
        ex.sheet([])
    with pytest.raises(RenderError, match="choose fewer"):
        factories.explanation(" ".join(["dog"] * 9)).sheet(cell=2048)
    for wrong in ({"cell": 5}, {"cell": 50.0}, {"cmap": "jet"}, {"scale": "own"}, {"contour": 2}, {"opacity": 3}):
        with pytest.raises(RenderError, match=next(iter(wrong))):
            ex.sheet(**wrong)
    for wrong in ({"layer": "layer 9"}, {"head": 3}, {"layer": 0, "head": [(0, 1)]}, {"words": "horse"}):
        with pytest.raises(SelectionError):
            ex.sheet(**wrong)


def test_heads_one_by_one_are_those_that_select_gives():
    ex = factories.explanation(WORDS, null=[0.0, 0.4, 0.6])
    heads = [(1, 2), (0, 0), (1, 0)]
    for words in ([1], [0, 2]):
        maps, null = ex.map.select_each(words, heads)
        for (layer, head), values, lost in zip(heads, maps, null, strict=True):
            np.testing.assert_allclose(values, ex.map.select(words, layer, head), rtol=1e-6)
            assert lost.item() == pytest.approx(ex.map.select_null(words, layer, head), rel=1e-6)


@settings(max_examples=40)
@given(
    layers=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    rows=st.integers(1, 12),
    photo=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    cell=st.integers(24, 160),
    note=st.sampled_from([0, 16]),
)
def test_cells_lie_apart_within_the_sheet(layers, rows, photo, cell, note):
    made = lay_out(layers, rows, photo, cell, note=note, top=lambda width: 130, foot=60)
    (width, height), (wide, high) = made.size_wh, made.cell_wh
    assert len(made.columns) == len(layers) and made.bands[0] == MARGIN + 130
    assert [column for first, last in made.starts for column in range(first, last + 1)] == list(range(len(layers)))
    for column, (left, band) in enumerate(made.columns):
        assert left >= MARGIN + LABEL and left + wide <= width - MARGIN
        before = made.columns[column - 1] if column else (0, -1)
        assert (left >= before[0] + wide) if band == before[1] else band == before[1] + 1
    assert all(len({layers[c] for c in range(first, last + 1)}) == 1 for first, last in made.starts)
    assert made.row_h >= high + note
    ends = [made.top(band, rows - 1) + high + note for band in range(len(made.bands))]
    assert all(end <= top for end, top in zip(ends, (*made.bands[1:], height - MARGIN - 60), strict=True))
    assert all(made.top(band, 0) == top + HEAD for band, top in enumerate(made.bands))


def test_cells_shrink_where_there_are_many():
    sides = [cell_side(None, count) for count in (1, 60, 61, 1200, 5000, 10**6)]
    assert sides == sorted(sides, reverse=True) and sides[2:4] == [112, 112] and sides[-1] == 24
    assert cell_side(300, 10**6) == 300


def test_text_on_a_sheet_is_never_parsed_and_always_drawn():
    for text in ("dog", "$x^2$", "狗", "a\nb", "\\frac{1}{2}"):
        pixels, base = lettered(text, 8.0, colour.INK)
        ink = (rgb(pixels) < 128).all(-1)
        assert ink.any() and not ink[0].any() and not ink[:, 0].any() and 0 < base < len(ink)
    plain, parsed = (lettered(text, 8.0, colour.INK)[0].shape[1] - 2 * EDGE for text in ("x^2", "$x^2$"))
    assert parsed > plain, "the dollar signs stand there"
