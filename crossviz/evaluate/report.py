"""A run's figures as a table to read, rows to compute with, and JSON that says how they came about."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossviz.errors import DatasetError
from crossviz.evaluate.intervals import Figure
from crossviz.evaluate.tally import Group, Source

__all__ = ["COLUMNS", "MODEL", "Report", "Run", "cell", "table"]

MODEL = "model"
"""The name of the model's own map among a group's sources."""
KINDS_SHOWN = 12  # more would push everything else off the screen; CSV and JSON hold all
COLUMNS = {
    "pointing": "pointing %",
    "ties": "ties %",
    "iou": "IoU %",
    "iou_at_30": "IoU at .3 %",
    "mass": "mass inside %",
    "auroc": "AUROC of absence",
    "null_present": "null mass if present",
    "null_absent": "null mass if absent",
}
_PLAIN = ("auroc", "null_present", "null_absent")  # numbers from 0 to 1, not per cent


@dataclass(frozen=True)
class Run:
    """What was measured with what."""

    dataset: str
    layout: str
    part: str
    model: str
    trained: bool
    weights_sha256: str | None
    method: str
    device: str
    photos: int
    seed: int
    crossviz_version: str
    libraries: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Report:
    """The figures of one model and method on one set."""

    run: Run
    groups: tuple[Group, ...]

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            KeyError: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(f"There is no group {name!r}, only {', '.join(g.name for g in self.groups)}.")

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able: a figure is `[value, low, high]`; shares lie in 0 to 1, unknown ends are None."""
        return {"run": asdict(self.run), "groups": [_group_dict(group) for group in self.groups]}

    def json(self) -> str:
        """`as_dict` as JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"

    def csv(self) -> str:
        """One figure a line: dataset, group, kind, source, figure, phrases, value, low, high; shares in 0 to 1."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(
            ("dataset", "model", "method", "group", "kind", "source", "figure", "phrases", *Figure.__match_args__)
        )
        for row in self._rows():
            table.writerow((self.run.dataset, self.run.model, self.run.method, *row))
        return out.getvalue()

    def _rows(self) -> Iterator[tuple]:
        for group in self.groups:
            for source in group.sources:
                for name, figure in source.figures.items():
                    count = group.absent if name == "null_absent" else group.phrases
                    yield group.name, "", source.name, name, count, *_values(figure)
            for kind in group.kinds:
                for name, figure in kind.pointing.items():
                    yield group.name, kind.name, name, "pointing", kind.phrases, *_values(figure)

    def markdown(self) -> str:
        """The tables, with the baselines under the model, and how to read them."""
        run = self.run
        lines = [f"## {run.dataset}", ""]
        part = "" if run.part == "all" else f" ({run.part})"
        lines.append(f"{run.model}, {run.method}; {run.photos} photos{part}, {run.seconds:.0f} s on {run.device}.")
        if not run.trained:
            lines.append("These weights were not trained: the figures mean nothing.")
        for group in self.groups:
            lines += ["", *_group_lines(group, run.model)]
        lines += ["", "In brackets: 95 % interval, by bootstrap over photos."]
        return "\n".join(lines)

    def save(self, folder: Path) -> list[Path]:
        """Write `DATASET.md`, `.csv` and `.json` into an existing folder; returns their paths.

        Raises:
            DatasetError: the folder can't be written to.
        """
        texts = {".md": self.markdown() + "\n", ".csv": self.csv(), ".json": self.json()}
        paths = [folder / f"{self.run.dataset}{suffix}" for suffix in texts]
        try:
            for path, text in zip(paths, texts.values(), strict=True):
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"Can't write into {folder}: {error.strerror}. Choose another folder.") from error
        return paths


def _group_lines(group: Group, model: str) -> list[str]:
    counts = f"{group.phrases:,} phrases, {group.absent:,} absent ones, {group.photos:,} photos"
    left_out = f", {group.left_out:,} left out" if group.left_out else ""
    lines = [f"### {group.name}: {counts}{left_out}", ""]
    names = [name for name in COLUMNS if any(name in source.figures for source in group.sources)]
    rows = [(_title(source, model), *(cell(source.figures.get(n), n) for n in names)) for source in group.sources]
    lines += table(("", *(COLUMNS[name] for name in names)), rows)
    cut = next((source.cut_off for source in group.sources if source.cut_off), None)
    if cut is not None:
        one, two = cut.halves
        lines += [
            "",
            f"IoU: cut off at {_share(one)} and {_share(two)} of the map's maximum, each chosen on one half of the "
            f"photos and applied to the other. Chosen on all of them: {_share(cut.best)}, IoU {100 * cut.iou:.1f} %.",
        ]
    if group.kinds:
        shown = group.kinds[:KINDS_SHOWN]
        sources = [source for source in group.sources if any(source.name in kind.pointing for kind in shown)]
        rows = [
            (kind.name, f"{kind.phrases:,}", *(cell(kind.pointing.get(s.name), "pointing") for s in sources))
            for kind in shown
        ]
        lines += ["", "Pointing % by kind:", ""]
        lines += table(("", "phrases", *(_title(source, model) for source in sources)), rows)
        if len(group.kinds) > len(shown):
            lines += ["", f"{len(group.kinds) - len(shown)} more kinds are in the files that `--out` writes."]
    return lines


def _title(source: Source, model: str) -> str:
    return f"**{model}**" if source.name == MODEL else source.name


def cell(figure: Figure | None, name: str) -> str:
    """A figure of COLUMNS with its interval, as it is read."""
    if figure is None or math.isnan(figure.value):
        return "–"
    if name in _PLAIN:
        value, low, high = (f"{v:.3f}" for v in (figure.value, figure.low, figure.high))
    else:
        value, low, high = (f"{100 * v:.1f}" for v in (figure.value, figure.low, figure.high))
    return value if math.isnan(figure.low) else f"{value} ({low} to {high})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns line up in a terminal too."""
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths))
    return [line(rows[0]), f"|{rule}|", *map(line, rows[1:])]


def _share(value: float) -> str:
    return f"{value:g}".lstrip("0")


def _values(figure: Figure) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(v) else round(float(v), 6) for v in (figure.value, figure.low, figure.high))


def _group_dict(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "photos": group.photos,
        "phrases": group.phrases,
        "absent_phrases": group.absent,
        "left_out": group.left_out,
        "sources": {
            source.name: {
                "figures": {name: _values(figure) for name, figure in source.figures.items()},
                "cut_off": None if source.cut_off is None else asdict(source.cut_off),
            }
            for source in group.sources
        },
        "kinds": {
            kind.name: {
                "phrases": kind.phrases,
                "pointing": {name: _values(figure) for name, figure in kind.pointing.items()},
            }
            for kind in group.kinds
        },
    }
