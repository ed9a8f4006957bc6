"""What a probe found: figures with their 95 % intervals, and the sentences that belong to them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossviz.evaluate.intervals import ROUNDS, Bootstrap

__all__ = ["ProbeFigure", "ProbeReport", "markdown", "mean_figure", "share_figure", "summary_figure", "wilson"]

_Z = 1.959964  # of the normal distribution, two sides, 95 %


@dataclass(frozen=True)
class ProbeFigure:
    """One measured figure; `low` and `high` bound it with 95 % confidence, NaN where the cases can't tell."""

    name: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    unit: str = ""
    """"%", "ms", "s", "MB", or nothing for a pure number."""
    count: int = 0
    """How many cases it was measured on: phrases, words, photos or runs."""
    chance: float | None = None
    """What guessing reaches, in the same unit; None where guessing has no meaning."""
    detail: bool = False
    """Left out of the table, for its length."""


@dataclass(frozen=True)
class ProbeReport:
    """One probe's figures, what it does in a sentence, and what its reader must know. Without figures: the reason."""

    probe: str
    sentence: str
    figures: tuple[ProbeFigure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __getitem__(self, name: str) -> ProbeFigure:
        """The figure of that name; KeyError without one."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(f"{self.probe} has no figure {name!r}: it has {', '.join(f.name for f in self.figures)}")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        found = asdict(self)
        for figure in found["figures"]:
            figure.update({key: None for key in ("value", "low", "high") if np.isnan(figure[key])})
        return found


def share_figure(
    name: str, hits: ArrayLike, groups: ArrayLike | None = None, chance: float | None = None, detail: bool = False
) -> ProbeFigure:
    """The share of hits, in per cent.

    Args:
        name: what is counted.
        hits: of each case 0 or 1, or between.
        groups: which cases belong together (those of one photo): whole groups are drawn with replacement. Without
            groups the interval is binomial (Wilson), and so it is, over the groups, where all cases agree.
        chance: the share that guessing reaches, 0 to 1.
        detail: as in `ProbeFigure`.
    """
    hits = np.asarray(hits, float)
    if not hits.size:
        return ProbeFigure(name, float("nan"), unit="%", detail=detail)
    group, number = _groups(hits, groups)
    if number == hits.size or hits.min() == hits.max():
        low, high = wilson(float(hits.mean()), number)
    else:
        found = Bootstrap(number).mean(hits, group)
        low, high = found.low, found.high
    percent = None if chance is None else 100 * float(chance)
    return ProbeFigure(name, 100 * float(hits.mean()), 100 * low, 100 * high, "%", hits.size, percent, detail)


def mean_figure(
    name: str,
    values: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    unit: str = "",
    chance: float | None = None,
    detail: bool = False,
) -> ProbeFigure:
    """A mean; its interval by bootstrap over groups, or over the cases themselves."""
    values = np.asarray(values, float)
    if not values.size:
        return ProbeFigure(name, float("nan"), unit=unit, detail=detail)
    group, number = _groups(values, groups)
    found = Bootstrap(number).mean(values, group)
    return ProbeFigure(name, found.value, found.low, found.high, unit, values.size, chance, detail)


def summary_figure(
    name: str, values: ArrayLike, of: Callable[[NDArray], float], *, unit: str = "", chance: float | None = None
) -> ProbeFigure:
    """Any summary of an array, as `np.median`; its interval by bootstrap over the rows."""
    values = np.asarray(values, float)
    if not values.size:
        return ProbeFigure(name, float("nan"), unit=unit)
    rng, number = np.random.default_rng(0), len(values)
    rounds = [float(of(values[rng.integers(0, number, number)])) for _ in range(ROUNDS)]
    low, high = (float(v) for v in np.quantile(rounds, (0.025, 0.975)))
    return ProbeFigure(name, float(of(values)), low, high, unit, values.size, chance)


def wilson(share: float, number: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a share seen in `number` independent cases."""
    z2 = _Z**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = _Z / (1 + z2 / number) * np.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _groups(values: NDArray, groups: ArrayLike | None) -> tuple[NDArray, int]:
    """Each case's group, counted from 0, and how many there are."""
    if groups is None:
        return np.arange(values.size), values.size
    known, group = np.unique(np.asarray(groups), return_inverse=True)
    return group, known.size


def markdown(reports: Sequence[ProbeReport]) -> str:
    """The reports as Markdown: a table each, notes below it."""
    parts = []
    for report in reports:
        lines = [f"### {report.probe}", "", report.sentence]
        shown = [figure for figure in report.figures if not figure.detail]
        if shown:
            lines += ["", "| what | figure | 95 % interval | chance | cases |", "|---|---|---|---|---|"]
            lines += [_row(figure) for figure in shown]
        lines += [line for note in report.notes for line in ("", note)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(figure: ProbeFigure) -> str:
    interval = "" if np.isnan(figure.low) else f"{_number(figure.low)} to {_number(figure.high)}"
    chance = "" if figure.chance is None else _number(figure.chance)
    unit = f" {figure.unit}" if figure.unit else ""
    return f"| {figure.name} | {_number(figure.value)}{unit} | {interval} | {chance} | {figure.count or ''} |"


def _number(value: float) -> str:
    """Three digits that count."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
