"""A CSV log, one row a line, appended to."""

import csv
from pathlib import Path

__all__ = ["CsvLog"]


class CsvLog:
    """Rows of figures under fixed column names; `last` is the newest row as text."""

    def __init__(self, path: Path, columns: list[str], resume: bool = False) -> None:
        self.path, self.columns, self.last = path, columns, ""
        if not (resume and path.exists()):
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(columns)

    def write(self, *values: float) -> None:
        """Append one row, in the order of the columns."""
        row = [str(v) if isinstance(v, int) else f"{v:.5g}" for v in values]
        self.last = ", ".join(f"{c} {v}" for c, v in zip(self.columns, row, strict=True))
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
