"""What holds for any input: an answer that is right in itself, or one sentence from a CrossvizError."""

import functools

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crossviz.errors import CaptionError, CrossvizError, PhotoError, RenderError
from crossviz.photo import Photo, load_photo
from crossviz.view_settings import ViewSettings
from crossviz.web.engine import Engine
from crossviz.words import check_caption, split_words, whole_caption
from fuzz import bundles, captions, photos
from fuzz.bundle_seeds import small_seeds

pytestmark = pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged metadata

NUMBERS = st.integers(0, 10**6)
BEGINNINGS = (
    *(
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\x00\x20Exif\0\0II*\0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0+",
    ),
    *(b"RIFF\x40\0\0\0WEBPVP8L", b"RIFF\x40\0\0\0WEBPVP8X", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = ("shown", "held", "layer", "head", "smooth", "own", "opacity", "cmap", "contour", "saw")


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=200))
def test_any_bytes_are_a_photo_or_a_photo_error(beginning, rest):
    try:
        assert isinstance(load_photo(beginning + rest), Photo)
    except PhotoError as error:
        assert "\n" not in str(error)


@given(NUMBERS)
@settings(max_examples=150)
def test_a_damaged_photo_is_read_or_refused(number):
    found = photos.check(number, *photos.make(number))
    assert found.kind != "wrong", found


@given(NUMBERS)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_broken_bundle_is_read_and_can_be_used_or_is_refused(number):
    found = bundles.check(number, *bundles.make(number, small_seeds()))
    assert found.kind != "wrong", found


@given(st.text(st.characters(), max_size=60))
def test_any_text_is_a_caption_or_a_caption_error(text):
    try:
        assert check_caption(text) is text
    except CaptionError as error:
        assert "\n" not in str(error)
        return
    found = whole_caption(text)
    words = [(word.start, word.end, word.text) for word in found.words]
    assert captions.fault_of_spans(text, words) == "" and [word[:2] for word in words] == split_words(text)
    assert type(found).from_meta(found.to_meta()) == found


@given(NUMBERS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_a_caption_of_any_script_is_explained_or_refused(number):
    found = captions.check(number, *captions.make(number))
    assert found.kind != "wrong", found


@functools.cache
def engine() -> Engine:
    return Engine("crossviz-mini", "cpu")


@example("a\nb")
@example("open_clip:ViT-B-32/a\nb")
@given(st.text(max_size=40) | st.from_regex(r"(open_clip|coca|blip|vilt|diffusers):.{0,20}", fullmatch=True))
def test_any_text_as_a_models_name_is_refused_in_a_sentence(name):
    if name.strip() in ("", "crossviz-mini"):
        return
    with pytest.raises(CrossvizError) as caught:
        engine().explainer(name)
    assert "\n" not in str(caught.value)


@given(JSON | st.dictionaries(st.sampled_from(SETTINGS), JSON, max_size=4))
def test_any_json_is_a_view_or_a_render_error(value):
    try:
        found = ViewSettings.from_json(value)
    except RenderError as error:
        assert "\n" not in str(error)
        return
    assert ViewSettings.from_json(found.as_dict()) == found
