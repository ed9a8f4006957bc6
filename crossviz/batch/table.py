"""A JSONL, CSV or TSV file, a photo and a caption a row; only where rows begin, and ids, are kept in memory."""

import csv
import hashlib
import io
import json
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from crossviz.batch.rows import Columns, Row, Source, caption_of, check_some, photo_of, unique, writable
from crossviz.errors import CaptionError, DatasetError, PhotoError

__all__ = ["SUFFIXES", "TableSource"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
_DAMAGED = "\0damaged"
"""A name that no column has: where a row that can't be read keeps the reason."""


class TableSource(Source):
    """Rows of a table in its own order; paths of photos count from the folder that the file is in.

    A key is what the id column holds (by itself "id", where the first row has one), else the row's number from 0.

    Raises:
        DatasetError: the file can't be read, or has no rows.
    """

    def __init__(self, file: Path, columns: Columns) -> None:
        self._file, self._columns = file, columns
        self._separator = {".csv": ",", ".tsv": "\t"}.get(file.suffix.lower())
        self._header: list[str] = []
        self._id, keys = columns.id, []
        self.kind = "a table of photos"
        starts, digest = array("Q"), hashlib.sha256()
        try:
            with file.open("rb") as opened:
                for start, row in self._records(_Lines(opened, digest)):
                    starts.append(start)
                    if len(starts) == 1 and self._id is None and "id" in row:
                        self._id = "id"
                    if self._id is not None:
                        value = row.get(self._id)
                        keys.append(f"row {len(keys)}" if value in (None, "") else str(value))
                self._end = opened.tell()
        except OSError as error:
            raise DatasetError(f"{file} can't be read ({error.strerror}): check the path.") from None
        self._starts = starts
        check_some(len(starts), f"{file} holds no rows")
        self._keys = unique(keys) if keys else None
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._starts)

    def rows(self, start: int, stop: int) -> list[Row]:
        stop = min(stop, len(self))
        if start >= stop:
            return []
        begin, end = self._starts[start], self._starts[stop] if stop < len(self) else self._end
        with self._file.open("rb") as opened:
            opened.seek(begin)
            data = io.BytesIO(opened.read(end - begin))
        found = [row for _, row in self._records(_Lines(data, None))]
        return [self._row(position, row) for position, row in zip(range(start, stop), found, strict=True)]

    def _row(self, position: int, row: dict[str, Any]) -> Row:
        key = str(position) if self._keys is None else self._keys[position]
        try:
            shown = writable(str(photo_of(row, self._columns.photo))) if _DAMAGED not in row else ""
        except PhotoError:
            shown = ""
        return Row(key, shown, partial(self._photo, row), partial(self._caption, row))

    def _photo(self, row: dict[str, Any]) -> str | Path:
        value = photo_of(row, self._columns.photo)
        if not isinstance(value, str):
            raise PhotoError(f"A photo is named by its path, not by a {type(value).__name__}.")
        return value if value.lower().startswith(("http:", "https:", "data:")) else self._file.parent / value

    def _caption(self, row: dict[str, Any]) -> str:
        if _DAMAGED in row:
            raise CaptionError(row[_DAMAGED])
        if self._columns.id is not None and row.get(self._columns.id) in (None, ""):
            raise CaptionError(f"The row has no {self._columns.id!r}, the column that was named for the rows' names.")
        return caption_of(row, self._columns)

    def _records(self, lines: "_Lines") -> Iterator[tuple[int, dict[str, Any]]]:
        """Where each row begins, and the row; a row that can't be read holds the reason under `_DAMAGED`."""
        return self._json_records(lines) if self._separator is None else self._csv_records(lines)

    def _json_records(self, lines: "_Lines") -> Iterator[tuple[int, dict[str, Any]]]:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                reason = "" if isinstance(row, dict) else "The line holds no JSON object, as {...}."
            except (ValueError, RecursionError) as error:
                reason = f"The line is not JSON ({error})."
            yield lines.start, {_DAMAGED: reason} if reason else row

    def _csv_records(self, lines: "_Lines") -> Iterator[tuple[int, dict[str, Any]]]:
        # The reader takes a line only when it needs one, so that what it has taken ends with the row.
        reader = csv.reader(lines, delimiter=self._separator)
        while True:
            start = lines.end
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield start, {_DAMAGED: f"The row can't be read ({error})."}
                continue
            if not cells:
                continue
            if not self._header:
                self._header = cells
                continue
            row: dict[str, Any] = dict(zip(self._header, cells, strict=False))
            if len(cells) > len(self._header):
                row = {_DAMAGED: f"The row has {len(cells)} cells, and the first line names {len(self._header)}."}
            yield start, row


class _Lines:
    """The lines of a file as text, with where the last one begins and ends in bytes."""

    def __init__(self, opened: io.BufferedIOBase, digest: Any) -> None:
        self._opened, self._digest = opened, digest
        self.start = self.end = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._opened.readline()
        if not line:
            raise StopIteration
        if self._digest is not None:
            self._digest.update(line)
        self.start, self.end = self.end, self.end + len(line)
        # What is not UTF-8 becomes halves of characters, which no caption may hold.
        return line.decode("utf-8-sig" if self.start == 0 else "utf-8", errors="surrogateescape")
