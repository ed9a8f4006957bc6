"""What a check may use: one word's map, and ways to ask its model again. Nothing here knows a model."""

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from crossviz.methods.base import Layers, Method
from crossviz.results import RelevanceMap
from crossviz.trace import Trace
from crossviz.words import Phrase

__all__ = ["Steps", "Subject", "remembered", "run_method", "same_map"]

_SAME = 1e-3
"""How far two runs may be apart, as a share of the largest value."""

T = TypeVar("T")
Steps = Generator[float, None, T]
"""A check at work: it yields how much of it is done, 0 to 1, and returns its result; closing it ends it."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One word or phrase of one explanation."""

    trace: Trace
    """Of the explanation's photo and caption."""
    method: Method
    layers: Layers
    phrase: Phrase
    chart: RelevanceMap
    """The map in question, of all words."""
    retrace: Callable[[str], Trace]
    """Another caption of the same photo."""
    cascade: Callable[[int], Iterator[tuple[str, float, Trace]]]
    """By a seed: the stages of the weights from the top, each as its label, the share of all weights that are random
    by then, and the photo and the caption in that model."""
    num_stages: int
    others: tuple[Method, ...] = ()
    """The other methods to compare with."""
    maps: Mapping[str, RelevanceMap] | None = None
    """Maps of other methods that are there already."""

    @property
    def values(self) -> Tensor:
        """The phrase's map, `gh gw`."""
        return self.chart.select(self.phrase.words)

    @property
    def method_key(self) -> tuple[Hashable, ...]:
        """The very method object, since two of one name may have other settings, and its layers."""
        layers = self.layers if self.layers is None or isinstance(self.layers, int) else tuple(self.layers)
        return (self.method, layers)


def run_method(method: Method, trace: Trace, layers: Layers = None) -> RelevanceMap:
    """A method's map, with autograd on only where it is needed."""
    with torch.set_grad_enabled(method.needs_grad):
        return method(trace, layers).map


def same_map(one: RelevanceMap, other: RelevanceMap) -> bool:
    """Whether two maps are one but for rounding."""
    apart = (one.values - other.values).abs().max() if one.values.shape == other.values.shape else torch.inf
    return float(apart) <= _SAME * float(one.values.abs().max())


def remembered(trace: Trace, name: str, key: Hashable, steps: Callable[[], Steps[T]]) -> Steps[T]:
    """The result of `steps`, kept with the photo; only the latest key of a name is, and only what came to its end.

    Yields:
        What `steps` yields; nothing where the result is there.
    """
    slots: dict[str, tuple[Hashable, Any]] = trace.image.keep("trust", dict)
    known = slots.get(name)
    if known is not None and known[0] == key:
        return known[1]
    found = yield from steps()
    slots[name] = (key, found)
    return found
