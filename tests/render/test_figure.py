"""Figures: what they say, that user text is never parsed, that bytes repeat, and any caption, any shape."""

import dataclasses
import hashlib
import io
import itertools
import logging
import os
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import factories
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossviz.errors import RenderError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.render import panels
from crossviz.render import text as text_module
from crossviz.render.drawing import colour_bar
from crossviz.render.figure import figure_bytes
from crossviz.render.room import MOST_CAPTION_LINES, MOST_PANELS, room_for
from crossviz.render.scale import Scale
from crossviz.render.text import clean, fit, text_width, wrap
from crossviz.results import Guess

SVG = "{http://www.w3.org/2000/svg}"
HARD = [
    "$x_1$ costs $5 and \\frac{a}{b} % # ^ ~ & {",
    "<b>bold</b> &amp; <script>alert(1)</script> ]]> -->",
    "黒い犬が赤いフリスビーを捕まえる",
    "كلب أسود يمسك بقرص أحمر",
    "a 🐶 catches 👩‍👩‍👧 a 🥏",
    "นก ไทย हिन्दी 한국어",
    "a" * 300,
    "tab\tand\nnewline\x00 \x1b[31m bell\x07 \ufffe end",
]


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def svg_texts(data):
    return ["".join(node.itertext()) for node in ET.fromstring(data).iter(f"{SVG}text")]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_figure_names_every_word_its_null_mass_the_scale_and_how_it_was_made():
    ex = factories.explanation("a dog and a zebra", null=[0.1, 0.2, 0.3, 0.1, 0.97], layers=2, heads=3)
    said = texts(ex.figure())
    assert said.count("a dog and a zebra") == 1 and said.count("a") == 2
    for word in ("dog", "and", "zebra", "photo"):
        assert word in said
    nulls = [ex.null_mass(word=i) for i in range(5)]
    assert nulls[4] > 0.9
    for null in nulls[:4]:
        assert f"null {null:.0%}" in said
    assert f"not in the picture (null {nulls[4]:.0%})" in said
    assert sum("not in the picture" in text for text in said) == 1
    whole = " | ".join(said)
    for part in ("× chance", "1×", "synthetic", "Cross attention", "query: text, key: image", "similarity 0.250"):
        assert part in whole
    assert "mean over 2 layers and 3 heads" in whole and "one absolute scale for all words" in whole
    assert "UNTRAINED" not in whole


def test_one_colour_bar_serves_all_panels_and_ends_at_the_scales_maximum():
    ex = factories.explanation()
    figure = ex.figure()
    assert len(figure.axes) == 1 + len(ex.words) + 1
    assert f"{ex.scale.vmax:.3g}×" in texts(figure)


def test_signed_maps_say_their_unit_and_have_zero_in_the_middle():
    said = " | ".join(texts(factories.signed_explanation().figure()))
    assert "similarity share" in said and "chance" not in said and "| 0 |" in said
    assert "\u2212" in said and "sum over 2 layers and 3 heads" in said
    assert "null" not in said, "this method has no null key"


def test_words_that_were_cut_off_say_so():
    ex = factories.explanation("one two three four", read=2)
    said = texts(ex.figure())
    assert said.count("cut off, not read") == 2 and "four" in said


def test_chosen_words_phrases_and_spans_get_a_panel_each():
    ex = factories.explanation("a dog and a zebra")
    figure = ex.figure(["dog and", (10, 17), 0, -1])
    said = texts(figure)
    assert "dog and" in said and said.count("a zebra") == 1 and "zebra" in said
    assert len(figure.axes) == 6
    assert len(ex.figure("dog").axes) == 3


def test_untrained_weights_are_marked_on_every_map_and_in_words():
    ex = factories.explanation(trained=False)
    figure = ex.figure()
    assert any("UNTRAINED WEIGHTS" in text for text in texts(figure))
    marked, plain = (pixels(e.to_bytes(".png")) for e in (ex, factories.explanation()))
    yellow = lambda image: ((image[..., 0] > 190) & (image[..., 1] > 150) & (image[..., 2] < 90)).sum()  # noqa: E731
    assert yellow(marked) > 5 * yellow(plain)


