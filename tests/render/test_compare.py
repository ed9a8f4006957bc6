"""The figure that compares models: one scale in multiples of chance, each model's own grid, and no column lost."""

import dataclasses
import io

import factories
import matplotlib
import numpy as np
import pytest
from PIL import Image

import crossviz
from crossviz.errors import RenderError, SelectionError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.render.compare import compare, main_words
from crossviz.render.failed import Failed
from crossviz.render.figure import figure_bytes
from crossviz.render.overlay import draw_overlay

TEXT = "a dog and a zebra"


def named(explanation, model, attention="query: text tokens, key: image patches"):
    origin = dataclasses.replace(explanation.provenance, model=model, notes=("A model.", attention))
    return dataclasses.replace(explanation, provenance=origin)


def on_grid(height, width, peak, *, text=TEXT, null=0.0, model="fine", **options):
    """The word "dog" with `peak` times chance on the middle patch of a grid, the rest spread evenly; others evenly."""
    grid = PatchGrid(height, width)
    middle = (height // 2, width // 2)
    chance = 1 / grid.num_patches
    found = (peak * chance - chance) / (1 - chance)  # factories spreads the rest over all patches, this one too
    count = len(text.split())
    peaks = [middle if word == "dog" else None for word in text.split()]
    made = factories.explanation(
        text,
        grid=grid,
        view=ImageView.squash((60, 40), (16 * height, 16 * width)),
        peaks=peaks,
        null=[null] * count,
        layers=1,
        heads=1,
        **options,
    )
    planted = factories.planted(grid, peaks, [null] * count, found).double()
    chart = dataclasses.replace(
        made.map, values=planted, per_head=planted[None, None], null_mass=planted.new_full((1, 1, count), null)
    )
    return named(dataclasses.replace(made, maps={"cross_attention": chart}), model)


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def pictures(figure):
    """The maps by their label: uint8 `H W 3`."""
    return {axes.get_label(): np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.get_label()}


def middle(picture):
    return picture[picture.shape[0] // 2, picture.shape[1] // 2].astype(int)


def test_the_same_multiple_of_chance_has_the_same_colour_on_every_grid():
    fine, coarse = on_grid(9, 9, 20.0, model="fine"), on_grid(3, 3, 5.0, model="coarse")
    same = on_grid(5, 5, 5.0, model="same")
    shown = pictures(compare([fine, coarse, same], ["dog"], smooth=False))
    assert np.abs(middle(shown["coarse: dog"]) - middle(shown["same: dog"])).max() <= 1
    assert np.abs(middle(shown["fine: dog"]) - middle(shown["same: dog"])).max() > 40


def test_each_map_is_drawn_as_the_overlay_draws_it_on_the_common_scale():
    fine, coarse = on_grid(8, 6, 20.0), on_grid(3, 3, 5.0, model="coarse")
    shown = pictures(compare([fine, coarse], ["dog", "zebra"]))
    scale = dataclasses.replace(coarse.scale, vmax=max(fine.scale.vmax, coarse.scale.vmax), log=True)
    for word in ("dog", "zebra"):
        picture = shown[f"coarse: {word}"]
        photo = coarse.photo.image().convert("RGB").resize(picture.shape[1::-1], Image.Resampling.LANCZOS)
        wanted = draw_overlay(photo, coarse.patch_map(word), coarse.view, scale, contour=False)
        assert np.abs(picture.astype(int) - np.asarray(wanted).astype(int)).max() <= 2
    assert scale.vmax == pytest.approx(20, rel=0.01) and coarse.scale.vmax == 8


def test_one_bar_a_row_per_word_a_column_per_model_and_each_ones_attention():
    made = [
        on_grid(4, 6, 9.0, model="one", null=0.25),
        named(on_grid(2, 2, 2.0), "two", "query: image patches, key: text tokens"),
    ]
    figure = compare(made, ["dog", "zebra"])
    said = texts(figure)
    assert set(pictures(figure)) == {"photo", "one: dog", "one: zebra", "two: dog", "two: zebra"}
    assert len(figure.axes) == 1 + 4 + 1, "the photo, the maps, one colour bar"
    whole = " ".join(said)
    for part in (TEXT, "one", "two", "dog", "zebra", "4 × 6 patches", "2 × 2 patches", "× chance"):
        assert part in whole
    assert "Its attention goes from image patches to text tokens." in whole
    peak = float(made[0].patch_map("dog").max()) * 24
    assert f"peak {peak:.3g}×, 75% on the patches" in said
    assert "One scale for all columns" in whole


def test_a_very_sharp_map_leaves_the_others_to_be_seen():
    sharp, soft = on_grid(20, 20, 300.0, model="sharp"), on_grid(5, 5, 5.0, model="soft")
    figure = compare([sharp, soft], ["dog"], smooth=False)
    shown = pictures(figure)
    heat = [np.ptp(middle(shown[f"{name}: dog"])) for name in ("sharp", "soft")]
    assert heat[1] > 25, "a map of 5 times chance is no grey beside one of 300 times"
    said = " ".join(texts(figure))
    assert "× chance, logarithmic" in said and "300×" in said


def test_a_long_word_is_set_smaller_not_broken():
    text = "the photographer and the misunderstandings saw it"
    said = texts(compare([named(factories.explanation(text), "one")], ["photographer", "misunderstandings"]))
    assert {"photographer", "misunderstandings"} <= set(said)


def test_a_hidden_word_is_said_to_be_hidden():
    read = named(factories.explanation(TEXT), "reads")
    without = dataclasses.replace(named(factories.explanation(TEXT), "guesses"), hidden=(1,))
    said = texts(compare([read, without], ["dog", "zebra"]))
    assert said.count("hidden from the model") == 1
    assert "Hidden: 'dog'." in " ".join(said)


def test_another_unit_has_a_bar_of_its_own_and_says_so():
    shares = named(factories.signed_explanation(TEXT), "shares")
    chance = named(factories.explanation(TEXT), "chance")
    figure = compare([chance, shares], ["dog"])
    whole = " ".join(texts(figure))
    assert "own scale: similarity share" in whole and "colours don't compare" in whole
    assert len(figure.axes) == 1 + 2 + 2
    alone = " ".join(texts(compare([shares, named(shares, "again")], ["dog"])))
    assert "One scale for all" not in alone and "× chance" not in alone
    narrow, alone = pictures(figure)["chance: dog"], pictures(compare([chance, chance], ["dog"]))["chance: dog"]
    assert np.array_equal(narrow, alone), "a column in another unit leaves the common scale as it is"


def test_a_model_that_failed_has_a_column_that_says_why():
    figure = compare([on_grid(4, 6, 9.0, model="here"), Failed("gone", "It is not on this machine.")], ["dog"])
    whole = " ".join(texts(figure))
    assert "gone" in whole and "Not compared. It is not on this machine." in whole
    assert set(pictures(figure)) == {"photo", "here: dog"}
    with pytest.raises(RenderError, match="nothing to compare"):
        compare([Failed("gone", "It is not on this machine.")])


def test_words_that_one_model_did_not_read_are_said_to_be_cut_off():
    short = named(factories.explanation(TEXT, read=2), "short")
    figure = compare([named(factories.explanation(TEXT), "long"), short], ["zebra", (2, 5), 0])
    assert texts(figure).count("cut off, not read") == 1
    assert set(pictures(figure)) >= {"short: zebra", "long: dog", "long: a"}


def test_words_are_chosen_from_the_caption_whichever_model_comes_first():
    cut, whole = named(factories.explanation(TEXT, read=2), "short"), named(factories.explanation(TEXT), "long")
    for word in ("zebra", -1, (12, 17)):
        assert set(pictures(compare([cut, whole], [word]))) == {"photo", "short: zebra", "long: zebra"}


def test_words_that_a_model_does_not_know_say_so():
    known = named(factories.explanation(TEXT), "knows")
    tokens = tuple(
        dataclasses.replace(token, text="[UNK]" if token.index in known.words[4].tokens else token.text)
        for token in known.caption.tokens
    )
    other = dataclasses.replace(known, caption=dataclasses.replace(known.caption, tokens=tokens))
    said = texts(compare([known, named(other, "does not")], ["zebra"]))
    assert sum(text.startswith("unknown, read as [UNK]: peak ") for text in said) == 1


def test_absent_words_say_so():
    assert "not in the picture (null 97%)" in texts(compare([on_grid(4, 6, 1.0, null=0.97)], ["dog"]))


def test_different_photos_or_captions_are_not_compared():
    one = factories.explanation(TEXT)
    for other in (factories.explanation("a dog and a cat"), factories.explanation(TEXT, seed=1)):
        with pytest.raises(RenderError, match="different photos or captions"):
            compare([one, other])
    with pytest.raises(RenderError, match="At most"):
        compare([one] * 7)
    with pytest.raises(SelectionError):
        compare([one], ["cat"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a dog and a zebra", ["dog", "zebra"]),
        ("on the in", ["on", "the", "in"]),
        (" ".join(f"word{i}" for i in range(12)), [f"word{i}" for i in range(8)]),
    ],
)
def test_content_words_come_first_and_not_too_many(text, wanted):
    caption = factories.caption(text)
    assert [text[start:end] for start, end in main_words(caption)] == wanted


def test_the_public_name_and_the_files():
    figure = crossviz.compare([factories.explanation(TEXT), named(factories.explanation(TEXT), "b")])
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert figure_bytes(figure, kind).startswith(begins)
    first = figure_bytes(figure, "png")
    assert Image.open(io.BytesIO(first)).width > 600


@pytest.mark.parametrize("size_wh", [(640, 400), (60, 300), (900, 60), (1, 1)])
@pytest.mark.parametrize("count", [1, 4])
def test_no_text_and_no_picture_leaves_the_page(size_wh, count):
    text = "an extraordinarily-longwordthatgoesonandon dog " * 3
    view = ImageView.squash(size_wh, (32, 32))
    entries = [
        named(factories.explanation(text, view=view, trained=False), f"open_clip:A-very-long-name/{i}")
        for i in range(count)
    ]
    figure = compare([*entries, Failed("gone:" + "x" * 60, "why " * 300)])
    page, renderer = figure.bbox, figure.canvas.get_renderer()
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1, text.get_text()
    boxes = [axes.get_position() for axes in figure.axes]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0 and one.x1 <= 1 and one.y0 >= 0 and one.y1 <= 1
        for other in boxes[i + 1 :]:
            assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
