"""Randomisation: does the map change when the model forgets what it learned?

The cascading test of Adebayo et al., "Sanity Checks for Saliency Maps" (2018): the weights are made random from the
answer down to the input, stage after stage, and after each the map is made again and its ranks are compared with the
real one's. A map that stays the same shows the photo or the architecture, not what was learned. Deviation: a weight
tensor's entries are put in a random order, not drawn anew, so that every stage keeps its distribution of weights.
"""

from dataclasses import dataclass
from typing import Any

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, set_fields, strings
from crossviz.trust.plain import check_numbers, plain

__all__ = ["Randomisation"]

_ALL = 0.999
"""The share of random weights that counts as all of them, but for rounding."""


@dataclass(frozen=True, eq=False)
class Randomisation(FrozenResult):
    """What is left of a map while more and more of the weights are random.

    Args:
        labels: what became random at each step; the first is the model as it is, asked again.
        shares: the share of all weights that are random then, 0 to 1.
        correlations: Spearman's, of the map then with the real one.

    Raises:
        ResultError: for parts that don't fit together.
    """

    labels: tuple[str, ...]
    shares: tuple[float, ...]
    correlations: tuple[float, ...]

    def __post_init__(self) -> None:
        set_fields(
            self,
            labels=strings("labels", self.labels),
            shares=check_numbers("shares", self.shares, 0, 1),
            correlations=check_numbers("correlations", self.correlations, -1, 1),
        )
        if not len(self.labels) == len(self.shares) == len(self.correlations) >= 1:
            raise ResultError("`labels`, `shares` and `correlations` must have one entry per stage, and at least one.")

    @property
    def complete(self) -> bool:
        """Whether the cascade went on until every weight was random; one that ended early says nothing."""
        return self.shares[-1] >= _ALL

    @property
    def last(self) -> float:
        """The correlation at the end of the cascade."""
        return self.correlations[-1]

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values."""
        rows = zip(self.labels, self.shares, self.correlations, strict=True)
        return {"stages": [{"label": a, "share": plain(b), "correlation": plain(c)} for a, b, c in rows]}
