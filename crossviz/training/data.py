"""Photos, captions and phrase boxes, as the training and evaluation code sees them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from crossviz.evaluate.jsonl import sentences
from crossviz.evaluate.records import Phrase, Sentence

__all__ = ["Photo", "Phrase", "Sentence", "load_image", "read_set"]


@dataclass(frozen=True)
class Photo:
    """One annotated photo; `boxes` holds (label, xyxy) in its pixels."""

    path: Path
    width: int
    height: int
    split: str = ""
    sentences: tuple[Sentence, ...] = ()
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()
    mask: Path | None = None
    classes: dict[str, float] = field(default_factory=dict)
    label: int = -1


def read_set(data: Path, name: str) -> list[Photo]:
    """All photos of one set of the data folder, in file order."""
    root = data / name
    with open(root / "data.jsonl", encoding="utf-8") as lines:
        return [_photo(root, json.loads(line)) for line in lines]


def load_image(path: Path) -> Image.Image:
    """The photo in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def _photo(root: Path, row: dict) -> Photo:
    return Photo(
        root / row["image"],
        row["width"],
        row["height"],
        row.get("split", ""),
        sentences(row),
        tuple((b["label"], tuple(map(float, b["xyxy"]))) for b in row["boxes"]),
        root / row["mask"] if row.get("mask") else None,
        row.get("classes", {}),
        row.get("label_index", -1),
    )
