"""What an environment variable may hold: a kind says what it expects, reads a text, and knows whether a value fits."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Address", "Folder", "Kind", "Listed", "Names", "Switch", "Text", "Whole", "Word"]

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Kind(Protocol):
    """A kind of setting."""

    @property
    def expects(self) -> str:
        """What it takes, as in "X is ..., not 'y'"."""

    def read(self, text: str) -> Any:
        """The value that a text, which is not empty, stands for; a ValueError where it is none."""

    def fits(self, value: Any) -> bool:
        """Whether a value will do."""


@dataclass(frozen=True)
class Whole:
    """A whole number in a range, its ends included."""

    least: int
    most: int

    @property
    def expects(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return int(text[:20])

    def fits(self, value: Any) -> bool:
        return type(value) is int and self.least <= value <= self.most


@dataclass(frozen=True)
class Word:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def expects(self) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def read(self, text: str) -> str:
        return text.lower()

    def fits(self, value: Any) -> bool:
        return value in self.words


@dataclass(frozen=True)
class Switch:
    """On or off."""

    expects: str = "1 or 0"

    def read(self, text: str) -> bool:
        if text.lower() not in (*_ON, *_OFF):
            raise ValueError(text)
        return text.lower() in _ON

    def fits(self, value: Any) -> bool:
        return type(value) is bool


@dataclass(frozen=True)
class Text:
    """A text of a form."""

    expects: str
    pattern: str | re.Pattern[str]

    def read(self, text: str) -> str:
        return text

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class Names:
    """Some names with commas between them, each once."""

    expects: str

    def read(self, text: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in text.split(","))

    def fits(self, value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and all(isinstance(name, str) and name.isprintable() and name for name in value)
            and len(set(value)) == len(value)
        )


@dataclass(frozen=True)
class Listed:
    """Some entries of a form with commas or spaces between them, or * for any."""

    expects: str
    pattern: re.Pattern[str]

    def read(self, text: str) -> tuple[str, ...]:
        return tuple(filter(None, re.split(r"[,\s]+", text.lower())))

    def fits(self, value: Any) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(entry, str) and (entry == "*" or self.pattern.fullmatch(entry) is not None) for entry in value
        )


@dataclass(frozen=True)
class Folder:
    """A folder that is there or can be made.

    Args:
        write: whether it must be possible to write there.
    """

    write: bool = True

    @property
    def expects(self) -> str:
        return f"a folder that can be {'written to' if self.write else 'read'}"

    def read(self, text: str) -> str:
        return text

    def fits(self, value: Any) -> bool:
        try:
            path = Path(value).expanduser().absolute()
            there = next(each for each in (path, *path.parents) if each.exists())
            return there.is_dir() and os.access(there, (os.W_OK if self.write else os.R_OK) | os.X_OK)
        except (TypeError, ValueError, OSError, RuntimeError):  # no path at all, or of somebody who has no home
            return False


def Address() -> Text:
    """An address to listen on; whether this computer has it is seen when it is listened on."""
    return Text("an address of this computer", r"[\w.:%-]+")
