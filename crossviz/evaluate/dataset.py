"""What is asked of photos, whatever files it was read from: questions with their answers, photo by photo."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Dataset", "Item", "LazyItems", "Mask", "Question"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in the photo's pixels; pixel (row i, column j) covers [j, j+1) x [i, i+1)."""
Mask = Callable[[], NDArray[np.bool_]]
"""Reads or draws a mask when called: `H W`, of the photo's size."""


@dataclass(frozen=True)
class Question:
    """One phrase asked of one photo, and where it is there.

    Where the map should point is `boxes`, or the mask where there are none; what it should cover is the mask, or the
    union of the boxes where there is none. A present question without either is asked for its null mass only.
    """

    text: str
    """All that the model reads: a caption, or the phrase alone."""
    span: tuple[int, int]
    """The phrase's characters in `text`."""
    group: str
    """What it is counted with: "phrases in captions", "phrases alone", "class names"."""
    present: bool = True
    """False: the phrase means nothing in this photo."""
    kinds: tuple[str, ...] = ()
    """Types of the phrase ("people", "scene"), or the word of the class."""
    boxes: tuple[Box, ...] = ()
    mask: Mask | None = None

    @property
    def phrase(self) -> str:
        """The characters of `span`."""
        return self.text[self.span[0] : self.span[1]]


@dataclass(frozen=True)
class Item:
    """One photo with what is asked of it."""

    photo: Path
    questions: tuple[Question, ...] = ()
    captions: tuple[str, ...] = ()
    """What people wrote of the photo, for retrieval; no part of the questions."""
    label: str = ""
    """The photo's one class, where it has one ("tabby, tabby cat")."""
    label_index: int = -1
    """Its number in the label's own list (ImageNet's 1,000 classes), -1 without one."""
    wh: tuple[int, int] | None = None
    """Width and height that boxes and masks are given for; None where the set does not say."""


class LazyItems(Sequence[Item]):
    """Items that are made when they are asked for, each from its own source only."""

    def __init__(self, sources: Sequence, make: Callable[..., Item]) -> None:
        self._sources, self._make = sources, make

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyItems": ...
    def __getitem__(self, index: int | slice) -> "Item | LazyItems":
        if isinstance(index, slice):
            return LazyItems(self._sources[index], self._make)
        return self._make(self._sources[index])

    def __iter__(self) -> Iterator[Item]:
        return (self._make(source) for source in self._sources)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Photos with questions; `crossviz.evaluate.open_dataset` makes one of a folder."""

    name: str
    items: Sequence[Item]
    layout: str = ""
    """What kind of files it was read from."""
    chosen: str = ""
    """Which part of it this is, in words: split, fold, limit."""

    @cached_property
    def has_captions(self) -> bool:
        """Whether any photo has a caption."""
        return any(item.captions for item in self.items)
