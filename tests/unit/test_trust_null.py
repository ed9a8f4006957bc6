"""The checks that ask again: words that mean nothing on the shipped model, planted methods, too few captions."""

from pathlib import Path

import factories
import numpy as np
import pytest
import torch

from crossviz.errors import SelectionError
from crossviz.explainer import Explainer
from crossviz.trust import calibrate, check
from crossviz.trust.ranks import spearman

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def shipped():
    return Explainer("crossviz-mini", device="cpu")


GIBBERISH = ("blorft", "snizzle", "grufka", "wempot", "tralby", "quondle", "frimp", "zaddock")
PLACES = (
    ("cat.jpg", "a {} with green eyes and a pink nose"),
    ("coffee.jpg", "a red cup of coffee and a {} on a table"),
)


def test_words_that_mean_nothing_are_not_beyond_chance(shipped):
    # Every word is held against the same maps of random words at its place: eight words for the price of one.
    beyond, low = [], 0
    for name, text in PLACES:
        image = shipped.encode(EXAMPLES / name)
        null, maps = None, []
        for word in GIBBERISH:
            explanation = shipped.explain(image, text.format(word))
            maps.append(explanation.map.select(explanation.caption.phrase(word).words))
            if null is None:
                shipped.trust(image, explanation, word, checks=["calibration"])
                null = image.keep("trust", dict)["null maps"][1]
        assert len(null) == 40
        found = [calibrate(values, null) for values in maps]
        low += sum(part.p_share <= 0.05 or part.p_peak <= 0.05 for part in found)
        beyond += [part.share_beyond for part in found]
    assert np.mean(beyond) < 0.1, beyond  # .05 by chance; words among random captions had .15 to .26
    assert low <= 5  # two tests of 16 words at 5 %: 1.6 by chance, six or more in 1 of 150


def test_maps_of_random_weights_are_not_like_the_real_ones(shipped):
    image, last = shipped.encode(EXAMPLES / "cat.jpg"), []
    explanation = shipped.explain(image, "a cat with green eyes and a pink nose")
    for word in ("cat", "eyes", "nose"):
        found = shipped.trust(image, explanation, word, checks=["randomisation"]).randomisation
        assert found.complete and found.correlations[0] == pytest.approx(1, abs=1e-3)
        last.append(abs(found.last))
    assert np.mean(last) < 0.35, last


def subject(values, remade, before_word=False, direction="query: text, key: image", **parts):
    """A word of a planted method that makes the map `remade`, also of any other caption."""
    from types import SimpleNamespace

    from crossviz.geometry import ImageView, PatchGrid
    from crossviz.results import RelevanceMap
    from crossviz.trace import EncodedImage, Trace
    from crossviz.trust import Subject

    caption, photo, grid = factories.caption("a dog"), factories.photo(), PatchGrid(*values.shape)
    view = ImageView.squash(photo.wh, (8 * values.shape[0], 8 * values.shape[1]))
    image = EncodedImage(photo, view, grid, torch.ones(2), {}, "planted", "planted")
    trace = Trace(image, caption, 0.0, {}, {}, lambda texts: torch.ones(len(texts), 2))

    def chart(of):
        return RelevanceMap(of.expand(2, *values.shape), "u", True, "planted", {}, direction, True, (1, 1))

    class Planted:
        info, needs_grad = SimpleNamespace(name="planted", title="Planted", before_word=before_word), False

        def __call__(self, trace, layers):
            return SimpleNamespace(map=chart(remade(trace)))

    given = {"retrace": lambda text: trace, "cascade": lambda seed: iter(()), "num_stages": 0, **parts}
    return Subject(trace, Planted(), None, caption.phrase("dog"), chart(values), **given)


def checked(*args, checks=("calibration", "agreement", "randomisation"), **parts):
    steps = check(subject(*args, **parts), checks)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_the_first_row_of_the_cascade_is_measured():
    one, other = noise(4, 5), noise(4, 5, seed=1)
    assert checked(one, lambda trace: one).randomisation.correlations == (1.0,)
    assert checked(one, lambda trace: other).randomisation.correlations[0] == pytest.approx(spearman(one, other))


def test_too_few_captions_are_said_and_not_judged():
    one, read = noise(4, 5), []

    def remade(trace):
        read.append(trace)
        if len(read) > 19:
            raise SelectionError("Cut off.")
        return one

    class Other:
        from types import SimpleNamespace

        info, needs_grad = SimpleNamespace(name="other", title="Other"), False

    report = checked(one, remade, others=(Other(),))
    assert report.calibration is None and report.agreement is None
    assert all(
        any(note.startswith(f"No {name}") and "in 19" in note for note in report.notes)
        for name in ("calibration", "agreement")
    )


def test_a_map_made_before_the_word_was_read_is_not_held_against_random_words():
    """Random words in its place have the same map by construction: a rank among equals would read as a verdict."""
    one, asked = noise(4, 5), []

    class Other:
        from types import SimpleNamespace

        info, needs_grad = SimpleNamespace(name="other", title="Other"), False

    report = checked(one, lambda trace: one, before_word=True, others=(Other(),), retrace=asked.append)
    assert report.made == ("randomisation",) and not asked
    assert len(report.notes) == 2 and all("had not seen it" in note for note in report.notes)
    assert "random words" not in report.sentence


@pytest.mark.parametrize(
    ("direction", "before_word", "looked"),
    [
        ("query: text, key: image", False, True),
        ("query: text, key: image", True, False),
        ("query: image, key: text", False, False),
    ],
)
def test_only_a_word_that_looks_is_said_to_have_looked(direction, before_word, looked):
    one = noise(4, 5)
    report = checked(one, lambda trace: one, before_word=before_word, direction=direction, checks=["randomisation"])
    assert report.looked is looked
