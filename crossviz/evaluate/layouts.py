"""Opening a folder of photos with answers, whatever its layout, and choosing a part of it."""

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from crossviz.errors import DatasetError
from crossviz.evaluate import coco, entities, jsonl, masks
from crossviz.evaluate.asking import Asking
from crossviz.evaluate.dataset import Dataset, LazyItems
from crossviz.evaluate.records import Contents

__all__ = ["LAYOUTS", "find_sets", "in_fold", "open_dataset", "open_sets", "parse_fold"]

ADAPTERS = (jsonl, entities, coco, masks)
LAYOUTS = tuple(adapter.LAYOUT for adapter in ADAPTERS)
"""What is read, in words, in the order in which it is looked for."""


def open_dataset(
    path: str | Path,
    *,
    split: str | None = None,
    fold: tuple[int, int] | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    photos: str | Path | None = None,
) -> Dataset:
    """Read a set of photos with answers, and make its questions.

    Args:
        path: a folder (or a .jsonl file) in one of `LAYOUTS`.
        split: the part of the set, by its name in the set; None for all of it.
        fold: `(K, N)` or "K/N": only the photos whose file stem's CRC-32 leaves K when divided by N.
        limit: at most this many photos, drawn by the seed.
        seed: for that, and for what absent phrases are asked.
        photos: folder of the photos, where it is not found in the set's folder.

    Raises:
        DatasetError: an unknown layout, a file that can't be read, no such split, no photo left.
    """
    path = Path(path)
    (found, *others) = find_sets(path)
    if found != path:
        names = ", ".join(sub.name for sub in (found, *others))
        raise DatasetError(f"{path.name} holds sets of photos ({names}) and is none itself: open one of them.")
    return _chosen(path, _read(path, photos), split, fold, limit, seed)


def open_sets(
    path: str | Path,
    *,
    split: str | None = None,
    fold: tuple[int, int] | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    photos: str | Path | None = None,
) -> Iterator[Dataset]:
    """The set that a path is, or one after the other those in a folder; arguments and errors as for `open_dataset`.

    In a folder of sets `split` chooses in the sets that have a part of that name, and `fold` in the others.
    """
    path = Path(path)
    found, used = find_sets(path), False
    for own in found:
        contents = _read(own, photos)
        if found == [path]:
            yield _chosen(own, contents, split, fold, limit, seed)
        elif split in contents.splits:
            used = True
            yield _chosen(own, contents, split, None, limit, seed)
        else:
            yield _chosen(own, contents, None, fold, limit, seed)
    if split is not None and found != [path] and not used:
        raise DatasetError(f"None of the sets in {path.name} has a split {split!r:.40}.")


def find_sets(path: str | Path) -> list[Path]:
    """The set that a path is, or those that lie in a folder, by name.

    Raises:
        DatasetError: there is none; the message lists the layouts.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"There is no file or folder {path.name}: give the folder of a set of photos.")
    found = [path] if _adapter(path) else []
    if not found and path.is_dir():
        found = [sub for sub in sorted(path.iterdir()) if sub.is_dir() and _adapter(sub)]
    if not found:
        raise DatasetError(f"{path.name} is in no layout that is known here. Known are: {'; '.join(LAYOUTS)}.")
    return found


def parse_fold(fold: tuple[int, int] | str) -> tuple[int, int]:
    """ "0/5" as (0, 5).

    Raises:
        DatasetError: not of that form, or no such fold.
    """
    if isinstance(fold, str):
        match = re.fullmatch(r"(\d+)/(\d+)", fold)
        fold = (int(match[1]), int(match[2])) if match else (-1, 0)
    part, parts = fold
    if not 0 <= part < parts:
        raise DatasetError('A fold is given as K/N with K from 0 to N - 1, as "0/5" for the first fifth.')
    return part, parts


def in_fold(photo: Path, part: int, parts: int) -> bool:
    """Whether a photo belongs to fold `part` of `parts`, by its file name without suffix."""
    return zlib.crc32(photo.stem.encode()) % parts == part


def _adapter(path: Path):
    return next((adapter for adapter in ADAPTERS if adapter.find(path)), None)


def _read(path: Path, photos: str | Path | None) -> Contents:
    contents = _adapter(path).read(path, None if photos is None else Path(photos))
    if not contents.records:
        raise DatasetError(f"There is no photo in the set {path.name}.")
    return contents


def _chosen(
    path: Path,
    contents: Contents,
    split: str | None,
    fold: tuple[int, int] | str | None,
    limit: int | None,
    seed: int,
) -> Dataset:
    rows: Sequence[int] = range(len(contents.records))
    parts = []
    if split is not None:
        rows = _split(contents, path, split)
        parts.append(f"split {split}")
    asking = Asking(contents.records, rows, contents.classes, seed)
    if fold is not None:
        part, of = parse_fold(fold)
        rows = [row for row in rows if in_fold(contents.records[row].photo, part, of)]
        parts.append(f"fold {part}/{of}")
    if limit is not None:
        if limit < 1:
            raise DatasetError(f"The limit is the number of photos to take, at least 1, not {limit}.")
        rows = random.Random(seed).sample(rows, min(limit, len(rows)))
        parts.append(f"at most {limit} photos")
    if not rows:
        raise DatasetError(f"No photo of the set {path.name} is in {', '.join(parts)}: choose another part.")
    name = path.stem if path.is_file() else path.resolve().name
    return Dataset(name, LazyItems(rows, asking), contents.layout.partition(" (")[0], ", ".join(parts) or "all")


def _split(contents: Contents, path: Path, split: str) -> Sequence[int]:
    if split not in contents.splits:
        names = ", ".join(sorted(contents.splits)) or "none"
        raise DatasetError(f"The set {path.name} has no split {split!r:.40}. It has: {names}.")
    # Folders of one set may hold photos of the same name; then the record's own split decides.
    stems = contents.splits[split]
    own = [i for i, r in enumerate(contents.records) if r.split == split]
    return own or [i for i, r in enumerate(contents.records) if r.photo.stem in stems]
