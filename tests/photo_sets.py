"""Tiny sets of photos that the tests build on disk, the same ones in every layout that `crossviz evaluate` reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

COCO_NAMES = {1: "person", 17: "cat", 18: "dog", 62: "chair", 64: "potted plant", 3: "car", 44: "bottle", 84: "book"}


@dataclass(frozen=True)
class Mark:
    """A phrase of a caption, with its id, type and boxes in whole pixels (left, top, right, bottom)."""

    text: str
    id: str
    kind: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """A photo with captions; each a list of plain words and marks, in order."""

    name: str
    wh: tuple[int, int]
    captions: tuple[tuple[str | Mark, ...], ...]
    split: str = "val"


@dataclass(frozen=True)
class Objects:
    """A photo with objects: class number and box; the region of each is its whole box."""

    name: str
    wh: tuple[int, int]
    objects: tuple[tuple[int, Box], ...]
    crowds: tuple[tuple[int, Box], ...] = ()


DOG = Mark("A black dog", "1", "animals", ((4, 6, 24, 30),))
BALL = Mark("a red ball", "2", "other", ((30, 2, 38, 10), (40, 20, 44, 24)))
GRASS = Mark("the grass", "3", "scene")
WOMAN = Mark("A woman", "11", "people", ((10, 4, 30, 44),))
HAT = Mark("a hat", "12", "clothing", ((14, 4, 26, 10),))
CAT = Mark("A cat", "21", "animals", ((2, 2, 40, 30),))
SOFA = Mark("a sofa", "22", "other", ((0, 20, 48, 36),))
CAPTIONED = (
    Captioned("1001", (48, 36), ((DOG, "catches", BALL, "on", GRASS, "."), (DOG, "jumps", "."))),
    Captioned("1002", (40, 50), ((WOMAN, "with", HAT, "smiles", "."),)),
    Captioned("1003", (48, 36), ((CAT, "sleeps", "on", SOFA, "."), ("Nothing", "here", "is", "marked", "."))),
    Captioned("1004", (48, 36), ((Mark("A man", "31", "people", ((5, 5, 20, 30),)), "waits", "."),), "train"),
)
OBJECTS = (
    Objects("000000000001", (48, 36), ((17, (4, 6, 24, 30)), (17, (30, 4, 40, 12)), (62, (26, 20, 46, 34)))),
    Objects("000000000002", (40, 50), ((1, (5, 5, 20, 45)), (3, (22, 30, 38, 44))), ((18, (22, 2, 36, 20)),)),
    Objects("000000000003", (48, 36), ((44, (20, 10, 28, 30)),)),
)


def make_photo(path: Path, wh: tuple[int, int]) -> None:
    """A photo of coloured noise, the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, path.stem)))
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    small.resize(wh, Image.Resampling.BICUBIC).save(path)


def spans_of(words: Sequence[str | Mark]) -> tuple[str, list[tuple[int, int, Mark]]]:
    """The caption's text, and where each mark stands in it."""
    text, spans = "", []
    for word in words:
        text += " " if text else ""
        if isinstance(word, Mark):
            spans.append((len(text), len(text) + len(word.text), word))
        text += word.text if isinstance(word, Mark) else word
    return text, spans


def write_jsonl(root: Path, photos: Sequence[Captioned | Objects], masks: bool = False, boxes: bool = True) -> Path:
    """The set as data.jsonl."""
    rows = []
    for photo in photos:
        make_photo(root / "images" / f"{photo.name}.png", photo.wh)
        row = {"image": f"images/{photo.name}.png", "width": photo.wh[0], "height": photo.wh[1], "captions": []}
        row |= {"boxes": [], "mask": None}
        if isinstance(photo, Captioned):
            row["split"] = photo.split
            known: dict[str, Mark] = {}
            row["grounded"] = []
            for words in photo.captions:
                text, spans = spans_of(words)
                row["captions"].append(text)
                listed = [{"start": s, "end": e, "id": mark.id, "type": [mark.kind]} for s, e, mark in spans]
                row["grounded"].append({"text": text, "spans": listed})
                known |= {mark.id: mark for _, _, mark in spans}
            for mark in known.values():
                row["boxes"] += [
                    {"label": mark.text, "xyxy": box, "id": mark.id, "type": [mark.kind]} for box in mark.boxes
                ]
        else:
            if boxes:
                row["boxes"] = [{"label": COCO_NAMES[n], "xyxy": box, "iscrowd": 0} for n, box in photo.objects]
                row["boxes"] += [{"label": COCO_NAMES[n], "xyxy": box, "iscrowd": 1} for n, box in photo.crowds]
            if masks:
                row["mask"] = f"masks/{photo.name}.png"
                write_mask(root / row["mask"], photo)
        rows.append(row)
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if any(isinstance(photo, Objects) for photo in photos):
        (root / "classes.json").write_text(json.dumps({str(n): name for n, name in COCO_NAMES.items()}))
    return root


