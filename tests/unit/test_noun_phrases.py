"""Which words of a caption stand together: the shipped weights on captions of its own, and the search for tags."""

import itertools
import random

import factories
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossviz.noun_phrases import BEGIN, INSIDE, OUTSIDE, Tagger, features, gaps, noun_phrases, phrase_spans, shipped
from crossviz.paths import assets_dir
from crossviz.words import split_words


def texts(caption):
    words = [caption[start:end] for start, end in split_words(caption)]
    return [" ".join(words[first : last + 1]) for first, last in noun_phrases(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a black dog catches a red frisbee", ["a black dog", "a red frisbee"]),
        ("A BLACK DOG CATCHES A RED FRISBEE.", ["A BLACK DOG", "A RED FRISBEE"]),
        ("dog", []),
        ("a cup of coffee on a saucer with a spoon", ["a cup of coffee", "a saucer", "a spoon"]),
        ("two dogs play with each other in the snow", ["two dogs", "the snow"]),
        ("the woman’s red hat, two men's shoes", ["the woman’s red hat", "two men's shoes"]),
        (
            "a young, tall man eats a hot dog near the Eiffel Tower",
            ["a young tall man", "a hot dog", "the Eiffel Tower"],
        ),
        ("a glowing neon sign & 3 red cars", ["a glowing neon sign", "3 red cars"]),
    ],
)
def test_phrases_of_captions(caption, expected):
    assert texts(caption) == expected


@pytest.mark.parametrize(
    "caption",
    [
        "un perro negro atrapa un disco rojo",
        "ein schwarzer Hund fängt eine rote Scheibe",
        "un chien noir attrape un frisbee rouge",
        "een man met een hond in het water",
        "de man in de auto",
        "a mulher com a bola",
        "一只黑狗",
        "كلب أسود يمسك قرصا أحمر",
        "qwxz a vbnrt plmkz frtgh",
        "🐕 🥏",
        "",
    ],
)
def test_nothing_is_offered_in_what_is_no_english(caption):
    assert noun_phrases(caption) == ()


def test_words_that_were_cut_off_are_in_no_phrase():
    text = "a black dog catches a red frisbee"
    assert noun_phrases(factories.caption(text)) == ((0, 2), (4, 6))
    assert noun_phrases(factories.caption(text, read=6)) == ((0, 2),)
    assert noun_phrases(factories.caption(text, read=2)) == ()


def test_an_explanation_tells_its_phrases():
    ex = factories.explanation("a black dog catches a red frisbee", read=5)
    (phrase,) = ex.noun_phrases
    assert (phrase.text, phrase.start, phrase.end, phrase.words) == ("a black dog", 0, 11, (0, 1, 2))
    assert (ex.heatmap(span=(phrase.start, phrase.end)) == ex.heatmap("a black dog")).all()


@settings(deadline=None)
@given(st.text(st.sampled_from("aehd ogr,.'’-ßé狗🐕\u200d\n"), max_size=60) | st.text(max_size=40))
def test_any_text_gives_runs_of_words_apart_from_each_other(text):
    found = noun_phrases(text)
    count = len(split_words(text))
    assert all(0 <= first < last < count for first, last in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))
    assert noun_phrases(text) == found


@pytest.mark.parametrize("seed", range(8))
def test_the_tags_are_the_best_of_all(seed):
    """Against every way to tag the caption, with weights drawn at random."""
    rng = random.Random(seed)
    text = " ".join(rng.choice(["dog", "a", "red,", "on", "big"]) for _ in range(6))
    spans = split_words(text)
    words, before = [text[a:b] for a, b in spans], gaps(text, spans)
    names = sorted({name for i in range(len(words)) for name in features(words, before, i)})
    weights = {name: [rng.randint(-90, 90), rng.randint(-90, 90)] for name in names}
    moves = {gap: [[rng.randint(-90, 90) for _ in range(3)] for _ in range(3)] for gap in ("", ",", "'", ".")}
    tagger = Tagger(weights, moves, frozenset())

    def score(tags):
        own = sum(
            weights[name][tag] for i, tag in enumerate(tags) if tag != OUTSIDE for name in features(words, before, i)
        )
        return own + sum(moves[before[i]][tags[i - 1]][tags[i]] for i in range(1, len(tags)))

    def allowed(tags):
        return all(tag != INSIDE or (place and tags[place - 1] != OUTSIDE) for place, tag in enumerate(tags))

    ways = [tags for tags in itertools.product((BEGIN, INSIDE, OUTSIDE), repeat=len(words)) if allowed(tags)]
    found = tagger.tags(words, before)
    assert allowed(found) and score(found) == max(map(score, ways))


def test_marks_between_words():
    text = "a dog, 'red' cat’s - x"
    assert gaps(text, split_words(text)) == ["", "", ".", "'", "."]
    assert gaps("", []) == []


def test_spans_of_tags():
    assert phrase_spans([BEGIN, BEGIN, INSIDE, OUTSIDE, BEGIN]) == [(0, 0), (1, 2), (4, 4)]
    assert phrase_spans([]) == []


def test_the_weights_are_small_and_fit():
    file = assets_dir() / "noun-phrases" / "weights.json"
    assert file.stat().st_size < 400_000
    tagger = shipped()
    assert all(len(row) == OUTSIDE and all(type(value) is int for value in row) for row in tagger.weights.values())
    assert set(tagger.moves) == {"", ",", "'", "."}
    known = features(["A", "dog"], ["", ""], 1)
    assert sum(name in tagger.weights for name in known) > 5, "what is looked up is what was learnt"
