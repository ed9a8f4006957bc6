"""The maps of random captions of a photo."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from crossviz.errors import SelectionError
from crossviz.results import RelevanceMap
from crossviz.trust.subject import Steps, Subject, remembered, run_method
from crossviz.trust.vocabulary import random_captions

__all__ = ["CAPTIONS", "null_maps"]

CAPTIONS = 60


def null_maps(subject: Subject, seed: int) -> Steps[Tensor]:
    """What the subject's method gives in each of CAPTIONS random captions to the words at the phrase's place.

    The maps of whole captions are kept with the photo, so that the next word of the caption costs nothing.

    Returns:
        `caption gh gw`; captions are left out in which the model reads no token at that place.
    """
    charts = yield from _charts(subject, seed)
    chosen = []
    for chart in charts:
        try:
            chosen.append(chart.select(subject.phrase.words))
        except SelectionError:
            continue
    return torch.stack(chosen) if chosen else torch.zeros(0, *subject.values.shape)


def _charts(subject: Subject, seed: int) -> Steps[Sequence[RelevanceMap]]:
    caption = subject.trace.caption
    # A gradient costs as much for each word: only those in question are asked for. Other methods read all at once.
    only = subject.phrase.words if subject.method.needs_grad else None

    def compute() -> Steps[Sequence[RelevanceMap]]:
        words = [word.text for word in caption.words]
        texts = random_captions(CAPTIONS, len(words), seed, leave_out=words)
        charts = []
        for number, text in enumerate(texts, 1):
            trace = replace(subject.retrace(text), only=only)
            charts.append(_light(run_method(subject.method, trace, subject.layers)))
            yield number / len(texts)
        return charts

    return (yield from remembered(subject.trace, "null maps", (caption.text, subject.method_key, only, seed), compute))


def _light(chart: RelevanceMap) -> RelevanceMap:
    """The map without its layers and heads, which would take much memory."""
    return RelevanceMap(
        values=chart.values,
        unit=chart.unit,
        signed=chart.signed,
        method=chart.method,
        params={},
        direction=chart.direction,
        text_dependent=chart.text_dependent,
        token_counts=chart.token_counts,
        reduce=chart.reduce,
    )
