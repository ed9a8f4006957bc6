"""WebDataset shards: tar files in which the members of one name make up one row."""

import hashlib
import json
import re
import tarfile
from array import array
from bisect import bisect_right
from functools import partial
from pathlib import Path
from typing import Any

from crossviz.batch.rows import PHOTO_SUFFIXES, Columns, Row, Source, caption_of, check_some, plain_text, unique
from crossviz.errors import CaptionError, DatasetError, PhotoError
from crossviz.photo import MAX_BYTES

__all__ = ["ShardSource", "expand"]

_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")
"""As WebDataset has it: what comes before the first dot of the last part, and what comes after it."""
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_PHOTOS = tuple(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES)
_TEXTS = ("txt", "caption", "json")
MAX_TEXT_BYTES = 1 << 20
MAX_SHARDS = 1_000_000


class ShardSource(Source):
    """The rows of some shards in their order, each read by its place in its shard: none is read from its start again.

    A key is the shard's name and the row's in it, "train-007/000123".

    Raises:
        DatasetError: a shard can't be read, or there are no rows.
    """

    def __init__(self, shards: list[Path], columns: Columns) -> None:
        self.kind = "WebDataset shards"
        self._shards, self._columns = shards, columns
        self._keys: list[str] = []
        self._suffixes: list[str] = []  # of the photo
        # Four numbers a row: where its photo is and how long, and the same of its caption; length 0 for none.
        self._places = array("Q")
        self._json = array("B")  # whether the caption is in a JSON
        ends, digest = [], hashlib.sha256()
        for shard in shards:
            try:
                status = shard.stat()
                self._list(shard)
            except (OSError, tarfile.TarError) as error:
                raise DatasetError(
                    f"The shard {shard.name} can't be read as a tar file ({_reason(error)}): shards are .tar files "
                    "that are not compressed; make or download it again."
                ) from None
            ends.append(len(self._keys))
            digest.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        self._ends = self.boundaries = tuple(ends)
        check_some(len(self._keys), f"There are no rows in {len(shards)} shards")
        self._keys = unique(self._keys)
        self.fingerprint = digest.hexdigest()

    def _list(self, shard: Path) -> None:
        """Note every row of a shard: neighbouring members of one name."""
        with tarfile.open(shard, "r:") as opened:
            name, members = None, {}
            for member in opened:
                found = _NAME.fullmatch(member.name.removeprefix("./"))
                if not member.isreg() or member.issparse() or found is None:
                    continue
                if found[1] != name:
                    self._note(shard, name, members)
                    name, members = found[1], {}
                members[found[2].lower()] = (member.offset_data, member.size)
                opened.members = []  # tarfile keeps them all
            self._note(shard, name, members)
            end = _bytes(shard, opened.offset, tarfile.BLOCKSIZE, PhotoError)
        if end != tarfile.NUL * tarfile.BLOCKSIZE:  # what comes after damage would be left out without a word
            raise tarfile.ReadError("it is cut off, or damaged inside")

    def _note(self, shard: Path, name: str | None, members: dict[str, tuple[int, int]]) -> None:
        if name is None:
            return
        photo = next((suffix for suffix in _PHOTOS if suffix in members), "")
        text = next((suffix for suffix in _TEXTS if suffix in members), "")
        self._keys.append(f"{shard.name.removesuffix('.tar')}/{name}")
        self._suffixes.append(photo)
        self._places.extend((*members.get(photo, (0, 0)), *members.get(text, (0, 0))))
        self._json.append(text == "json")

    def __len__(self) -> int:
        return len(self._keys)

    def rows(self, start: int, stop: int) -> list[Row]:
        found = []
        for position in range(start, min(stop, len(self))):
            shard = self._shards[bisect_right(self._ends, position)]
            photo_at, photo_size, text_at, text_size = self._places[4 * position : 4 * position + 4]
            key, suffix = self._keys[position], self._suffixes[position]
            read = partial(_photo, shard, photo_at, photo_size)
            told = partial(_caption, shard, text_at, text_size, bool(self._json[position]), self._columns)
            found.append(Row(key, f"{key}.{suffix}" if suffix else key, read, told))
        return found


def _photo(shard: Path, at: int, size: int) -> bytes:
    if not size:
        raise PhotoError(f"The row has no photo in its shard ({', '.join(_PHOTOS)}), or an empty one.")
    return _bytes(shard, at, min(size, MAX_BYTES + 1), PhotoError)


def _caption(shard: Path, at: int, size: int, in_json: bool, columns: Columns) -> str:
    if columns.caption is not None:
        return columns.caption
    if not size:
        raise CaptionError(f"The row has no caption in its shard ({', '.join(_TEXTS)}), or an empty one.")
    if size > MAX_TEXT_BYTES:
        raise CaptionError(f"The row's caption has {size:,} bytes, and at most {MAX_TEXT_BYTES:,} are read.")
    data = _bytes(shard, at, size, CaptionError)
    try:
        text = data.decode("utf-8-sig")
        row: Any = json.loads(text) if in_json else None
    except UnicodeDecodeError:
        raise CaptionError("The row's caption is not in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise CaptionError(f"The row's JSON can't be read ({error}).") from None
    if not in_json:
        return plain_text(text, "its text member")
    if not isinstance(row, dict):
        raise CaptionError("The row's JSON holds no object, as {...}.")
    return caption_of(row, columns)


def _bytes(shard: Path, at: int, size: int, error: type[CaptionError | PhotoError]) -> bytes:
    try:
        with shard.open("rb") as opened:
            opened.seek(at)
            return opened.read(size)
    except OSError as problem:
        raise error(f"The shard {shard.name} can't be read ({problem.strerror}).") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def expand(pattern: str) -> list[str]:
    """A name with ranges, as "x-{000..009}.tar", to all the names that it stands for.

    Raises:
        DatasetError: they are far too many.
    """
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    if last - first >= MAX_SHARDS:
        raise DatasetError(f"{pattern} names {last - first + 1:,} files, and at most {MAX_SHARDS:,} are taken.")
    names = (f"{pattern[: found.start()]}{n:0{len(found[1])}d}{pattern[found.end() :]}" for n in range(first, last + 1))
    return [name for each in names for name in expand(each)]
