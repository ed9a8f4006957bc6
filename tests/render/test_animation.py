"""The GIF over layers: which frames it has, what it says of them, and that it holds the explanation."""

import dataclasses
import io

import factories
import numpy as np
import pytest
from PIL import Image

import crossviz
from crossviz.errors import RenderError, SelectionError
from crossviz.render.animation import MOST_FRAMES, fit, font_of, frames
from crossviz.words import Caption


def without_heads(ex):
    chart = dataclasses.replace(ex.map, per_head=None, null_mass=None, layers=())
    return dataclasses.replace(ex, maps={ex.method: chart})


def test_layer_by_layer_after_the_mean_of_them():
    ex = factories.explanation("a dog and a zebra", layers=3, heads=2)
    shown = frames(ex, "zebra")
    assert [frame.label for frame in shown] == [
        "“zebra”, mean over 3 layers",
        *(f"“zebra”, layer {at} ({at + 1} of 3)" for at in range(3)),
    ]
    np.testing.assert_array_equal(shown[0].values, ex.patch_map("zebra"))
    for at in range(3):
        np.testing.assert_array_equal(shown[1 + at].values, ex.patch_map("zebra", layer=at))


def test_one_layer_goes_head_by_head_and_says_so():
    ex = factories.explanation(layers=1, heads=4)
    shown = frames(ex, [1])
    assert len(shown) == 5 and all("one layer" in frame.label for frame in shown)
    np.testing.assert_array_equal(shown[4].values, ex.patch_map(word=1, head=3))


def test_without_single_layers_and_heads_it_goes_word_by_word():
    ex = without_heads(factories.explanation("a dog and a zebra"))
    assert [frame.label for frame in frames(ex)][1] == "“dog”, the whole map"
    assert len(frames(ex)) == 5 and len(frames(ex, ["dog", "zebra"])) == 2


def test_the_word_that_is_most_strongly_there_is_shown_unless_one_is_asked_for():
    ex = factories.explanation("a dog and a zebra", null=[0.5, 0.6, 0.7, 0.01, 0.8])
    assert "“a”" in frames(ex)[0].label
    np.testing.assert_array_equal(frames(ex)[0].values, ex.patch_map(word=3))


def test_no_more_words_are_looked_for_than_there_are_frames(monkeypatch):
    looked_for, select = [], Caption.select
    monkeypatch.setattr(Caption, "select", lambda caption, word: looked_for.append(word) or select(caption, word))
    assert len(frames(factories.explanation("a dog"), ["dog"] * 5000)) == len(looked_for) == MOST_FRAMES


@pytest.mark.parametrize("text", ["dog", "dog " * 1000, "…" * 50, "黒い犬 " * 1000])
def test_a_line_holds_as_much_of_a_text_as_there_is_room_for(text):
    font, whole = font_of(12), " ".join(text.split())
    for room in (5.0, 60.0, 217.3, 1e6):
        line = fit(text, font, room)
        if line == whole:
            assert font.getlength(line) <= room
            continue
        kept = line.removesuffix("…") if text != "…" * 50 else line[:-1]
        assert whole.startswith(kept) and (font.getlength(line) <= room or not kept)
        assert font.getlength(f"{whole[: len(kept) + 1]}…") > room


def test_the_file_moves_for_ever_and_holds_the_explanation(tmp_path):
    ex = factories.explanation("a dog $x^2$ <b>", layers=3, heads=2)
    ex.save(tmp_path / "a.gif", words="dog", width=200)
    assert crossviz.load(tmp_path / "a.gif") == ex
    with Image.open(tmp_path / "a.gif") as moving:
        assert (moving.n_frames, moving.info["loop"], moving.width) == (4, 0, 200)
        pictures = []
        for at in range(4):
            moving.seek(at)
            pictures.append(np.asarray(moving.convert("RGB")))
    assert all((pictures[0] != other).any() for other in pictures[1:])


def test_untrained_weights_are_marked_on_every_frame():
    yellow = []
    for trained in (True, False):
        data = factories.explanation(trained=trained).to_bytes(".gif")
        with Image.open(io.BytesIO(data)) as moving:
            moving.seek(1)
            pixels = np.asarray(moving.convert("RGB")).astype(int)
        yellow.append(((pixels[..., 0] > 190) & (pixels[..., 1] > 150) & (pixels[..., 2] < 90)).sum())
    assert yellow[1] > 5 * yellow[0]


def test_what_can_not_be():
    ex = factories.explanation()
    with pytest.raises(SelectionError):
        ex.to_bytes(".gif", words="cat")
    for suffix, width in ((".gif", 0), (".gif", 10**6), (".npz", 100), (".pdf", 100)):
        with pytest.raises(RenderError, match="width"):
            ex.to_bytes(suffix, width=width)
