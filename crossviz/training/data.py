"""Photos, captions and phrase boxes, as the training and evaluation code sees them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

__all__ = ["Photo", "Phrase", "Sentence", "load_image", "read_set"]


@dataclass(frozen=True)
class Phrase:
    """A run of words of a caption with the boxes that it means (none: a scene, or not annotated)."""

    start: int
    end: int
    kinds: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Sentence:
    """A caption with its phrases."""

    text: str
    phrases: tuple[Phrase, ...]


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
    boxes: dict[str, list] = {}
    kinds: dict[str, tuple[str, ...]] = {}
    for box in row["boxes"]:
        if "id" in box:
            boxes.setdefault(box["id"], []).append(tuple(map(float, box["xyxy"])))
            kinds[box["id"]] = tuple(box.get("type", ()))
    sentences = []
    for sentence in row.get("grounded") or [{"text": text, "spans": []} for text in row["captions"]]:
        spans = [
            Phrase(s["start"], s["end"], kinds.get(s["id"], ()), tuple(boxes.get(s["id"], ())))
            for s in sentence["spans"]
        ]
        sentences.append(Sentence(sentence["text"], tuple(spans)))
    return Photo(
        root / row["image"],
        row["width"],
        row["height"],
        row.get("split", ""),
        tuple(sentences),
        tuple((b["label"], tuple(map(float, b["xyxy"]))) for b in row["boxes"]),
        root / row["mask"] if row.get("mask") else None,
        row.get("classes", {}),
        row.get("label_index", -1),
    )