@pytest.mark.parametrize("text", HARD)
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_hard_captions_are_drawn_without_a_warning_and_never_parsed(text, kind, caplog):
    ex = factories.explanation(text)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        data = figure_bytes(ex.figure(), kind, dpi=50)
    assert not caplog.records
    if kind == "svg":
        said = svg_texts(data)
        assert clean(text).split()[0][:20] in " ".join(said)
        assert b"<script" not in data.replace(b"&lt;script", b"")


def test_text_stays_text_in_svg_and_pdf():
    ex = factories.explanation("a dog and a zebra")
    svg = figure_bytes(ex.figure(), "svg")
    said = svg_texts(svg)
    assert "a dog and a zebra" in said and "zebra" in said
    assert b"Last Resort" not in figure_bytes(factories.explanation("黒い犬").figure(), "svg")
    pdf = figure_bytes(ex.figure(), "pdf")
    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf, "fonts are embedded as TrueType (42)"


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_explanation_gives_the_same_bytes_and_no_date(kind):
    one, other = (figure_bytes(factories.explanation().figure(), kind) for _ in range(2))
    assert one == other
    assert not re.search(rb"CreationDate|<dc:date>|20\d\d-\d\d-\d\d", one)


def test_another_process_writes_the_same_bytes():
    code = (
        "import sys, hashlib, factories\n"
        "ex = factories.explanation()\n"
        "print(*(hashlib.sha256(ex.to_bytes(s)).hexdigest() for s in ('.png', '.svg', '.npz', '.html')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    ex = factories.explanation()
    assert ran.stdout.split() == [hashlib.sha256(ex.to_bytes(s)).hexdigest() for s in (".png", ".svg", ".npz", ".html")]


def _environment():
    tests = Path(factories.__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "PYTHONHASHSEED": "7"}


@pytest.mark.parametrize("size_wh", [(640, 400), (60, 300), (900, 60), (64, 1), (1, 64), (1, 1)])
def test_photos_of_any_shape(size_wh):
    ex = factories.explanation("a dog", view=ImageView.squash(size_wh, (32, 32)))
    width, height = ex.figure().get_size_inches()
    assert 3 < width < 20 and 2 < height < 20


def test_forty_words_wrap_into_rows_that_do_not_overlap():
    text = " ".join(f"word{i}" for i in range(40))
    figure = factories.explanation(text).figure()
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 42
    for i, one in enumerate(boxes):
        assert one.x0 >= 0 and one.x1 <= 1 and one.y0 >= 0 and one.y1 <= 1
        for other in boxes[i + 1 :]:
            assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
    width, height = figure.get_size_inches()
    assert 0.6 < width / height < 2.5
    assert sum(text.startswith("word") and " " not in text for text in texts(figure)) == 40


def test_more_words_than_have_room_are_refused_before_any_is_drawn(monkeypatch):
    ex = factories.explanation("a dog")
    assert len(ex.figure(["dog"] * MOST_PANELS).axes) == MOST_PANELS + 2
    monkeypatch.setattr(panels, "word_panel", lambda *asked: pytest.fail("a panel was made"))
    for suffix in (".png", ".svg", ".pdf"):
        with pytest.raises(RenderError, match="101 words are chosen, but there is room for 100: choose fewer"):
            ex.to_bytes(suffix, words=["dog"] * (MOST_PANELS + 1))


@pytest.mark.parametrize(("count", "says"), [(MOST_PANELS, False), (MOST_PANELS + 30, True)])
def test_of_a_longer_caption_the_first_words_are_drawn_and_it_is_said(count, says):
    figure = factories.explanation(" ".join(f"word{i}" for i in range(count))).figure()
    assert len(figure.axes) == MOST_PANELS + 2
    assert ("The first 100 of 130 words." in texts(figure)) == says
    assert {"word0", "word99"} <= set(texts(figure)) and "word100" not in texts(figure)


def test_finer_maps_have_room_for_fewer():
    assert [room_for(patches) for patches in (1, 4096, 4097, 65_536, 1 << 30)] == [100, 100, 99, 6, 1]
    ex = factories.explanation("one two three four five six seven", grid=PatchGrid(256, 256), layers=1, heads=1)
    figure = ex.figure(contour=False)
    assert len(figure.axes) == 6 + 2 and "The first 6 of 7 words." in texts(figure)
    with pytest.raises(RenderError, match="7 words are chosen, but there is room for 6"):
        ex.figure(range(7))


def test_the_caption_above_a_figure_has_few_lines():
    text = " ".join(["elephants"] * 499)
    said = texts(factories.explanation(text, read=9).figure([0]))
    lines = [line for line in said if line.startswith("elephants elephants")]
    assert len(lines) == MOST_CAPTION_LINES and lines[-1].endswith("…") and not lines[0].endswith("…")


@pytest.mark.parametrize("text", ["elephants " * 500, "黒い犬 " * 1250, "i" * 5000, "a\u0301" * 2500, "W. " * 1600])
def test_of_a_long_text_little_more_is_measured_than_is_drawn(text, monkeypatch):
    measured, width_of = [], text_width

    def noted(text, *style):
        measured.append(len(text))
        return width_of(text, *style)

    monkeypatch.setattr(text_module, "text_width", noted)
    lines = wrap(text, 6.0, 13.0, bold=True)
    assert sum(measured) < 8 * len(text)
    measured.clear()
    assert fit(text, 1.72, 10.5, bold=True).endswith("…")
    assert sum(measured) < 20 * max(map(len, lines))


def test_no_text_leaves_the_page():
    ex = factories.explanation("an extraordinarily-longwordthatgoesonandon dog " * 4, trained=False)
    figure = ex.figure()
    page = figure.bbox
    renderer = figure.canvas.get_renderer()
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, text.get_text()


def test_a_pane_shows_what_the_overlay_shows():
    ex = factories.explanation("dog cat", size_wh=(240, 160), peaks=[(1, 2), (3, 5)], null=[0, 0], layers=1, heads=1)
    figure = ex.figure()
    for number, word in enumerate(("dog", "cat")):
        shown = figure.axes[1 + number].images[0].get_array()
        size = shown.shape[1::-1]
        expected = np.asarray(ex.overlay(word, contour=False).resize(size, Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(shown.astype(int) - expected).mean() < 8
        other = np.asarray(ex.overlay("cat" if word == "dog" else "dog", contour=False).resize(size)).astype(int)
        assert np.abs(shown.astype(int) - other).mean() > 2 * np.abs(shown.astype(int) - expected).mean()
        assert len(figure.axes[1 + number].patches) == 2, "the contour and its halo"


def test_matplotlibs_global_settings_are_left_as_they_are_and_not_needed():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": True, "font.family": ["No Such Font"], "figure.dpi": 13}):
        usual = factories.explanation("a $dog").to_bytes(".png")
    assert usual == factories.explanation("a $dog").to_bytes(".png")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not __import__("matplotlib.pyplot").pyplot.get_fignums()


@settings(max_examples=40)
@given(st.text(max_size=120), st.floats(0.3, 4.0), st.sampled_from([8.0, 13.0]))
def test_wrapping_keeps_all_of_a_text_and_its_width(text, width, size):
    lines = wrap(text, width, size)
    assert "".join(lines).replace(" ", "") == clean(text).replace(" ", "")
    assert all(text_width(line, size) <= width or len(line) == 1 for line in lines)
    short = fit(text, width, size)
    assert short == clean(text) or short.endswith("…")
    assert len(wrap(text, width, size, most=2)) <= 2


def test_a_figure_says_what_was_hidden_and_guessed():
    read = factories.explanation("a dog and a cat")
    guess = Guess(read.words[1].tokens[0], (("wolf", 0.28), ("cat", 0.2)))
    said = texts(dataclasses.replace(read, hidden=(1,), guesses=(guess,)).figure())
    assert "hidden: 'dog'; guessed: wolf 28%" in said
    assert sum(text.startswith("hidden from the model") for text in said) == 1
    assert not any("hidden" in text for text in texts(read.figure()))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("end", [1.2, 3.0, 11.0, 46.0, 102.0, 208.0, 254.0, 575.0])
def test_numbers_under_a_colour_bar_never_touch(log, end):
    figure = matplotlib.figure.Figure(figsize=(6, 1), dpi=100)
    colour_bar(figure, Scale("probability", 1.0, end, log=log), "viridis", 0.85, 0.5, 0.5)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_line_encloses_the_share_that_is_asked_for():
    ex = factories.explanation()
    lines = []
    for contour in (False, True, 0.8):
        figure = ex.figure(["dog"], contour=contour)
        lines.append([patch.get_path().get_extents().size for axes in figure.axes for patch in axes.patches])
    assert lines[0] == []
    assert len(lines[1]) == len(lines[2]) == 2  # the line and its halo
    assert (lines[2][0] > lines[1][0]).all()
