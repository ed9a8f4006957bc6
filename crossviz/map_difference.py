"""What differs between two explanations of one photo: one word's map minus the map of the word in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from crossviz.errors import ResultError
from crossviz.explanation import Explanation
from crossviz.geometry import ImageView
from crossviz.pairs import Pair, word_pairs
from crossviz.words import Phrase

if TYPE_CHECKING:
    from crossviz.render.scale import Scale

__all__ = ["Difference", "difference", "paired"]

Selector = int | str | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Difference:
    """One word's map in `first` minus the map of `other` in `second`, in displayed units: multiples of chance where
    the maps are probabilities, else the method's unit. Swapped, every value has the other sign; of equal maps every
    value is exactly 0.

    Args:
        first, second: explanations of one photo, in one unit.
        word: the word or phrase of `first`.
        other: that of `second`.

    Raises:
        ResultError: of two photos, or in two units.
        SelectionError: a word that a model did not read.
    """

    first: Explanation
    second: Explanation
    word: Phrase
    other: Phrase

    def __post_init__(self) -> None:
        one, two = self.first, self.second
        if one.photo != two.photo:
            raise ResultError("The two explanations are of different photos: maps of one photo can be subtracted.")
        if (one.unit, one.map.signed) != (two.unit, two.map.signed):
            raise ResultError(
                f"Maps in {one.unit} ({one.method}) and in {two.unit} ({two.method}) can't be subtracted: compare "
                "methods that have one unit."
            )
        object.__setattr__(self, "_maps", (self._map(one, self.word), self._map(two, self.other)))

    @staticmethod
    def _map(explanation: Explanation, phrase: Phrase) -> np.ndarray:
        return explanation.map.select(phrase.words).numpy().astype(np.float64)

    @property
    def unit(self) -> str:
        """Of `values`: "× chance", or the method's unit."""
        return self.scale.label

    @property
    def scale(self) -> "Scale":
        """Symmetric; it ends at the higher peak of the two maps, and of probabilities at 8 × chance or more; of other
        units, where the scale of the caption ends that reaches higher."""
        from crossviz.render.scale import FLOOR, Scale

        if self.first.unit == "probability":
            unit, vmax = "× chance", max(FLOOR, *(float(values.max()) for values, _ in self._sides()))
        else:
            unit, vmax = self.first.unit, max(self.first.scale.vmax, self.second.scale.vmax)
        return Scale(unit, -vmax, vmax, power=1.0, signed=True)

    def values(self, *, smooth: bool = True) -> np.ndarray:
        """The difference in the photo's own pixels, float64 `H W`; 0 where not both models saw the photo."""
        from crossviz.render.difference import subtract

        return np.nan_to_num(subtract(*self._sides(), self.first.photo.wh, smooth=smooth))

    def _sides(self) -> tuple[tuple[np.ndarray, ImageView], tuple[np.ndarray, ImageView]]:
        """Displayed values `gh gw` and the view of both."""
        one, two = self._maps
        return (one * self.first.scale.factor, self.first.view), (two * self.second.scale.factor, self.second.view)

    @property
    def moved(self) -> float | None:
        """How much of the word's attention lies elsewhere, 0 (the same map) to 1 (nothing in common); None for maps
        that are no probabilities.

        The total variation distance, half the sum of all absolute differences, of the two distributions over the
        photo and the null key. Grids of different size are compared by the part of each patch that lies in each other.
        """
        if self.first.unit != "probability":
            return None
        nulls = [
            0.0 if ex.map.null_mass is None else ex.map.select_null(phrase.words)
            for ex, phrase in ((self.first, self.word), (self.second, self.other))
        ]
        one, two = self._maps
        return _moved((one, self.first.view), (two, self.second.view), abs(nulls[0] - nulls[1]))

    def overlay(self, *, smooth: bool = True, opacity: float | None = None, cmap: str | None = None) -> Image.Image:
        """The difference drawn on the photo, mode RGB: one colour where `first` looks more, another where `second`.

        Raises:
            RenderError: no such diverging colour map, or opacity.
        """
        from crossviz.render.difference import draw_difference

        trained = self.first.provenance.trained and self.second.provenance.trained
        photo = self.first.photo.image()
        return draw_difference(
            photo, *self._sides(), self.scale, smooth=smooth, opacity=opacity, cmap=cmap, trained=trained
        )


