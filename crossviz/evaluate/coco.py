"""COCO's layout: `instances_*.json` with boxes and regions, photos in a folder, captions beside it where there are.

Lin et al., "Microsoft COCO: Common Objects in Context" (ECCV 2014); https://cocodataset.org/#format-data.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import DatasetError
from crossviz.evaluate.files import photo_folder, read_json
from crossviz.evaluate.records import Contents, Record, Sentence

__all__ = ["LAYOUT", "DrawnMasks", "draw_region", "find", "read"]

LAYOUT = "COCO (FOLDER/instances_NAME.json or FOLDER/annotations/instances_NAME.json, and the photos in a folder NAME)"


def find(path: Path) -> Path | None:
    """The set's folder, where this is such a set."""
    return path if path.is_dir() and _files(path) else None


def read(path: Path, photos: Path | None = None) -> Contents:
    """All photos of all `instances_*.json`, in the files' order; each file is a part of the set, by its NAME.

    Raises:
        DatasetError: a file can't be read, or the photos are not found.
    """
    records, splits, classes = [], {}, {}
    for file in _files(path):
        name = file.stem.removeprefix("instances_")
        found, names = _records(file, path, photos, name)
        splits[name] = frozenset(record.photo.stem for record in found)
        classes |= dict.fromkeys(names)
        records += found
    return Contents(LAYOUT, tuple(records), tuple(classes), splits)


@dataclass(frozen=True)
class DrawnMasks:
    """Regions of a photo's objects, drawn when they are asked for; `regions` by class, as COCO's `segmentation`."""

    wh: tuple[int, int]
    regions: dict[str, tuple[Any, ...]]

    def present(self) -> Collection[str]:
        """Names of the classes with a region."""
        return list(self.regions)

    def __call__(self, name: str) -> NDArray[np.bool_]:
        """The union of the class's regions: `H W`.

        Raises:
            DatasetError: a region can't be drawn.
        """
        return np.logical_or.reduce([draw_region(region, self.wh) for region in self.regions[name]])


def draw_region(region: Any, wh: tuple[int, int]) -> NDArray[np.bool_]:
    """One `segmentation` as pixels `H W`: polygons (lists of x, y), or run lengths down the columns (RLE).

    Raises:
        DatasetError: it is neither, or does not fill the photo.
    """
    width, height = wh
    try:
        if isinstance(region, list):
            return np.logical_or.reduce([_fill(polygon, wh) for polygon in region])
        counts = region["counts"]
        runs = _unpack(counts) if isinstance(counts, str) else [int(n) for n in counts]
        (rows, columns), total = region["size"], sum(runs)
    except (TypeError, KeyError, ValueError, IndexError):
        raise DatasetError("A `segmentation` is neither a list of polygons nor run lengths (counts, size).") from None
    if (columns, rows) != wh or total != width * height:
        raise DatasetError(
            f"Run lengths for {columns} x {rows} pixels ({total} in all) do not fill {width} x {height}."
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _fill(polygon: list[float], wh: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres lie in a polygon, by the even-odd rule. Pillow's own would widen it by half a pixel."""
    corners = np.reshape(np.asarray(polygon, float), (-1, 2))
    turns = np.zeros((wh[1], wh[0] + 1), bool)  # where a row enters or leaves; one column more, for beyond the photo
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        low, high = np.clip(np.ceil(np.array(sorted((y0, y1))) - 0.5), 0, wh[1]).astype(int)
        if low < high:
            rows = np.arange(low, high)
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            turns[rows, np.clip(np.ceil(x - 0.5), 0, wh[0]).astype(int)] ^= True
    return np.logical_xor.accumulate(turns, axis=1)[:, :-1]


def _unpack(text: str) -> list[int]:
    """COCO's compressed run lengths: five bits a character, low ones first, from the third on as differences."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            value |= (bits & 31) << shift
            more, shift, place = bool(bits & 32), shift + 5, place + 1
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("instances_*.json")) or sorted((path / "annotations").glob("instances_*.json"))


def _records(file: Path, root: Path, photos: Path | None, name: str) -> tuple[list[Record], list[str]]:
    data = read_json(file)
    try:
        names = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        pictures = {int(p["id"]): p for p in data["images"]}
        things: dict[int, list[dict]] = defaultdict(list)
        for thing in data["annotations"]:
            things[int(thing["image_id"])].append(thing)
    except (TypeError, KeyError, ValueError) as error:
        raise DatasetError(f"{file.name} is not a file of COCO instances ({error!r}).") from None
    captions = _captions(file.with_name(f"captions_{name}.json"))
    folder = root
    if pictures:
        beside = [root / name, root / "images" / name, root / "images", root]
        first = str(next(iter(pictures.values()))["file_name"])
        folder = photo_folder([photos / name, photos] if photos else beside, first, f"the set {root.name}")
    records = [
        _record(folder, picture, things[number], names, captions[number], name) for number, picture in pictures.items()
    ]
    return records, list(names.values())


def _captions(file: Path) -> dict[int, list[Sentence]]:
    captions: dict[int, list[Sentence]] = defaultdict(list)
    if file.exists():
        for row in read_json(file)["annotations"]:
            captions[int(row["image_id"])].append(Sentence(str(row["caption"]).strip()))
    return captions


def _record(
    folder: Path, picture: dict, things: Sequence[dict], names: dict[int, str], captions: list[Sentence], split: str
) -> Record:
    wh = int(picture["width"]), int(picture["height"])
    unsure = frozenset(names[int(t["category_id"])] for t in things if t.get("iscrowd"))
    objects, regions = [], defaultdict(list)
    for thing in things:
        label = names[int(thing["category_id"])]
        left, top, width, height = map(float, thing["bbox"])
        if width > 0 and height > 0:
            objects.append((label, (left, top, left + width, top + height)))
            if thing.get("segmentation"):
                regions[label].append(thing["segmentation"])
    masks = DrawnMasks(wh, {label: tuple(parts) for label, parts in regions.items()}) if regions else None
    return Record(folder / picture["file_name"], wh, tuple(captions), tuple(objects), unsure, masks, split)
