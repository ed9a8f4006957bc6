"""Agreement: do other methods put the word where this one does?

Maps of one photo resemble one another for any word (edges, the middle). So a method agrees only if its map of the word
resembles this method's map of the word, and does so more than it resembles 95 % of this method's maps of random words
in its place, in Spearman's rank correlation. Methods share the model's mistakes: agreement says that a map does not
hang on the method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, own_tensor, set_fields, strings
from crossviz.trust.plain import check_number, plain, row
from crossviz.trust.ranks import ranks, spearman, top_share

__all__ = ["Agreement", "agree"]

TOP = 0.1
"""The share of the patches that counts as where a method looks."""
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Agreement(FrozenResult):
    """One word's maps by several methods, the one in question first.

    Args:
        methods: registered names.
        titles: for people.
        correlations: Spearman's, of every two: `method method`.
        agrees: for every method but the first, whether it agrees with the first.
        patches: share of the methods that have a patch among their highest tenth: `gh gw`.

    Raises:
        ResultError: for parts that don't fit together.
    """

    _TENSORS = ("correlations", "patches")

    methods: tuple[str, ...]
    titles: tuple[str, ...]
    correlations: Tensor
    agrees: tuple[bool, ...]
    patches: Tensor

    def __post_init__(self) -> None:
        set_fields(
            self,
            methods=strings("methods", self.methods),
            titles=strings("titles", self.titles),
            correlations=own_tensor("correlations", self.correlations, "method method"),
            agrees=tuple(self.agrees),
            patches=own_tensor("patches", self.patches, "gh gw"),
        )
        count = len(self.methods)
        if not count or len(self.titles) != count or tuple(self.correlations.shape) != (count, count):
            raise ResultError("`methods`, `titles` and `correlations` must be of the same methods, at least one.")
        if len(self.agrees) != count - 1 or any(not isinstance(flag, bool) for flag in self.agrees):
            raise ResultError("`agrees` must be True or False for every method but the first.")
        for name, tensor, low in (("correlations", self.correlations, -1), ("patches", self.patches, 0)):
            check_number(name, float(tensor.min()), low, 1)
            check_number(name, float(tensor.max()), low, 1)

    @property
    def agreeing(self) -> int:
        """How many of the other methods agree."""
        return sum(self.agrees)

    @property
    def of(self) -> int:
        """How many other methods there are."""
        return len(self.agrees)

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values, the grid row by row."""
        return {
            "methods": list(self.methods),
            "titles": list(self.titles),
            "correlations": plain(self.correlations),
            "agrees": list(self.agrees),
            "agreeing": self.agreeing,
            "of": self.of,
            "patches": row(self.patches),
        }


def agree(methods: Sequence[str], titles: Sequence[str], maps: Sequence[Tensor], null: Tensor) -> Agreement:
    """Hold several methods' maps of one word against one another.

    Args:
        methods: registered names, the one in question first.
        titles: for people.
        maps: each `gh gw`, in the order of `methods`.
        null: the first method's maps of random words in the phrase's place: `caption gh gw`.
    """
    matrix = torch.tensor([[spearman(a, b) for b in maps] for a in maps])
    orders = [ranks(chart) for chart in null]
    agrees = []
    for chart in maps[1:]:
        own = ranks(chart)
        by_chance = np.array([_correlation(order, own) for order in orders])
        # As in calibration: the word's own map is one of those that might have come.
        found = _correlation(ranks(maps[0]), own)
        p = (1 + int((by_chance >= found).sum())) / (1 + len(by_chance))
        agrees.append(found > 0 and p < _LEVEL)
    patches = torch.stack([top_share(chart, TOP) for chart in maps]).mean(0)
    return Agreement(tuple(methods), tuple(titles), matrix.clamp(-1, 1), tuple(agrees), patches.clamp(0, 1))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of ranks; see `spearman`."""
    a, b = one - one.mean(), other - other.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / length) if length > 0 else 0.0
