"""Files that fuzzers found or made, one of each kind and all that ever failed: each ends in an answer or a sentence."""

import json
from pathlib import Path

import pytest

from crossviz.errors import BundleError, PhotoError
from crossviz.loading import load_any
from crossviz.photo import Photo, load_photo

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
PHOTOS = sorted(path.name for path in (CORPUS / "photos").iterdir())
BUNDLES = json.loads((CORPUS / "bundles" / "expected.json").read_text("utf-8"))


def sentence(error: Exception) -> str:
    said = str(error)
    assert said.endswith(".") and "\n" not in said and len(said) < 500
    return said


def test_the_corpus_is_whole_and_small():
    bundles = {path.name for path in (CORPUS / "bundles").glob("*.npz")}
    assert len(PHOTOS) > 30 and bundles == set(BUNDLES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000


@pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged metadata
@pytest.mark.parametrize("name", PHOTOS)
def test_a_kept_photo_is_read_or_refused_in_a_sentence(name):
    # Which of the two is up to the version of Pillow.
    try:
        assert isinstance(load_photo((CORPUS / "photos" / name).read_bytes()), Photo)
    except PhotoError as error:
        sentence(error)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_kept_bundle_is_read_or_refused_as_it_was(name):
    try:
        load_any(CORPUS / "bundles" / name, most_bytes=64 << 20)
        found = "accepted"
    except BundleError as error:
        found = "refused" if sentence(error) else ""
    assert found == BUNDLES[name]
