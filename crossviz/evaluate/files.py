"""Reading what sets of photos are made of, with one clear sentence where something is wrong."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crossviz.errors import DatasetError

__all__ = ["PHOTO_SUFFIXES", "class_numbers", "photo_folder", "read_json", "read_text", "split_lists"]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".JPG", ".JPEG", ".PNG")
_LISTS = ("", "ImageSets/Segmentation", "ImageSets/Main")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DatasetError: it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path.name} of the set {path.parent.name} can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path.name} of the set {path.parent.name} is not UTF-8 text.") from None


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DatasetError: it can't be read.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DatasetError(f"{path.name} of the set {path.parent.name} is not JSON ({error}).") from None


def class_numbers(folder: Path) -> Mapping[int, str]:
    """`classes.json` beside a set: number of a class in the masks to its name. Empty where there is no such file.

    Raises:
        DatasetError: it is not an object of numbers and names.
    """
    path = folder / "classes.json"
    if not path.exists():
        return {}
    found = read_json(path)
    try:
        return {int(number): str(name) for number, name in found.items()}
    except (AttributeError, ValueError):
        raise DatasetError(
            f'classes.json of the set {folder.name} must be an object of numbers and names, as {{"1": "wall"}}.'
        ) from None


def photo_folder(candidates: Iterable[Path], name: str, what: str) -> Path:
    """The first of some folders that holds the photo `name` (its suffix may be left out).

    Raises:
        DatasetError: none does.
    """
    candidates = [path for path in candidates if path.is_dir()]
    for folder in candidates:
        if find_photo(folder, name):
            return folder
    looked = ", ".join(path.name for path in candidates[:6]) or "no folder"
    raise DatasetError(
        f"The photos of {what} were not found (looked for {name} in {looked}): name their folder with --photos."
    )


def find_photo(folder: Path, name: str) -> Path | None:
    """The photo of that file name, or of that name with one of `PHOTO_SUFFIXES`; None where there is none."""
    tries = [folder / name, *(folder / f"{name}{suffix}" for suffix in PHOTO_SUFFIXES)]
    return next((path for path in tries if path.is_file()), None)


def split_lists(root: Path) -> Mapping[str, frozenset[str]]:
    """The parts of a set by lists of photo names: `train.txt`, `val.txt`, ... in its folder or where VOC has them."""
    splits = {}
    for folder in _LISTS:
        for path in sorted((root / folder).glob("*.txt")):
            names = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
            if path.stem.lower() not in ("readme", "licence", "license") and names:
                splits.setdefault(path.stem, frozenset(Path(name).stem for name in names))
    return splits
