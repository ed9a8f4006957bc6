"""Photos with index masks: ADE20K's scene parsing benchmark, Pascal VOC's segmentation, and others built like them."""

from collections.abc import Mapping
from pathlib import Path

from crossviz.errors import DatasetError
from crossviz.evaluate.files import class_numbers, find_photo, split_lists
from crossviz.evaluate.index_mask import NOTHING, IndexMask
from crossviz.evaluate.records import Contents, Record

__all__ = ["LAYOUT", "find", "read"]

LAYOUT = (
    'index masks (FOLDER/classes.json as {"1": "wall", ...}, FOLDER/images or JPEGImages with photos, FOLDER/masks, '
    "annotations or SegmentationClass with a PNG of the same name for each)"
)
_MASKS = ("masks", "annotations", "SegmentationClass")
_PHOTOS = ("images", "JPEGImages", "photos")


def find(path: Path) -> Path | None:
    """The set's folder, where this is such a set."""
    return path if (path / "classes.json").is_file() and _first(path, _MASKS) else None


def read(path: Path, photos: Path | None = None) -> Contents:
    """All photos that have a mask, by name.

    Folders inside the folder of masks (`annotations/validation`), with folders of the same name for the photos, are
    parts of the set, and so are lists of names (`val.txt`, `ImageSets/Segmentation/val.txt`).

    Raises:
        DatasetError: no mask, or the photo of one is not found.
    """
    numbers, masks = class_numbers(path), _first(path, _MASKS)
    folder = photos or _first(path, _PHOTOS)
    if folder is None:
        raise DatasetError(
            f"The set {path.name} has no folder of photos ({', '.join(_PHOTOS)}): name it with --photos."
        )
    records = []
    splits: dict[str, frozenset[str]] = {}
    for part in [masks, *sorted(p for p in masks.iterdir() if p.is_dir())]:
        split = "" if part == masks else part.name
        found = [_record(mask, folder / split, split, numbers) for mask in sorted(part.glob("*.png"))]
        if found and split:
            splits[split] = frozenset(record.photo.stem for record in found)
        records += found
    if not records:
        raise DatasetError(f"There is no PNG in {path.name}/{masks.name}.")
    classes = tuple(dict.fromkeys(name for number, name in numbers.items() if number not in NOTHING))
    return Contents(LAYOUT, tuple(records), classes, splits or split_lists(path))


def _record(mask: Path, folder: Path, split: str, numbers: Mapping[int, str]) -> Record:
    photo = find_photo(folder, mask.stem)
    if photo is None:
        raise DatasetError(f"There is no photo {mask.stem} in the folder {folder.name} for the mask {mask.name}.")
    return Record(photo, masks=IndexMask(mask, numbers), split=split)


def _first(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)