def difference(first: Explanation, second: Explanation, word: Selector, other: Selector | None = None) -> Difference:
    """One word's map in one explanation minus the map of the word that stands in its place in another.

    Args:
        first, second: explanations of one photo: by two models, by two methods, or with two captions.
        word: the word or phrase of `first`, by index, text or span.
        other: that of `second`; the one in its place if None (see `paired`).

    Raises:
        SelectionError: no such word.
        ResultError: no word of `second` stands in its place; of two photos, or in two units.
    """
    phrase = first.caption.select(word)
    if other is not None:
        return Difference(first, second, phrase, second.caption.select(other))
    for mine, theirs in paired(first, second, [phrase]):
        if theirs is not None:
            return Difference(first, second, mine, theirs)
    raise ResultError(
        f"No word of {second.caption.text!r:.80} stands in the place of {phrase.text!r:.40}: name one by `other`."
    )


def paired(
    first: Explanation, second: Explanation, phrases: Sequence[Phrase] | None = None
) -> list[tuple[Phrase, Phrase | None]]:
    """For phrases of one explanation, those that stand in their place in another; every word's if None.

    A word whose run of words was replaced by a run of another length is widened to its whole run.
    """
    read = [[word for word in ex.words if not word.truncated] for ex in (first, second)]
    pairs = word_pairs([word.text for word in read[0]], [word.text for word in read[1]])
    if phrases is None:
        runs = [pair.first for pair in pairs if pair.first is not None]
    else:
        runs = [(phrase.words[0], phrase.words[-1]) for phrase in phrases]
    found = []
    for run in runs:
        mine, theirs = _widened(pairs, run)
        found.append((_phrase(first, mine), None if theirs is None else _phrase(second, theirs)))
    return found


def _widened(pairs: Sequence[Pair], run: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int] | None]:
    hit = [pair for pair in pairs if pair.first and pair.first[0] <= run[1] and run[0] <= pair.first[1]]
    mine = (min(run[0], *(p.first[0] for p in hit)), max(run[1], *(p.first[1] for p in hit))) if hit else run
    theirs = [pair.second for pair in hit if pair.second]
    return mine, (min(a for a, _ in theirs), max(b for _, b in theirs)) if theirs else None


def _phrase(explanation: Explanation, run: tuple[int, int]) -> Phrase:
    words = explanation.words
    return explanation.caption.phrase(span=(words[run[0]].start, words[run[1]].end))


def _moved(first: tuple[np.ndarray, ImageView], second: tuple[np.ndarray, ImageView], null: float) -> float:
    """The total variation distance of two maps `gh gw` of probabilities; `null`: what their null masses differ by."""
    edges, cells = [], []
    for values, view in (first, second):
        x0, y0, x1, y1 = view.crop_xyxy
        gh, gw = values.shape
        edges.append((y0 + np.arange(gh + 1) * ((y1 - y0) / gh), x0 + np.arange(gw + 1) * ((x1 - x0) / gw)))
        cells.append(values * ((gh * gw) / ((x1 - x0) * (y1 - y0))))  # probability per square pixel
    cuts = [np.unique(np.concatenate(axis)) for axis in zip(*edges, strict=True)]
    dense = [_on(axes, cell, cuts) for axes, cell in zip(edges, cells, strict=True)]
    area = np.diff(cuts[0])[:, None] * np.diff(cuts[1])
    return float(min(1.0, 0.5 * (np.sum(np.abs(dense[0] - dense[1]) * area) + null)))


def _on(edges: tuple[np.ndarray, np.ndarray], cells: np.ndarray, cuts: Sequence[np.ndarray]) -> np.ndarray:
    """The cells' values on a finer grid whose lines are `cuts`; 0 outside."""
    at = []
    for edge, cut in zip(edges, cuts, strict=True):
        middle = (cut[:-1] + cut[1:]) / 2
        at.append(np.searchsorted(edge, middle, side="right") - 1)
    inside = [(place >= 0) & (place < n) for place, n in zip(at, cells.shape, strict=True)]
    rows, columns = (np.clip(place, 0, n - 1) for place, n in zip(at, cells.shape, strict=True))
    return cells[rows[:, None], columns] * (inside[0][:, None] & inside[1])
