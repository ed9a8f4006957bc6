"""Several methods of one model on the same questions: one table a group, differences with the first, and a plot."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossviz.errors import DatasetError
from crossviz.evaluate.baselines import CAPTION
from crossviz.evaluate.dataset import Dataset, Item
from crossviz.evaluate.intervals import Figure
from crossviz.evaluate.report import COLUMNS, MODEL, Report, cell, table
from crossviz.evaluate.run import ask_all
from crossviz.evaluate.tally import Source

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.methods import Method

__all__ = ["Comparison", "compare"]

SHOWN = ("pointing", "iou", "iou_at_30", "mass", "auroc")
DIFFERENCES = {"pointing": 0, "mass": 2}
"""Figures whose difference with the first method is given, and their column in a tally."""


@dataclass(frozen=True)
class Comparison:
    """The figures of several methods on one set."""

    reports: tuple[Report, ...]
    differences: dict[tuple[str, str], dict[str, Figure]]
    """By group and method: how much more than the first method, phrase by phrase."""

    @property
    def methods(self) -> list[str]:
        """In the order asked for."""
        return [report.run.method for report in self.reports]

    @property
    def groups(self) -> list[str]:
        """The groups of phrases in which there is a map to measure."""
        return [group.name for group in self.reports[0].groups if group.phrases]

    def sources(self, group: str) -> list[tuple[str, Source, bool]]:
        """What is compared in a group: the methods' own maps, then the baselines that are no method's (last: False)."""
        own = [(report.run.method, report.group(group).source(MODEL), True) for report in self.reports]
        first = self.reports[0].group(group)
        # The map of the whole caption is a method's own, and differs from method to method.
        return own + [(source.name, source, False) for source in first.sources if source.name not in (MODEL, CAPTION)]

    def markdown(self) -> str:
        """A table per group, best first by pointing, the baselines below."""
        run = self.reports[0].run
        part = "" if run.part == "all" else f" ({run.part})"
        lines = [f"## {run.dataset}", "", f"{run.model}, {len(self.reports)} methods; {run.photos} photos{part}."]
        if not run.trained:
            lines.append("These weights were not trained: the figures mean nothing.")
        for name in self.groups:
            lines += ["", *self._group_lines(name)]
        lines += [
            "",
            f"In brackets: 95 % interval, by bootstrap over photos. Difference: in pointing, with {self.methods[0]} on "
            "the same phrases. Seconds: per photo with all that was asked of it, its encoding included.",
        ]
        return "\n".join(lines)

    def _group_lines(self, name: str) -> list[str]:
        group, sources = self.reports[0].group(name), self.sources(name)
        names = [figure for figure in SHOWN if any(figure in source.figures for _, source, _ in sources)]
        own = sorted((row for row in sources if row[2]), key=lambda row: -row[1].figures["pointing"].value)
        seconds = {report.run.method: report.run.seconds / report.run.photos for report in self.reports}
        rows = []
        for method, source, is_method in own + [row for row in sources if not row[2]]:
            apart = self.differences.get((name, method), {}).get("pointing")
            rows.append(
                (
                    f"`{method}`" if is_method else method,
                    *(cell(source.figures.get(figure), figure) for figure in names),
                    cell(apart, "pointing"),
                    f"{seconds[method]:.2f}" if is_method else "–",
                )
            )
        head = ("", *(COLUMNS[figure] for figure in names), "difference", "seconds")
        return [
            f"### {name}: {group.phrases:,} phrases, {group.absent:,} absent ones, {group.photos:,} photos",
            "",
            *table(head, rows),
        ]

    def csv(self) -> str:
        """One figure a line; shares in 0 to 1. The methods' reports one after the other, then the differences."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        for number, report in enumerate(self.reports):
            lines = report.csv().splitlines(keepends=True)
            out.writelines(lines if number == 0 else lines[1:])
        run = self.reports[0].run
        for (group, method), figures in self.differences.items():
            phrases = self.reports[0].group(group).phrases
            for figure, found in figures.items():
                values = (round(v, 6) for v in (found.value, found.low, found.high))
                what = f"{figure} minus {self.methods[0]}"
                rows.writerow((run.dataset, run.model, method, group, "", MODEL, what, phrases, *values))
        return out.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        apart = [
            {"group": group, "method": method, "figures": {n: (f.value, f.low, f.high) for n, f in figures.items()}}
            for (group, method), figures in self.differences.items()
        ]
        return {"methods": [report.as_dict() for report in self.reports], "differences": apart}

    def save(self, folder: Path) -> list[Path]:
        """Write `DATASET-methods.md`, `.csv`, `.json`, `.png` and `.svg` into an existing folder; returns their paths.

        Raises:
            DatasetError: the folder can't be written to.
        """
        from crossviz.evaluate.plot import plot  # matplotlib takes a while to load

        stem = f"{self.reports[0].run.dataset}-methods"
        contents = {
            ".md": self.markdown().encode() + b"\n",
            ".csv": self.csv().encode(),
            ".json": json.dumps(self.as_dict(), indent=2, ensure_ascii=False).encode() + b"\n",
            **{f".{kind}": plot(self, kind) for kind in ("png", "svg")},
        }
        paths = [folder / f"{stem}{suffix}" for suffix in contents]
        try:
            for path, content in zip(paths, contents.values(), strict=True):
                path.write_bytes(content)
        except OSError as error:
            raise DatasetError(f"Can't write into {folder}: {error.strerror}. Choose another folder.") from error
        return paths


def compare(
    explainer: "Explainer",
    dataset: Dataset,
    methods: "Sequence[str | Method]",
    seed: int = 0,
    progress: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> Comparison:
    """Hold the maps of several methods against a set's answers, all asked the same.

    Args:
        explainer, dataset, seed, progress: as for `crossviz.evaluate.evaluate`.
        methods: names from `explainer.methods`, or method objects; differences are with the first.

    Raises:
        DatasetError: no method is named, or as for `evaluate`.
    """
    if not methods:
        raise DatasetError("No method was named: name at least one of explainer.methods.")
    names = [method if isinstance(method, str) else method.info.name for method in methods]
    if len(set(names)) < len(names):
        raise DatasetError(
            f"Each method is named once: {', '.join(names)}. Compare settings of one in runs of their own."
        )
    found = ask_all(explainer, dataset, methods, progress)
    first, *others = found
    apart = {}
    for asked in others:
        for group, tally in asked.tallies.items():
            apart[group, asked.example.method] = {
                name: tally.difference(first.tallies[group], MODEL, column, seed)
                for name, column in DIFFERENCES.items()
            }
    return Comparison(tuple(asked.report(dataset, seed) for asked in found), apart)
