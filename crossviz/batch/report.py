"""What became of a run, for people: how many rows, and which were set aside and why."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from crossviz.batch.files import write_whole

__all__ = ["Summary", "summary", "write_report"]

MOST_NAMED = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """How many rows were explained and set aside, in all and by this run."""

    good: int
    bad: int
    done_now: int
    seconds: float


def summary(out: Path, done_now: int, seconds: float) -> Summary:
    """Count the rows of all blocks that are done."""
    good, bad = (
        sum(pq.read_metadata(file).num_rows for file in sorted((out / name).glob("part-*.parquet")))
        for name in ("rows", "bad")
    )
    return Summary(good, bad, done_now, seconds)


def write_report(out: Path, found: Summary, title: str) -> None:
    """Write OUT/report.md; the rows that were set aside are all in OUT/bad, and the first of them here."""
    rows = [
        row
        for file in sorted((out / "bad").glob("part-*.parquet"))
        for row in pq.read_table(file, columns=["key", "photo", "reason"]).to_pylist()
    ]
    lines = [f"# {_plain(title)}", "", f"{found.good:,} rows explained, {found.bad:,} set aside."]
    if rows:
        lines += ["", "| rows | reason |", "|---|---|"]
        reasons = Counter(_kind(row["reason"], row["photo"]) for row in rows)
        lines += [f"| {count:,} | {_plain(reason)} |" for reason, count in reasons.most_common(20)]
        lines += ["", "| row | reason |", "|---|---|"]
        lines += [f"| {_plain(row['key'])} | {_plain(row['reason'])} |" for row in rows[:MOST_NAMED]]
        if len(rows) > MOST_NAMED:
            lines += ["", f"And {len(rows) - MOST_NAMED:,} more: all are in the folder bad."]
    write_whole(out / "report.md", ("\n".join(lines) + "\n").encode(), out / ".tmp" / "report.md")


def _kind(reason: str, photo: str) -> str:
    """A reason without the photo's own name, so that equal ones are counted together."""
    return reason.replace(repr(photo.rsplit("/", 1)[-1]), "The photo")


def _plain(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:300]
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>|#" else char for char in shown)
