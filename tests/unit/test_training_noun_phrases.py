"""The noun phrase tagger learns what its captions hold, says the same each time, and is measured as it says."""

import json

import pytest

from crossviz.noun_phrases import BEGIN, INSIDE, OUTSIDE, read_tagger
from crossviz.training import noun_phrases as training
from crossviz.training.noun_phrase_data import Tagged, tagged
from crossviz.training.noun_phrase_figures import by_rule, score

B, I, O = BEGIN, INSIDE, OUTSIDE  # noqa: E741


def marked(text):
    """A caption with its phrases in brackets."""
    plain, phrases, start = "", [], 0
    for char in text:
        if char == "[":
            start = len(plain)
        elif char == "]":
            phrases.append((start, len(plain)))
        else:
            plain += char
    return tagged(plain, phrases)


def test_captions_are_read_as_people_write_them():
    found = marked("[A man 's dog] , [black] , does n't see ( [the cats] ) .")
    assert found.words == ("A", "man's", "dog", "black", "doesn't", "see", "the", "cats")
    assert found.before == ("", "", "", ",", ",", "", ".", "")
    assert found.tags == (B, I, I, B, O, O, B, I)


CAPTIONS = [
    marked(f"[a {colour} {thing}] {verb} [the {other}]")
    for colour in ("black", "red", "small")
    for thing in ("dog", "cat", "ball")
    for verb in ("sees", "chases", "is near")
    for other in ("tree", "green car", "house")
]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(training, "LEAST", {})
    monkeypatch.setattr(training, "LEAST_ELSE", 1)
    monkeypatch.setattr(training, "LEAST_WEIGHT", 1)


def test_it_learns_and_says_the_same_each_time(tmp_path, few):
    one, two = (training.train(list(CAPTIONS), training.known_words(CAPTIONS, ["a dog"])) for _ in range(2))
    assert one == two
    assert score(CAPTIONS, lambda c: training_spans(one, c)) == (1, 1, 1)
    new = marked("[a green dog] sees [the small ball]")
    assert tuple(one.tags(new.words, new.before)) == new.tags, "words met elsewhere"
    training.write(one, tmp_path / "weights.json")
    read = read_tagger(tmp_path / "weights.json")
    assert read.known == one.known and {"dog", "tree"} <= read.known
    for caption in (*CAPTIONS, new):
        assert read.tags(caption.words, caption.before) == one.tags(caption.words, caption.before)
    assert len(json.loads((tmp_path / "weights.json").read_text())["weights"]) == len(one.weights)


def training_spans(tagger, caption):
    from crossviz.noun_phrases import phrase_spans

    return phrase_spans(tagger.tags(caption.words, caption.before))


def test_only_whole_phrases_count():
    caption = Tagged(("a", "dog", "sees", "cats"), ("",) * 4, (B, I, O, B))
    assert score([caption], lambda c: [(0, 1), (3, 3)]) == (1, 1, 1)
    assert score([caption], lambda c: [(0, 2), (3, 3)]) == (1 / 2, 1 / 2, 1 / 2)
    assert score([caption], lambda c: [(0, 2), (3, 3)], least=2) == (0, 0, 0)
    assert score([caption], lambda c: [(0, 1)]) == (1, 1 / 2, 2 / 3)
    assert score([caption], lambda c: []) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("a black dog in the water", [(0, 2), (4, 5)]),
        ("dogs playing with a ball, children", [(0, 0), (3, 4), (5, 5)]),
        ("on the", []),
    ],
)
def test_the_rule_that_it_is_held_against(text, spans):
    assert by_rule(tagged(text, [])) == spans
