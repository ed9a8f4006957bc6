"""The official layout of Flickr30k Entities: captions with marked phrases, boxes in XML, photos in a folder.

Plummer et al., "Flickr30k Entities: Collecting Region-to-Phrase Correspondences" (ICCV 2015);
https://github.com/BryanPlummer/flickr30k_entities.
"""

import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from crossviz.errors import DatasetError
from crossviz.evaluate.dataset import Box
from crossviz.evaluate.files import find_photo, photo_folder, read_text, split_lists
from crossviz.evaluate.records import Contents, Phrase, Record, Sentence

__all__ = ["LAYOUT", "find", "parse_sentence", "read"]

LAYOUT = "Flickr30k Entities (FOLDER/Sentences/*.txt, FOLDER/Annotations/*.xml, and the photos in a folder beside them)"
_MARK = re.compile(r"\[/EN#(?P<id>\d+)(?P<kinds>(?:/[^\s/\]]+)*)\s+(?P<words>[^\]]*)\]")


def find(path: Path) -> Path | None:
    """The set's folder, where this is such a set."""
    return path if (path / "Sentences").is_dir() and (path / "Annotations").is_dir() else None


def read(path: Path, photos: Path | None = None) -> Contents:
    """All photos of the set, by name.

    Raises:
        DatasetError: a file can't be read, or the photos are not found.
    """
    texts = sorted((path / "Sentences").glob("*.txt"))
    if not texts:
        raise DatasetError(f"There is no caption file in {path.name}/Sentences.")
    beside = [photos] if photos else [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    folder = photo_folder(beside, texts[0].stem, f"the set {path.name}")
    records = []
    for text in texts:
        photo = find_photo(folder, text.stem)
        if photo is None:
            raise DatasetError(f"The photo {text.stem} of the set {path.name} is not in {folder.name}.")
        wh, boxes = _annotation(path / "Annotations" / f"{text.stem}.xml")
        lines = [parse_sentence(line, boxes) for line in read_text(text).splitlines() if line.strip()]
        records.append(Record(photo, wh, tuple(lines)))
    return Contents(LAYOUT, tuple(records), splits=split_lists(path))


def parse_sentence(line: str, boxes: dict[str, list[Box]]) -> Sentence:
    """A caption without its marks: "[/EN#1/people A man] waits ." is "A man waits .", with the phrase "A man"."""
    text, phrases, done = "", [], 0
    line = line.strip()
    for mark in _MARK.finditer(line):
        text += line[done : mark.start()]
        words = " ".join(mark["words"].split())
        kinds = tuple(kind for kind in mark["kinds"].split("/") if kind and kind != "notvisual")
        if words:
            phrases.append(Phrase(len(text), len(text) + len(words), kinds, tuple(boxes.get(mark["id"], ()))))
        text += words
        done = mark.end()
    return Sentence(text + line[done:], tuple(phrases))


def _annotation(path: Path) -> tuple[tuple[int, int], dict[str, list[Box]]]:
    """Width and height, and the boxes of each phrase id. Pixels count from 1 in these files, both ends included."""
    try:
        root = ElementTree.fromstring(read_text(path))
        wh = int(root.findtext("size/width")), int(root.findtext("size/height"))
        boxes: dict[str, list[Box]] = defaultdict(list)
        for thing in root.iter("object"):
            box = thing.find("bndbox")
            if box is None:
                continue
            left, top, right, bottom = (float(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
            for name in thing.findall("name"):
                boxes[name.text].append((left - 1, top - 1, right, bottom))
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DatasetError(f"{path.name} is not an annotation of Flickr30k Entities ({error}).") from None
    return wh, boxes
