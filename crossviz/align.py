"""Which characters of a caption a cleaned copy of it came from.

Tokenizers clean their text before they cut it up: they undo HTML entities and broken encodings (ftfy), lower the
case, collapse white space, drop punctuation. Their tokens have spans in the cleaned text, users in their own.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

__all__ = ["align"]

_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("“”„‟", '"')})
_UNIT = re.compile(r"&(?:amp;)*#?\w{1,32};|.", re.DOTALL)  # an HTML entity, also one escaped again, or a character
_MAX_EXPANSION = 4  # a character that stands for more letters than this is compared as itself


def align(original: str, cleaned: str) -> list[tuple[int, int]]:
    """For every character of `cleaned`, the span of `original` that it came from.

    Both texts are folded (HTML entities, compatibility composition, case, straight quotes) and matched along a
    longest common subsequence. What matches nothing takes the stretch of `original` between its neighbours' matches,
    or the span of the neighbour where there is no such stretch. The longest common subsequence is computed a row at
    a time with numpy, in O(len(original) * len(cleaned)) for any text; difflib, the obvious choice, is cubic on texts
    that repeat themselves (13 s for 2,000 characters with doubled spaces).

    Returns:
        (start, end) per character of `cleaned`; neither starts nor ends ever decrease, and start < end unless
        `original` is empty.
    """
    if original == cleaned:
        return [(place, place + 1) for place in range(len(original))]
    if not original:
        return [(0, 0)] * len(cleaned)
    letters, spans = _fold(original, _UNIT.finditer(original))
    letters_cleaned, owners = _fold(cleaned, re.finditer(".", cleaned, re.DOTALL))
    matches = _match(letters, letters_cleaned)

    following = len(original)  # the start, in `original`, of the next match
    followings = []
    for match in reversed(matches):
        followings.append(following)
        following = following if match is None else spans[match][0]
    found: list[tuple[int, int]] = []
    before = 0  # the end, in `original`, of the last match
    for match, following in zip(matches, reversed(followings), strict=True):
        if match is not None:
            found.append(spans[match])
            before = spans[match][1]
        elif before < following:
            found.append((before, following))
        else:
            found.append(found[-1] if found else spans[0])

    result: list[tuple[int, int]] = []
    for (start, end), (owner, _) in zip(found, owners, strict=True):
        if owner == len(result):
            result.append((start, end))
        else:  # one more part of the same character
            result[-1] = (min(result[-1][0], start), max(result[-1][1], end))
    return result


def _fold(text: str, units: Iterable[re.Match[str]]) -> tuple[str, list[tuple[int, int]]]:
    """The letters that `text` is compared by, and for each the span of `text` that it stands for."""
    letters: list[str] = []
    spans: list[tuple[int, int]] = []
    for unit in units:
        own = unit.group()
        if len(own) > 1:
            own = html.unescape(html.unescape(own))
        folded = unicodedata.normalize("NFKC", own.translate(_QUOTES)).casefold()
        if not 0 < len(folded) <= _MAX_EXPANSION * len(own):
            folded = own
        letters.append(folded)
        spans.extend([unit.span()] * len(folded))
    return "".join(letters), spans


def _match(ours: str, theirs: str) -> list[int | None]:
    """A longest common subsequence: for every character of `theirs`, its place in `ours`, or None."""
    matches: list[int | None] = [None] * len(theirs)
    shorter = min(len(ours), len(theirs))
    head = next((place for place in range(shorter) if ours[place] != theirs[place]), shorter)
    matches[:head] = range(head)
    tail = 0
    while tail < shorter - head and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
        matches[-tail] = len(ours) - tail
    a = np.array([ord(char) for char in ours[head : len(ours) - tail]], dtype=np.int32)
    b = np.array([ord(char) for char in theirs[head : len(theirs) - tail]], dtype=np.int32)

    # longest[i, j]: length of the longest common subsequence of a[:i] and b[:j]. It never falls along a row, so the
    # running maximum stands in for the usual comparison with the cell to the left.
    longest = np.zeros((len(a) + 1, len(b) + 1), dtype=np.int16 if shorter < 2**15 else np.int32)
    for i in range(len(a)):
        np.maximum(longest[i, 1:], longest[i, :-1] + (b == a[i]), out=longest[i + 1, 1:])
        np.maximum.accumulate(longest[i + 1], out=longest[i + 1])
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            matches[head + j] = head + i
        elif longest[i - 1, j] == longest[i, j]:
            i -= 1
        else:
            j -= 1
    return matches
