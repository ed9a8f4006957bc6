"""The maps of random words in the place of a phrase."""

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from crossviz.errors import SelectionError
from crossviz.trust.subject import Steps, Subject, remembered, run_method
from crossviz.trust.vocabulary import random_words
from crossviz.words import Caption

__all__ = ["CAPTIONS", "FEWEST", "captions_with", "null_maps"]

CAPTIONS = 40
FEWEST = 20
"""With fewer maps to compare with no p-value can be below .05."""


def captions_with(caption: Caption, words: tuple[int, ...], runs: list[tuple[str, ...]]) -> list[str]:
    """The caption's text with the words at `words` replaced by those of each run; all else stays as it is."""
    texts = []
    for run in runs:
        text = caption.text
        for index, new in sorted(zip(words, run, strict=True), reverse=True):
            word = caption.words[index]
            before, after = text[: word.start], text[word.end :]
            # Scripts without spaces: the new word must not become one with its neighbours.
            text = before + " " * before[-1:].isalnum() + new + " " * after[:1].isalnum() + after
        texts.append(text)
    return texts


def null_maps(subject: Subject, seed: int) -> Steps[Tensor]:
    """What the subject's method gives to random words in the phrase's place, in CAPTIONS captions.

    Nothing else of the caption changes: a model reads a word together with its neighbours, so that a word among random
    ones would differ from the one in question even if neither meant anything. The latest phrase's maps are kept with
    the photo.

    Returns:
        `caption gh gw`; captions are left out in which the model reads no token at that place.
    """
    caption, words = subject.trace.caption, subject.phrase.words
    # A gradient costs as much for each word: only those in question are asked for. Other methods read all at once.
    only = words if subject.method.needs_grad else None

    def compute() -> Steps[Tensor]:
        runs = random_words(CAPTIONS, len(words), seed, leave_out=[word.text for word in caption.words])
        charts = []
        for number, text in enumerate(captions_with(caption, words, runs), 1):
            trace = replace(subject.retrace(text), only=only)
            if len(trace.caption.words) == len(caption.words):
                with suppress(SelectionError):  # cut off
                    charts.append(run_method(subject.method, trace, subject.layers).select(words))
            yield number / len(runs)
        return torch.stack(charts) if charts else torch.zeros(0, *subject.values.shape)

    key = (caption.text, words, subject.method_key, seed)
    return (yield from remembered(subject.trace, "null maps", key, compute))