def write_entities(root: Path, photos: Sequence[Captioned]) -> Path:
    """The set in the layout of Flickr30k Entities."""
    for folder in ("Sentences", "Annotations"):
        (root / folder).mkdir(parents=True)
    splits: dict[str, list[str]] = {}
    for photo in photos:
        splits.setdefault(photo.split, []).append(photo.name)
        make_photo(root / "flickr30k-images" / f"{photo.name}.png", photo.wh)
        lines, boxes = [], {}
        for words in photo.captions:
            parts = [f"[/EN#{w.id}/{w.kind} {w.text}]" if isinstance(w, Mark) else w for w in words]
            lines.append(" ".join(parts))
            boxes |= {w.id: w.boxes for w in words if isinstance(w, Mark)}
        (root / "Sentences" / f"{photo.name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tree = ElementTree.Element("annotation")
        size = ElementTree.SubElement(tree, "size")
        for name, value in zip(("width", "height", "depth"), (*photo.wh, 3), strict=True):
            ElementTree.SubElement(size, name).text = str(value)
        for number, own in boxes.items():
            for box in own or (None,):
                thing = ElementTree.SubElement(tree, "object")
                ElementTree.SubElement(thing, "name").text = number
                if box is None:
                    ElementTree.SubElement(thing, "scene").text = "1"
                    continue
                bounds = ElementTree.SubElement(thing, "bndbox")
                # Pixels count from 1 there, both ends included.
                ends = (box[0] + 1, box[1] + 1, box[2], box[3])
                for side, value in zip(("xmin", "ymin", "xmax", "ymax"), ends, strict=True):
                    ElementTree.SubElement(bounds, side).text = str(value)
        ElementTree.ElementTree(tree).write(root / "Annotations" / f"{photo.name}.xml")
    for split, names in splits.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def write_coco(root: Path, photos: Sequence[Objects], name: str = "val2017") -> Path:
    """The set in COCO's layout: regions as polygons and, every other one, as run lengths."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    pictures, things = [], []
    for photo in photos:
        make_photo(root / name / f"{photo.name}.png", photo.wh)
        number = int(photo.name)
        pictures.append({"id": number, "file_name": f"{photo.name}.png", "width": photo.wh[0], "height": photo.wh[1]})
        for crowd, listed in ((0, photo.objects), (1, photo.crowds)):
            for category, box in listed:
                x0, y0, x1, y1 = box
                region = [[x0, y0, x1, y0, x1, y1, x0, y1]] if len(things) % 2 and not crowd else rle(box, photo.wh)
                things.append(
                    {"id": len(things), "image_id": number, "category_id": category, "iscrowd": crowd,
                     "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "segmentation": region}
                )  # fmt: skip
    categories = [{"id": number, "name": text} for number, text in COCO_NAMES.items()]
    data = {"images": pictures, "annotations": things, "categories": categories}
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(data))
    captions = [{"image_id": p["id"], "id": p["id"], "caption": f"Photo number {p['id']}."} for p in pictures]
    (root / "annotations" / f"captions_{name}.json").write_text(json.dumps({"annotations": captions}))
    return root


def rle(box: Box, wh: tuple[int, int]) -> dict:
    """A box as COCO's run lengths: pixels off, on, off, ... down the columns."""
    mask = np.zeros((wh[1], wh[0]), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate(([False], flat)).astype(int))).tolist()
    edges = [0, *changes, flat.size]
    return {"size": [wh[1], wh[0]], "counts": np.diff(edges).tolist()}


def write_masks(root: Path, photos: Sequence[Objects]) -> Path:
    """The set as photos with index masks, in VOC's folders."""
    for photo in photos:
        make_photo(root / "JPEGImages" / f"{photo.name}.png", photo.wh)
        write_mask(root / "SegmentationClass" / f"{photo.name}.png", photo)
    (root / "classes.json").write_text(json.dumps({str(n): name for n, name in COCO_NAMES.items()}))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(photo.name for photo in photos[:2]) + "\n")
    return root


def write_mask(path: Path, photo: Objects) -> None:
    """An index mask: each object's box filled with its class, crowds with 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((photo.wh[1], photo.wh[0]), np.uint8)
    for number, (x0, y0, x1, y1) in (*photo.objects, *((255, box) for _, box in photo.crowds)):
        mask[y0:y1, x0:x1] = number
    Image.fromarray(mask).save(path)
