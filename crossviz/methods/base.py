"""What a method is: the protocol that `crossviz.methods` registers, and what methods share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from crossviz.errors import SelectionError
from crossviz.results import AttentionRecord, RelevanceMap, layer_index
from crossviz.trace import Trace
from crossviz.words import Caption

__all__ = ["Layers", "Method", "MethodInfo", "MethodResult", "select_layers", "word_means"]

Layers = int | Sequence[int | str] | None


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What there is to say of a method before anything is computed with it."""

    name: str
    """What `Explainer.explain` takes."""
    title: str
    sentence: str
    """What its maps mean, in one line."""
    paper: str
    unit: str
    signed: bool
    text_dependent: bool
    requires: tuple[str, ...]
    """Capabilities of `crossviz.trace` that it needs of a model."""


class MethodResult(NamedTuple):
    """The attention that a method read, and the map that it made."""

    record: AttentionRecord
    map: RelevanceMap


class Method(Protocol):
    """A method: one file, named after its paper, one entry in the registry."""

    info: MethodInfo
    needs_grad: bool
    """Whether it is called with autograd on."""

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """Explain one photo and one caption.

        Args:
            trace: the photo and the caption in a model.
            layers: None for all, an int n for the last n, or a list of indices (negative count from the end) and
                labels.

        Raises:
            UnsupportedMethodError: the model lacks what the method requires.
            SelectionError: there is no such layer.
        """
        ...


def select_layers(layers: Layers, labels: Sequence[str]) -> list[int]:
    """The indices of the chosen layers, in the model's order: None all, n the last n, else a list.

    Raises:
        SelectionError: there is no such layer, or none is chosen.
    """
    if layers is None:
        return list(range(len(labels)))
    if isinstance(layers, bool | str) or not isinstance(layers, int | Sequence):
        raise SelectionError(
            f"`layers` is None for all, a number n for the last n, or a list of indices and labels, not {layers!r:.60}."
        )
    if isinstance(layers, int):
        if not 1 <= layers <= len(labels):
            raise SelectionError(f"`layers`={layers} asks for the last {layers} layers, and there are {len(labels)}.")
        return list(range(len(labels) - layers, len(labels)))
    chosen = sorted({layer_index(labels, layer) for layer in layers})
    if not chosen:
        raise SelectionError("`layers` is empty: name at least one layer, or None for all.")
    return chosen


def word_means(caption: Caption, like: Tensor) -> Tensor:
    """The matrix `word token` that averages over each word's tokens; a row of zeros for a word without tokens."""
    means = torch.zeros(len(caption.words), len(caption.tokens))
    for word in caption.words:
        means[word.index, list(word.tokens)] = 1.0 / max(len(word.tokens), 1)
    return means.to(like.device, like.dtype)
