"""One photo of a set as its files describe it, before anything is asked of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.dataset import Box

__all__ = ["ClassMasks", "Contents", "Phrase", "Record", "Sentence"]


@dataclass(frozen=True)
class Phrase:
    """A run of words of a caption with the boxes that it means (none: a scene, or not annotated)."""

    start: int
    end: int
    kinds: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A caption with its phrases."""

    text: str
    phrases: tuple[Phrase, ...] = ()


class ClassMasks(Protocol):
    """The masks of a photo's classes, read or drawn when they are asked for."""

    def present(self) -> Collection[str]:
        """Names of the classes that have a pixel."""
        ...

    def __call__(self, name: str) -> NDArray[np.bool_]:
        """The pixels of a class: `H W`."""
        ...


@dataclass(frozen=True)
class Record:
    """One photo and what is known of it."""

    photo: Path
    wh: tuple[int, int] | None = None
    """Width and height that boxes and masks are given for; None where that is not said."""
    sentences: tuple[Sentence, ...] = ()
    objects: tuple[tuple[str, Box], ...] = ()
    """Class and box of each object."""
    unsure: frozenset[str] = frozenset()
    """Classes with a region where nobody counted the objects: asked neither as present nor as absent, whatever
    `objects` holds of them."""
    masks: ClassMasks | None = None
    split: str = ""
    label: str = ""
    label_index: int = -1


@dataclass(frozen=True)
class Contents:
    """All that an adapter read of a folder."""

    layout: str
    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    """Every class that was looked for in every photo; a class is absent where it is not marked."""
    splits: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of the parts, with the stems of their photos."""
