"""A row: one photo and its caption, named but not yet read; and what every source of rows has."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossviz.errors import CaptionError, DatasetError, PhotoError
from crossviz.words import check_caption

__all__ = [
    "CAPTION_COLUMNS",
    "PHOTO_COLUMNS",
    "PHOTO_SUFFIXES",
    "Columns",
    "Row",
    "Source",
    "caption_of",
    "check_some",
    "column",
    "photo_of",
    "plain_text",
    "unique",
    "writable",
]

PHOTO_COLUMNS = ("photo", "image", "file_name", "filename", "path", "file")
CAPTION_COLUMNS = ("caption", "text", "sentence")
"""Where no column is named, the first of these that is there."""
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the user said of a source, the same for every kind.

    `caption` is one caption for all photos; `photo`, `text` and `id` are names of columns, None for the usual ones.
    """

    caption: str | None = None
    photo: str | None = None
    text: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One photo and its caption.

    Args:
        key: unique in its source, the same at every reading.
        photo: its name or path as the source gives it, for showing.
        read: gives what `load_photo` takes, a path or bytes; reads only when called, in any thread.
        told: gives the caption, in any thread.

    Both raise a CrossvizError with a sentence where the row can't be used.
    """

    key: str
    photo: str
    read: Callable[[], str | Path | bytes]
    told: Callable[[], str]


class Source(ABC):
    """Rows in a fixed order, read block by block. Small enough to be sent to another process.

    Attributes:
        kind: what it is, for people: "a folder of photos".
        fingerprint: changes when what it would give changes, as far as that is seen without reading the photos.
        boundaries: positions at which a block must end, in order, as the ends of shards.
    """

    kind: str
    fingerprint: str
    boundaries: Sequence[int] = ()

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are, good and bad."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> list[Row]:
        """The rows from one position up to another."""


def plain_text(value: Any, where: str) -> str:
    """A caption out of a column.

    Raises:
        CaptionError: it is no text that can be explained.
    """
    if value is None:
        raise CaptionError(f"The row has no caption in {where}.")
    if isinstance(value, list | tuple):
        raise CaptionError(f"{where} holds a list, and one caption a row is taken: give each caption a row of its own.")
    return check_caption(value.strip() if isinstance(value, str) else value)


def column(row: Mapping[str, Any], named: str | None, usual: Sequence[str]) -> str | None:
    """The column that is named, or the first of the usual ones that the row has; None for none."""
    if named is not None:
        return named if named in row else None
    return next((name for name in usual if name in row), None)


def photo_of(row: Mapping[str, Any], named: str | None, usual: Sequence[str] = PHOTO_COLUMNS) -> Any:
    """What a row's photo column holds.

    Raises:
        PhotoError: there is no such column, or it is empty.
    """
    name = column(row, named, usual)
    if name is None:
        raise PhotoError(f"The row has no column {named or ' or '.join(map(repr, usual[:2]))} that holds a photo.")
    if row[name] is None or row[name] == "":
        raise PhotoError(f"The row names no photo in column {name!r}.")
    return row[name]


def caption_of(row: Mapping[str, Any], columns: Columns) -> str:
    """A row's caption, by its columns.

    Raises:
        CaptionError: there is none that can be explained.
    """
    if columns.caption is not None:
        return columns.caption
    name = column(row, columns.text, CAPTION_COLUMNS)
    if name is None:
        raise CaptionError(f"The row has no column {columns.text or ' or '.join(map(repr, CAPTION_COLUMNS[:2]))}.")
    return plain_text(row[name], f"column {name!r}")


def unique(keys: Iterable[str]) -> list[str]:
    """The same keys, with "#2", "#3" ... at those that were there before."""
    seen: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for key in map(writable, keys):
        own = key
        while own in seen:
            counts[key] = counts.get(key, 1) + 1
            own = f"{key}#{counts[key]}"
        seen.add(own)
        found.append(own)
    return found


def writable(name: str) -> str:
    """A name that every file can hold: bytes of a file's name that are not UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def check_some(count: int, what: str) -> None:
    """Refuse a source without rows.

    Raises:
        DatasetError: there is none.
    """
    if not count:
        raise DatasetError(f"{what}: there is nothing to explain.")
