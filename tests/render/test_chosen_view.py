"""Figures, animations and files that follow a view: its words, layer, heads, scale, colours and line."""

import io

import factories
import numpy as np
import pytest
from PIL import Image

from crossviz.errors import CrossvizError, RenderError, SelectionError
from crossviz.explanation import SUFFIXES, load, load_with_settings
from crossviz.render.animation import frames
from crossviz.render.overlay import draw_overlay
from crossviz.render.scale import map_scale, shared_scale, word_scale
from crossviz.view_settings import ViewSettings

PINS = (("layer 1", 2), ("layer 0", 1))
LOADABLE = [suffix for suffix in SUFFIXES if suffix not in (".pdf", ".csv")]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def pictures(figure):
    """The photo's panel and those of the words, as they are drawn."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


@pytest.mark.parametrize("signed", [False, True], ids=["mean", "sum"])
def test_pinned_heads_are_their_mean(signed):
    ex = factories.signed_explanation() if signed else factories.explanation()
    chart = ex.map
    names = [(chart.layers[1], 2), (0, 1)]
    wanted = (chart.per_head[1, 2, 1] + chart.per_head[0, 1, 1]) / 2
    np.testing.assert_allclose(ex.patch_map(word=1, head=names), wanted.numpy(), rtol=1e-6)
    if not signed:
        null = (chart.null_mass[1, 2, 1] + chart.null_mass[0, 1, 1]) / 2
        assert ex.null_mass(word=1, head=names) == pytest.approx(float(null), rel=1e-6)
    assert ex.overlay(word=1, head=names).tobytes() != ex.overlay(word=1).tobytes()


@pytest.mark.parametrize("head", [[], [3], [(0,)], [(0, 1, 2)], [(9, 0)], [(0, 9)], [("layer 7", 0)], ["ab"]], ids=str)
def test_heads_that_are_not_there_can_not_be_pinned(head):
    with pytest.raises(SelectionError):
        factories.explanation().patch_map(word=1, head=head)


def test_a_layer_beside_pinned_heads_is_refused():
    with pytest.raises(SelectionError, match="`layer` left out"):
        factories.explanation().patch_map(word=1, layer=0, head=PINS)


@pytest.mark.parametrize(
    ("layer", "head", "kind"),
    [
        (None, None, None),
        (0, 1, "single heads"),
        (None, ((0, 1), (1, 2)), "single heads"),
        (1, None, "single layers"),
        (None, 2, "heads"),
    ],
    ids=str,
)
def test_parts_of_a_sum_share_a_scale_of_their_own(layer, head, kind):
    ex = factories.signed_explanation()
    per_head = ex.map.per_head.numpy()
    parts = {None: ex.map.values.numpy(), "single heads": per_head, "single layers": per_head.sum(1)}
    scale = map_scale(ex.map, layer, head)
    assert scale == shared_scale(parts.get(kind, per_head.sum(0)), ex.unit, signed=True)
    assert (f"all words and {kind}" in ex.figure_caption(layer=layer, head=head)) == (kind is not None)
    mean = factories.explanation()
    assert map_scale(mean.map, layer, head) == mean.scale


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_a_figure_draws_as_the_view_does(own):
    ex = factories.explanation("a dog and a zebra", size_wh=(90, 60))
    settings = ViewSettings(
        held=((12, 17), (2, 5)), head=PINS, smooth=False, own=own, opacity=0.4, cmap="magma", contour=0
    )
    figure = ex.figure(settings.words, **settings.drawing())
    _, *drawn = pictures(figure)[:3]
    for word, picture in zip((4, 1), drawn, strict=True):
        values = ex.patch_map(word=word, head=PINS)
        size = picture.shape[1::-1]
        small = ex.photo.image().convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        scale = word_scale(values, ex.scale) if own else ex.scale
        wanted = draw_overlay(small, values, ex.view, scale, smooth=False, opacity=0.4, cmap="magma", contour=False)
        np.testing.assert_array_equal(picture, np.asarray(wanted))
    said = texts(figure)
    assert [text for text in said if text in ("a", "dog", "and", "zebra")] == ["zebra", "dog"]
    line = " ".join(said)
    assert "mean over 2 heads: layer 1 head 2, layer 0 head 1" in line
    assert ("each word scaled to itself" in line) == own
    assert "encloses" not in line
    assert all(not axes.patches for axes in figure.axes)


@pytest.mark.parametrize("words", [[1], [1, 4]], ids=["one", "two"])
def test_what_stands_beside_the_bar_fits_on_the_figure(words):
    figure = factories.explanation().figure(words, scale="word")
    width = figure.get_window_extent().width
    assert all(text.get_window_extent().x1 <= width for text in figure.texts)


def test_the_line_under_a_figure_says_what_was_drawn():
    ex = factories.explanation("a dog and a zebra")
    one = " ".join(texts(ex.figure(["zebra"], layer=1, head=0, scale="word", contour=0.8)))
    assert "layer 1, head 0; scaled to this word alone, 1 to" in one
    assert "The line encloses 80% of a map's mass." in one
    assert "The line encloses half of a map's mass." in texts(ex.figure(["zebra"]))
    assert "The line encloses half of what speaks for the word." in texts(factories.signed_explanation().figure([1]))
    many = [(layer, head) for layer in range(3) for head in range(4)]
    line = factories.explanation(layers=3, heads=4).figure_caption(head=many)
    assert "mean over 12 heads: layer 0 head 0, " in line and "layer 1 head 3 and 4 more;" in line


@pytest.mark.parametrize(
    "how", [{"scale": "own"}, {"cmap": "RdBu_r"}, {"opacity": 2}, {"layer": 9}, {"head": -9}], ids=str
)
def test_a_figure_that_can_not_be(how):
    with pytest.raises((RenderError, SelectionError)):
        factories.explanation().figure([1], **how)


# Animations


def test_an_animation_goes_through_the_parts_of_what_is_chosen():
    ex = factories.explanation(layers=3, heads=2)

    def labels(layer=None, head=None):
        shown = frames(ex, [1], layer, head)
        np.testing.assert_array_equal(shown[0].values, ex.patch_map(word=1, layer=layer, head=head))
        return [frame.label.removeprefix("“dog”, ") for frame in shown], [frame.values for frame in shown[1:]]

    said, parts = labels(layer=1)
    assert said == ["layer 1: mean over 2 heads", "layer 1: head 0 of 0 to 1", "layer 1: head 1 of 0 to 1"]
    np.testing.assert_array_equal(parts[1], ex.patch_map(word=1, layer=1, head=1))
    said, parts = labels(head=1)
    assert said[0] == "mean over 3 layers, head 1" and said[3] == "layer 2, head 1 (3 of 3)"
    np.testing.assert_array_equal(parts[2], ex.patch_map(word=1, layer=2, head=1))
    assert labels(layer=2, head=0)[0] == ["layer 2, head 0"]
    assert [frame.label for frame in frames(ex, [1, 4], layer=2)] == [
        "“dog”, layer 2, mean over 2 heads",
        "“zebra”, layer 2, mean over 2 heads",
    ]


def test_pins_are_shown_one_by_one():
    shown = frames(factories.explanation(), [1], head=PINS)
    assert [frame.label for frame in shown] == [
        "“dog”, mean over 2 heads: layer 1 head 2, layer 0 head 1",
        "“dog”, layer 1, head 2",
        "“dog”, layer 0, head 1",
    ]


def test_an_animation_is_drawn_as_the_view_is():
    ex = factories.explanation(size_wh=(120, 80))
    plain, other = (
        ex.to_bytes(".gif", settings=settings)
        for settings in (ViewSettings(shown=(2, 5)), ViewSettings(shown=(2, 5), smooth=False, cmap="magma"))
    )
    assert Image.open(io.BytesIO(plain)).n_frames == Image.open(io.BytesIO(other)).n_frames == 3
    first, second = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in (plain, other))
    assert (np.abs(first - second).max(-1) > 30).mean() > 0.02


# Files


@pytest.mark.parametrize("suffix", LOADABLE)
def test_a_file_keeps_the_settings_it_was_saved_with(suffix, tmp_path):
    ex = factories.explanation()
    settings = ViewSettings(shown=(2, 5), held=((2, 5), (12, 17)), layer="layer 1", own=True, contour=0.8)
    path = tmp_path / f"a{suffix}"
    ex.save(path, settings=settings)
    assert load_with_settings(path) == (ex, settings)
    assert load(path) == ex
    ex.save(path)
    assert load_with_settings(path) == (ex, None)


@pytest.mark.parametrize("kept", ["smooth", {"smooth": 3}, {"later": 1}, None], ids=str)
def test_settings_that_this_version_does_not_know_are_passed_over(kept, tmp_path, monkeypatch):
    ex = factories.explanation()
    monkeypatch.setattr(ViewSettings, "as_dict", lambda self: kept)
    ex.save(tmp_path / "a.npz", settings=ViewSettings())
    assert load_with_settings(tmp_path / "a.npz") == (ex, None)


def test_the_settings_choose_the_words_unless_words_are_given():
    ex = factories.explanation("a dog and a zebra")
    dog = ViewSettings(shown=(2, 5))
    rows = ex.to_bytes(".csv", settings=dog).decode().splitlines()
    assert {row.split(",")[0] for row in rows if not row.startswith("#")} == {'"text"', '"dog"'}
    assert b">zebra</text>" in ex.to_bytes(".svg", settings=ViewSettings())  # nothing shown: every word
    svg = ex.to_bytes(".svg", settings=dog)
    assert b">dog</text>" in svg and b">zebra</text>" not in svg
    assert b">zebra</text>" in ex.to_bytes(".svg", settings=dog, words=["zebra"])
    with pytest.raises(CrossvizError):
        ex.to_bytes(".png", settings=ViewSettings(layer="no such layer"))
