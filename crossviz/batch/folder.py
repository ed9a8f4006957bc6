"""A folder of photos: one caption for all, a table beside them, or photo.txt beside photo.jpg."""

import hashlib
import os
from functools import partial
from pathlib import Path

from crossviz.batch.rows import PHOTO_SUFFIXES, Columns, Row, Source, check_some, plain_text, writable
from crossviz.errors import CaptionError, DatasetError

__all__ = ["TABLES", "FolderSource", "photo_files"]

TABLES = tuple(f"{name}{suffix}" for name in ("captions", "metadata") for suffix in (".jsonl", ".csv", ".tsv"))
"""A file of such a name in the folder is a table that says which photos there are."""
MAX_TEXT_BYTES = 1 << 16


class FolderSource(Source):
    """Every photo in a folder and its subfolders, sorted by path; keys are paths in it.

    Raises:
        DatasetError: there is no photo, or no caption for any.
    """

    def __init__(self, root: Path, columns: Columns) -> None:
        self.kind = "a folder of photos"
        self._root, self._caption = root, columns.caption
        self._names = photo_files(root)
        check_some(len(self._names), f"There is no photo in {root} ({', '.join(PHOTO_SUFFIXES)})")
        if self._caption is None and not any(_text_file(root / name).is_file() for name in self._names):
            raise DatasetError(
                f"The photos in {root} have no captions: give one for all with --caption, put a table "
                f"({', '.join(TABLES[:2])}) into the folder, or a text file beside each photo (photo.txt)."
            )
        self.fingerprint = self._digest()

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name in self._names:
            digest.update(f"{name}\n{_state(self._root / name)}\n".encode(errors="surrogateescape"))
            if self._caption is None:
                digest.update(f"{_state(_text_file(self._root / name))}\n".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._names)

    def rows(self, start: int, stop: int) -> list[Row]:
        return [
            Row(writable(name), writable(name), partial(Path, self._root / name), partial(self._told, name))
            for name in self._names[start:stop]
        ]

    def _told(self, name: str) -> str:
        if self._caption is not None:
            return self._caption
        file = _text_file(self._root / name)
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_TEXT_BYTES)
            return plain_text(data.decode("utf-8-sig"), file.name)
        except UnicodeDecodeError:
            raise CaptionError(f"The caption in {file.name} is not in UTF-8: save it again as UTF-8.") from None
        except OSError as error:
            raise CaptionError(f"There is no caption in {file.name} ({error.strerror}).") from None


def photo_files(root: Path) -> list[str]:
    """The paths of all photos below a folder, by their suffix, sorted; what is hidden is left out."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder).relative_to(root)
        found += [
            (here / name).as_posix()
            for name in files
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _text_file(photo: Path) -> Path:
    return photo.with_suffix(".txt")


def _state(file: Path) -> str:
    """Changes when a file is written; "" where there is none."""
    try:
        status = file.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
