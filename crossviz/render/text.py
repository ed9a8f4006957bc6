"""User text on a matplotlib figure: never parsed, always drawable, wrapped or shortened to a width in inches."""

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager, ft2font
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

__all__ = ["LAST_RESORT", "clean", "families", "fit", "is_plain", "text_style", "text_width", "whole_words", "wrap"]

_FIRST = "DejaVu Sans"

LAST_RESORT = "Last Resort High-Efficiency"
"""A font that matplotlib carries: one box with the script's sign for every character that nothing else has."""

# Tried in this order where DejaVu Sans, which matplotlib carries, lacks a character; only those that are installed.
_MORE = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Micro Hei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
)
_DPI = 72
_STEP = 16
"""Characters that are measured first."""
_GUESSES = 6
_REPLACEMENT = "\ufffd"


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """Font families, first choice first; every one of them exists, so matplotlib has nothing to warn about."""
    installed = set(font_manager.get_font_names())
    return tuple(name for name in (_FIRST, *_MORE, LAST_RESORT) if name in installed)


@lru_cache(maxsize=2)
def _characters(bold: bool) -> frozenset[int]:
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return frozenset(ft2font.FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", file))).get_charmap())


def is_plain(text: str, *, bold: bool = False) -> bool:
    """Whether DejaVu Sans has every character of a text."""
    return _characters(bold).issuperset(map(ord, text))


def _fonts(text: str, bold: bool) -> tuple[list[str], str]:
    """Families and weight for a text. The other fonts are asked only where they are needed, and have no bold."""
    if is_plain(text, bold=bold):
        return [_FIRST], "bold" if bold else "normal"
    return list(families()), "normal"


def text_style(text: str, size: float, *, bold: bool = False) -> dict:
    """Keyword arguments for a matplotlib text that holds what a user wrote: no mathtext, no TeX."""
    family, weight = _fonts(text, bold)
    return {"family": family, "size": size, "weight": weight, "parse_math": False, "usetex": False}


def clean(text: str) -> str:
    """`text` on one line, without characters that no file format can hold (controls, lone surrogates)."""
    text = " ".join(text.split())
    return "".join(
        _REPLACEMENT if unicodedata.category(char) in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE else char
        for char in text
    )


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of `text` in inches at `size` points."""
    family, weight = _fonts(text, bold)
    prop = FontProperties(family=family, size=size, weight=weight)
    return RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, prop, ismath=False)[0] / _DPI


def fit(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """`text`, its end replaced by an ellipsis where it is wider than `width` inches."""
    text = clean(text)
    if _has_room(text, width, size, bold):
        return text
    low = _most_characters(lambda count: text_width(text[:count].rstrip() + "…", size, bold), width, 0, len(text))
    return text[:low].rstrip() + "…"


def wrap(text: str, width: float, size: float, *, bold: bool = False, most: int | None = None) -> list[str]:
    """Lines of at most `width` inches, broken at spaces, or inside a run that is too wide by itself.

    Args:
        text: any text.
        width: in inches.
        size: in points.
        bold: whether it is set in bold.
        most: number of lines; the last one then ends in an ellipsis. None: as many as it takes.
    """
    lines, rest = [], clean(text)
    while rest:
        if most is not None and len(lines) == most - 1:
            return [*lines, fit(rest, width, size, bold=bold)]
        cut = _longest_start(rest, width, size, bold)
        if cut < len(rest):
            space = rest.rfind(" ", 1, cut + 1)
            cut = space if space > 0 else cut
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return lines


def whole_words(text: str, width: float, size: float, smallest: float) -> float:
    """The size of bold type, in points, at which no word is wider than `width` inches; a very long one is, at the
    smallest.

    Args:
        size: where there is room for it.
    """
    widest = max((text_width(word, size, True) for word in text.split()), default=0.0)
    return size if widest <= width else max(smallest, 0.98 * size * width / widest)


def _longest_start(text: str, width: float, size: float, bold: bool) -> int:
    return _most_characters(lambda count: text_width(text[:count], size, bold), width, 1, len(text))


def _has_room(text: str, width: float, size: float, bold: bool) -> bool:
    """Whether all of a text has room; of a long one the start is measured first."""
    step = _STEP
    while step < len(text):
        if text_width(text[:step], size, bold) > width:
            return False
        step *= 2
    return text_width(text, size, bold) <= width


def _most_characters(measure: Callable[[int], float], width: float, least: int, most: int) -> int:
    """The largest number of characters, up to `most`, that measure no more than `width`; `least` where none do.

    Measuring takes as long as the text, so what is measured is never much longer than what has room, and is guessed
    from what was measured before; after some guesses the rest is halved.
    """
    low, high, guess, tries = least, most + 1, _STEP, 0
    while low + 1 < high:
        guess = min(max(guess, low + 1), high - 1, 2 * low + _STEP)
        wide = measure(guess)
        low, high = (guess, high) if wide <= width else (low, guess)
        tries += 1
        guess = int(guess * width / wide) if wide > 0 and tries < _GUESSES else (low + high) // 2
    return low
