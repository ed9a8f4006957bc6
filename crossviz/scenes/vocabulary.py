"""The words that the scene model knows."""

import tomllib
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "COUNTS",
    "FLOORS",
    "MATERIALS",
    "MOODS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "meanings",
    "reflectance",
    "tokens",
]


@cache
def _table() -> dict[str, dict[str, list]]:
    return tomllib.loads((files("crossviz.scenes") / "vocabulary.toml").read_text("utf-8"))


SHAPES = tuple(_table()["shapes"])
COLOURS = tuple(_table()["colours"])
SIZES = tuple(_table()["sizes"])
MATERIALS = tuple(_table()["materials"])
FLOORS = tuple(_table()["floors"])
MOODS = tuple(_table()["moods"])
RELATIONS = tuple(_table()["relations"])
COUNTS = {word: count for count, word in enumerate(_table()["counts"], 1)}
_KINDS = ("shapes", "colours", "sizes", "materials", "counts", "floors", "moods", "relations", "others")


@cache
def meanings() -> dict[str, str]:
    """Every word that may stand in a caption, to the word that it stands for: "balls" to "sphere"."""
    return {word: meant for kind in _KINDS for meant, words in _table()[kind].items() for word in words}


@cache
def tokens() -> tuple[str, ...]:
    """The model's tokens, in their order: the padding, the end of the caption, and the words that others stand for."""
    return ("[pad]", "[end]", *dict.fromkeys(meant for kind in _KINDS for meant in _table()[kind]))


def reflectance(colour: str, *, floor: bool = False) -> NDArray[np.float32]:
    """The linear reflectance of a colour, red green blue."""
    return np.array(_table()["floor_reflectances" if floor else "reflectances"][colour], np.float32)
