"""What the page keeps between questions: photos' features, bounded, and nothing that belongs to another model."""

import numpy as np
import pytest
from PIL import Image

from crossviz.errors import CaptionError, MethodError, ModelUnavailableError, PhotoError, UnknownModelError
from crossviz.web import engine as module
from crossviz.web.engine import Engine


@pytest.fixture
def engine():
    return Engine("crossviz-mini")


@pytest.fixture
def photos(tmp_path):
    paths = []
    for shade in range(4):
        path = tmp_path / f"{shade}.png"
        Image.fromarray(np.full((20, 30, 3), 40 * shade, np.uint8)).save(path)
        paths.append(str(path))
    return paths


def steps(engine, *asked):
    said, run = [], engine.steps(*asked)
    while True:
        try:
            said.append(next(run))
        except StopIteration as done:
            return said, done.value


def test_only_the_first_question_reads_the_photo(engine, photos):
    first, _ = steps(engine, photos[0], "a dog", "", None)
    second, explanation = steps(engine, photos[0], "a cat", "", None)
    assert first == ["loading crossviz-mini", "reading the photo", "asking every word"]
    assert second == ["asking every word"]
    assert explanation.caption.text == "a cat"


def test_the_content_counts_and_not_the_name(engine, photos, tmp_path):
    steps(engine, photos[0], "a dog", "", None)
    other = tmp_path / "other.bmp"
    Image.open(photos[0]).save(other)
    assert steps(engine, str(other), "a dog", "", None)[0] == ["asking every word"]
    Image.open(photos[1]).save(photos[0])
    assert "reading the photo" in steps(engine, photos[0], "a dog", "", None)[0]


def test_kept_features_give_the_same_answer(engine, photos):
    _, first = steps(engine, photos[1], "a dog", "", None)
    _, second = steps(engine, photos[1], "a dog", "", None)
    assert first == second == Engine("crossviz-mini").explain(photos[1], "a dog")


@pytest.mark.parametrize(("limit", "value"), [("MAX_IMAGES", 2), ("MAX_IMAGE_BYTES", 1)])
def test_what_is_kept_is_bounded(engine, photos, monkeypatch, limit, value):
    monkeypatch.setattr(module, limit, value)
    for photo in photos:
        steps(engine, photo, "a dog", "", None)
    assert len(engine._images) == (2 if limit == "MAX_IMAGES" else 0)
    assert "reading the photo" in steps(engine, photos[0], "a dog", "", None)[0]  # used longest ago: gone
    assert engine._images.keys() == engine._sizes.keys()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ((None, "a dog", "", None), PhotoError),
        (("photo", "", "", None), CaptionError),
        (("photo", "a dog", "nonsense", None), UnknownModelError),
        (("photo", "a dog", "open_clip:/etc", None), ModelUnavailableError),
        (("photo", "a dog", "crossviz-mini:/etc", None), ModelUnavailableError),
        (("photo", "a dog", "", "nonsense"), MethodError),
        (("photo", "a dog", "", "head_decomposition"), MethodError),
    ],
)
def test_each_wrong_input_has_its_error(engine, photos, asked, error):
    photo, *rest = asked
    with pytest.raises(error):
        engine.explain(photos[0] if photo else None, *rest)


def test_folders_are_for_this_computer_alone(photos):
    with pytest.raises(ModelUnavailableError, match="list of this server"):
        Engine("crossviz-mini").explainer("open_clip:/no/such/folder")
    with pytest.raises(ModelUnavailableError, match="in the folder") as told:
        Engine("crossviz-mini", folders=True).explainer("open_clip:/no/such/folder")
    assert "list of this server" not in str(told.value)
