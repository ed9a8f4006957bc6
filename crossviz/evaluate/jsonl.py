"""A set in one JSONL file, one photo a line: the format for a user's own photos (docs/evaluate.md)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossviz.errors import DatasetError
from crossviz.evaluate.dataset import Box
from crossviz.evaluate.files import class_numbers, read_text
from crossviz.evaluate.index_mask import IndexMask
from crossviz.evaluate.records import Contents, Phrase, Record, Sentence

__all__ = ["LAYOUT", "find", "read", "sentences"]

LAYOUT = "JSONL (FOLDER/data.jsonl or FILE.jsonl, one photo a line)"


def find(path: Path) -> Path | None:
    """The set's file, where this is such a set."""
    file = path / "data.jsonl" if path.is_dir() else path
    return file if file.is_file() and file.suffix == ".jsonl" else None


def read(path: Path, photos: Path | None = None) -> Contents:
    """All photos of the set, in the file's order; the photos' names count from the file's folder, or from `photos`.

    Raises:
        DatasetError: the file can't be read, or a line of it lacks what it needs.
    """
    file = find(path)
    numbers = class_numbers(file.parent)
    records = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            records.append(_record(row, file.parent, photos or file.parent, numbers))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise DatasetError(f"Line {number} of {file.name} does not describe a photo: {what}.") from None
    labels = [name for r in records for name in (*(n for n, _ in r.objects), *sorted(r.unsure))]
    classes = tuple(dict.fromkeys([*numbers.values(), *sorted(set(labels))]))
    splits: dict[str, set[str]] = {}
    for record in records:
        if record.split:
            splits.setdefault(record.split, set()).add(record.photo.stem)
    return Contents(LAYOUT, tuple(records), classes, {name: frozenset(stems) for name, stems in splits.items()})


def sentences(row: Mapping[str, Any]) -> tuple[Sentence, ...]:
    """The captions of a line with their phrases.

    Raises:
        KeyError, TypeError, ValueError: a part is missing or of the wrong type.
    """
    boxes: dict[str, list[Box]] = {}
    kinds: dict[str, tuple[str, ...]] = {}
    for box in row.get("boxes") or ():
        if "id" in box:
            boxes.setdefault(box["id"], []).append(_box(box["xyxy"]))
            kinds[box["id"]] = tuple(box.get("type", ()))
    found = []
    for sentence in row.get("grounded") or [{"text": text, "spans": ()} for text in row.get("captions") or ()]:
        text, phrases = sentence["text"], []
        for span in sentence.get("spans", ()):
            start, end, name = int(span["start"]), int(span["end"]), span.get("id", "")
            if not 0 <= start < end <= len(text):
                raise ValueError(f"the span ({start}, {end}) is not in the {len(text)} characters of {text!r:.60}")
            own = tuple(span["type"]) if "type" in span else kinds.get(name, ())
            phrases.append(Phrase(start, end, own, tuple(boxes.get(name, ()))))
        found.append(Sentence(text, tuple(phrases)))
    return tuple(found)


def _record(row: Mapping[str, Any], root: Path, photos: Path, numbers: Mapping[int, str]) -> Record:
    objects, unsure = [], set()
    for box in row.get("boxes") or ():
        if "id" not in box:
            objects.append((str(box["label"]), _box(box["xyxy"])))
            if box.get("iscrowd"):
                unsure.add(str(box["label"]))
    mask = row.get("mask")
    if mask and not numbers:
        raise ValueError("it names a mask, and there is no classes.json beside the file that says what its numbers are")
    return Record(
        photo=photos / row["image"],
        wh=(int(row["width"]), int(row["height"])) if row.get("width") and row.get("height") else None,
        sentences=sentences(row),
        objects=tuple(objects),
        unsure=frozenset(unsure),
        masks=IndexMask(root / mask, numbers) if mask else None,
        split=str(row.get("split") or ""),
        label=str(row.get("label") or ""),
        label_index=int(row.get("label_index", -1)),
    )


def _box(xyxy: Any) -> Box:
    left, top, right, bottom = map(float, xyxy)
    if not (left < right and top < bottom):
        raise ValueError(f"the box {list(xyxy)} has no area (left, top, right, bottom in pixels)")
    return left, top, right, bottom
