"""Made-up words are words nobody has, and pictures of nothing hold nothing."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.probes import gibberish
from crossviz.evaluate.probes.gibberish import CAPTIONS, ORDINARY, empty_pictures, probe_gibberish
from crossviz.evaluate.probes.made_up import known_nouns, known_words, made_up_words
from crossviz.words import split_words

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def words() -> list[str]:
    return made_up_words(200, 0)


def test_the_lists_hold_ordinary_words():
    assert {"dog", "woman", "red", "holding", "coffee", "photographer"} <= known_words()
    assert {"saxophone", "giraffe", "spoon"} <= known_nouns() <= known_words()
    assert set(ORDINARY) <= known_words()


def test_made_up_words_are_in_no_list_and_no_letter_away_from_one(words):
    known = known_words()
    assert len(set(words)) == 200
    for word in words:
        splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
        near = {a + b[1:] for a, b in splits if b} | {a + c + b for a, b in splits for c in LETTERS}
        near |= {a + c + b[1:] for a, b in splits if b for c in LETTERS}
        assert not near & known, word


def test_no_made_up_word_holds_a_noun(words):
    for word in words:
        parts = {word[i:j] for i in range(len(word)) for j in range(i + 4, len(word) + 1)}
        assert not parts & known_nouns(), word


def test_made_up_words_can_be_said(words):
    assert all(re.fullmatch("[a-z]{4,10}", word) for word in words)
    assert all(re.search("[aeiou]", word) for word in words)
    assert not [word for word in words if re.search("[aeiou]{4}|[^aeiou]{4}|^(.)\\1", word)]


def test_made_up_words_depend_on_the_seed_only(words):
    assert made_up_words(200, 0) == words
    assert made_up_words(50, 0) == words[:50]
    assert len(set(made_up_words(200, 1)) & set(words)) < 5


def test_empty_pictures_are_empty():
    found = empty_pictures(0)
    assert list(found) == ["one colour", "a gradient", "noise"]
    for photo in found["one colour"]:
        assert (photo.pixels == photo.pixels[0, 0]).all()
    for photo in found["a gradient"]:
        pixels = photo.pixels.astype(int)
        steps = [np.abs(np.diff(pixels, axis=axis)).max() for axis in (0, 1)]
        assert min(steps) == 0
        assert 0 < max(steps) <= 2
    for photo in found["noise"]:
        grey = photo.pixels.mean(-1)
        assert abs(np.corrcoef(grey[:, :-1].ravel(), grey[:, 1:].ravel())[0, 1]) < 0.02


def test_the_words_of_the_captions_are_words_of_them():
    for text, own in CAPTIONS.items():
        spans = [text[start:end] for start, end in split_words(text)]
        assert all(spans.count(word) == 1 and text.count(word) == 1 for word in own)


class Planted:
    """Gives each phrase the null mass that `answer(phrase, photo's name)` says; None stands for no null key."""

    info = SimpleNamespace(name="planted")

    def __init__(self, answer):
        self._answer = answer

    def encode(self, photo):
        return photo.name

    def explain(self, name, text):
        first = self._answer(text, name)
        return SimpleNamespace(
            map=SimpleNamespace(null_mass=first), null_mass=lambda span: self._answer(text[span[0] : span[1]], name)
        )


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(gibberish, "WORDS", 20)
    monkeypatch.setattr(gibberish, "PAIRS", 5)
    monkeypatch.setattr(gibberish, "SCENES", 1)


def lit(report):
    return {f.name.removesuffix(": light up"): f.value for f in report.figures if f.name.endswith(": light up")}


def test_a_model_that_finds_nothing_and_one_that_finds_everything():
    assert set(lit(probe_gibberish(Planted(lambda text, name: 0.95))).values()) == {0}
    assert set(lit(probe_gibberish(Planted(lambda text, name: 0.05))).values()) == {100}
    assert set(lit(probe_gibberish(Planted(lambda text, name: 0.5))).values()) == {100}, "as the viewer has it"


def test_what_lights_up_is_counted_where_it_does():
    half = set(made_up_words(20, 0)[::2])
    report = probe_gibberish(
        Planted(lambda text, name: 0.2 if text in half or name == "noise" or text == "horse" else 0.8)
    )
    found = lit(report)
    assert (
        found["made-up words on scenes"]
        == found["made-up words on example photos"]
        == found["made-up words, all"]
        == 50
    )
    assert found["made-up pairs of words, all"] == 0
    assert (found["ordinary words on noise"], found["ordinary words on one colour"]) == (100, 100 / len(ORDINARY))
    assert found["other captions on examples and scenes"] == pytest.approx(100 / sum(map(len, CAPTIONS.values())))
    assert report["made-up words: null mass, median"].value == pytest.approx(0.5, abs=0.31)
    assert report["made-up words: null mass, lowest 5%"].value == pytest.approx(0.2)
    assert all(word in half for word in report.notes[0].split(": ")[1].strip(".").split(", "))


def test_a_dataset_adds_captions_of_its_own(tmp_path):
    text = "a whale beside a boat"
    asked = (
        Question(text, (2, 7), "phrases in captions", False),
        Question(text, (15, 21), "phrases in captions", True),
        Question("whale", (0, 5), "phrases alone", False),
    )
    planted = Planted(lambda text, name: 0.1 if text == "whale" else 0.9)
    planted.encode = lambda photo: getattr(photo, "name", "")
    found = probe_gibberish(planted, Dataset("sea", [Item(tmp_path / "a.jpg", asked), Item(tmp_path / "b.jpg")]))
    assert found["captions of other photos of sea: light up"].value == 100
    assert found["captions of other photos of sea: light up"].count == 1


def test_without_a_null_key_the_report_says_so():
    assert "no null key" in probe_gibberish(Planted(lambda text, name: None)).sentence
