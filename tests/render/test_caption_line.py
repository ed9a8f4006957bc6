"""The line for papers: it says what was drawn, and nothing that is not so."""

import io

import factories
import pytest
from PIL import Image

from crossviz.errors import RenderError, SelectionError
from crossviz.geometry import ImageView


def test_all_that_a_paper_needs_in_one_line():
    ex = factories.explanation(layers=2, heads=3)
    line = ex.figure_caption()
    assert line == (
        "synthetic, weights abababababab; Cross attention; mean over 2 layers and 3 heads; one absolute scale for all "
        f"words, 1 to {ex.scale.vmax:.3g} × chance; all of the photo, 60 × 40 px, seen as 96 × 64."
    )
    assert line in ex.figure().texts[-2].get_text() or any(line[:40] in text.get_text() for text in ex.figure().texts)


def test_of_one_word_one_layer_and_one_head_on_its_own_scale():
    line = factories.explanation().figure_caption("zebra", layer="layer 1", head=-1, scale="word")
    assert line.startswith("“zebra”: synthetic") and "; layer 1, head 2; scaled to this word alone, 1 to " in line
    assert "; layer 0, mean over 3 heads; " in factories.explanation().figure_caption(layer=0)
    assert "; mean over 2 layers, head 0; " in factories.explanation().figure_caption(head=0)
    assert "sum over" in factories.signed_explanation().figure_caption()


def test_the_crop_is_said_in_pixels_of_the_photo():
    wide = factories.explanation(view=ImageView.shortest((80, 40), (64, 64)))
    assert "crop x 20 to 60, y 0 to 40 of 80 × 40 px, seen as 64 × 64." in wide.figure_caption()
    boxed = factories.explanation(view=ImageView.longest((80, 40), (64, 64)))
    assert "all of the photo, 80 × 40 px, seen as 64 × 64, padded." in boxed.figure_caption()


def test_untrained_weights_are_said():
    assert "UNTRAINED WEIGHTS" in factories.explanation(trained=False).figure_caption()


def test_what_is_not_there_is_an_error():
    ex = factories.explanation()
    for asked in ({"text": "cat"}, {"layer": 2}, {"head": 3}, {"text": "dog", "layer": "last"}):
        with pytest.raises(SelectionError):
            ex.figure_caption(**asked)
    with pytest.raises(RenderError):
        ex.figure_caption(scale="own")


@pytest.mark.parametrize("width", [200, 333, 2001])
def test_a_figure_of_any_width(width):
    ex = factories.explanation()
    with Image.open(io.BytesIO(ex.to_bytes(".png", width=width))) as picture:
        assert picture.width == width
    assert ex.overlay("dog", width=width).size == (width, round(width * 40 / 60))


@pytest.mark.parametrize("width", [0, -5, 63, True, 9.5, 10**6])
def test_widths_that_can_not_be(width):
    with pytest.raises(RenderError):
        factories.explanation().to_bytes(".png", width=width)
