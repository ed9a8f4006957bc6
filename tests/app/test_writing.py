"""A caption that grows: which words are finished, how often it is explained, and that the last one is whole."""

import threading

import pytest
import torch

from crossviz.errors import CaptionError
from crossviz.web.writing import PAUSE, Pace, Written, finished_words, writing


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Explainer:
    """Notes what it explains; each explanation takes `cost` seconds of the clock."""

    class info:
        name = "a model"

    def __init__(self, texts, clock, step=1.0, cost=0.0):
        self.texts, self.clock, self.step, self.cost = texts, clock, step, cost
        self.explained, self.threads, self.closed = [], set(), False

    def write(self, image, longest=30):
        try:
            with torch.no_grad():
                for text in self.texts:
                    self.threads.add(threading.get_ident())
                    self.clock.now += self.step
                    yield text
        finally:
            self.closed = True

    def explain(self, image, text, method):
        self.clock.now += self.cost
        self.explained.append((text, torch.is_grad_enabled()))
        return (text, method)


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("", ""),
        ("a", ""),
        ("a ", "a"),
        ("a do", "a"),
        ("a dog", "a"),
        ("a dog ", "a dog"),
        ("a dog.", "a"),
        (". d", ""),
    ],
)
def test_the_last_word_may_still_grow(text, finished):
    assert finished_words(text) == finished


def test_every_finished_word_is_explained_where_there_is_time():
    clock = Clock()
    explainer = Explainer(["a", "a do", "a dog", "a dog runs", "a dog runs."], clock)
    written = list(writing(explainer, None, "some_method", clock))
    assert [step.text for step in written] == ["a", "a do", "a dog", "a dog runs", "a dog runs.", "a dog runs."]
    assert [text for text, _ in explainer.explained] == ["a", "a dog", "a dog runs."]
    assert written[-1] == Written("a dog runs.", ("a dog runs.", "some_method"), done=True)
    assert [step.done for step in written] == [False] * 5 + [True]


def test_no_more_than_half_of_the_time_goes_into_explaining():
    clock = Clock()
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    explainer = Explainer([" ".join(words[: n + 1]) for n in range(10)], clock, step=1.0, cost=4.0)
    list(writing(explainer, None, None, clock))
    between = [text for text, _ in explainer.explained[:-1]]
    assert between == [" ".join(words[:n]) for n in (1, 5, 9)]


def test_the_pace_waits_as_long_as_the_last_one_took():
    clock = Clock()
    pace = Pace(clock)
    assert pace.begin()
    clock.now += 3.0
    pace.end()
    clock.now += 2.9
    assert not pace.begin()
    clock.now += 0.2
    assert pace.begin()
    pace.end()
    clock.now += PAUSE / 2
    assert not pace.begin()
    clock.now += PAUSE
    assert pace.begin()


def test_writing_stays_in_one_thread_and_switches_no_gradient_off():
    clock = Clock()
    explainer = Explainer(["a dog", "a dog runs"], clock)
    list(writing(explainer, None, None, clock))
    assert len(explainer.threads) == 1 and threading.get_ident() not in explainer.threads
    assert all(on for _, on in explainer.explained)
    assert torch.is_grad_enabled()


def test_what_is_given_up_is_closed():
    clock = Clock()
    explainer = Explainer(["a dog", "a dog runs", "a dog runs on"], clock)
    growing = writing(explainer, None, None, clock)
    next(growing)
    growing.close()
    assert explainer.closed


@pytest.mark.parametrize("texts", [[], [""], ["", " ."]])
def test_no_word_is_no_caption(texts):
    clock = Clock()
    with pytest.raises(CaptionError, match="wrote no words"):
        list(writing(Explainer(texts, clock), None, None, clock))
