"""Which words of one caption answer to which of another."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Pair", "word_pairs"]

LONGEST = 3
"""Words of a run that a run of another length may take the place of: more are another sentence."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Words of one caption, and those of another that stand in their place.

    `first` and `second` are runs of words, (index of the first, index of the last); None where the other caption has
    words more. `same` says that they read alike, but for the case of their letters.
    """

    first: tuple[int, int] | None
    second: tuple[int, int] | None
    same: bool


def word_pairs(first: Sequence[str], second: Sequence[str]) -> tuple[Pair, ...]:
    """Pair the words of two captions, in reading order.

    Words that read alike are paired along a longest common subsequence. Of the words between two such pairs, as many as
    there are on both sides are replaced one by one ("a black dog", "a brown cat": black and brown, dog and cat);
    otherwise the run on the one side is replaced by the run on the other ("big tripod", "camera") if both are short,
    and stands alone if not.

    Args:
        first, second: the words' texts.
    """
    one, other = ([word.lower() for word in words] for words in (first, second))
    n, m = len(one), len(other)
    common = [[0] * (m + 1) for _ in range(n + 1)]  # of what follows each pair of places
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            same = one[i] == other[j]
            common[i][j] = 1 + common[i + 1][j + 1] if same else max(common[i + 1][j], common[i][j + 1])
    pairs: list[Pair] = []
    i = j = begun_i = begun_j = 0
    while i < n and j < m:
        if one[i] == other[j]:
            pairs += [*_between((begun_i, i), (begun_j, j)), Pair((i, i), (j, j), True)]
            i, j = i + 1, j + 1
            begun_i, begun_j = i, j
        elif common[i + 1][j] >= common[i][j + 1]:
            i += 1
        else:
            j += 1
    return (*pairs, *_between((begun_i, n), (begun_j, m)))


def _between(first: tuple[int, int], second: tuple[int, int]) -> list[Pair]:
    """The pairs of two stretches (start, end) that have no word in common."""
    (a, b), (c, d) = first, second
    if b - a == d - c:
        return [Pair((a + k, a + k), (c + k, c + k), False) for k in range(b - a)]
    if a < b and c < d and max(b - a, d - c) <= LONGEST:
        return [Pair((a, b - 1), (c, d - 1), False)]
    return [*(Pair((k, k), None, False) for k in range(a, b)), *(Pair(None, (k, k), False) for k in range(c, d))]
