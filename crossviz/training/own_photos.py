"""A person's own captioned photos: `data.jsonl`, one photo a line, read and checked before anything is computed.

Every line ends up as a `Photo` whose sentences hold phrases with boxes (there, with their place) or without (there,
place unknown). Where a caption comes without marked phrases, the labels of boxes are looked for in it, and its other
content words count as phrases without boxes.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from crossviz.errors import CrossvizError, DatasetError
from crossviz.photo import load_photo
from crossviz.training.data import Photo, Phrase, Sentence
from crossviz.training.phrases import STOP_WORDS
from crossviz.words import split_words

__all__ = ["FILE", "read_own_photos"]

FILE = "data.jsonl"
Box = tuple[float, float, float, float]
_ROUNDING = 1.0
"""Pixels that a box may stick out of its photo, as rounding makes it do."""


def read_own_photos(folder: Path) -> list[Photo]:
    """All photos that `data.jsonl` in `folder` names, in file order.

    Raises:
        DatasetError: something is missing or wrong; the message names the line.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}: give the folder that holds {FILE} and the photos.")
    try:
        lines = (folder / FILE).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DatasetError(f"There is no {FILE} in {folder}: write one, with one photo a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{FILE} can't be read as UTF-8 text ({error}): save it as UTF-8.") from None
    photos: list[Photo] = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            photo = _photo(folder, _row(line))
            first = seen.setdefault(photo.path.resolve(), number)
            if first != number:
                raise DatasetError(f"this photo is on line {first} already: put all its captions on one line.")
        except CrossvizError as error:
            raise DatasetError(f"{FILE}, line {number}: {error}") from error
        photos.append(photo)
    if not photos:
        raise DatasetError(f"{FILE} names no photo: write one photo a line, with `image` and `captions`.")
    return photos


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"this is no JSON ({error}): write one object in curly brackets a line.") from None
    return _kind(row, dict, "a line must be an object in curly brackets")


def _photo(folder: Path, row: dict[str, Any]) -> Photo:
    name = _kind(row.get("image"), str, "`image` must be the photo's file name, in quotes")
    path = folder / name
    width, height = load_photo(path).wh
    for key, size in (("width", width), ("height", height)):
        if row.get(key, size) != size:
            raise DatasetError(
                f"`{key}` is {row[key]!r:.20}, but {path.name} is {width} x {height} pixels when upright: leave it "
                "out, and check that the boxes are in these pixels."
            )
    split = _kind(row.get("split") or "", str, "`split` must be a text, as in train or test")
    boxes, labels = _boxes(row, width, height)
    grounded = _list(row, "grounded")
    sentences = [_sentence(entry, boxes) for entry in grounded]
    marked = {sentence.text for sentence in sentences}
    used = {str(span["id"]) for entry in grounded for span in entry["spans"]}
    free: dict[str, tuple[Box, ...]] = {}  # by label: boxes that no span names
    for identity, found in boxes.items():
        if identity not in used and labels[identity]:
            free[labels[identity]] = free.get(labels[identity], ()) + found
    for caption in _list(row, "captions"):
        text = _text(caption, "a caption")
        if text not in marked:
            sentences.append(Sentence(text, _own_phrases(text, free)))
    if not sentences:
        raise DatasetError('there are no captions: write at least one, as in "captions": ["a red cup"].')
    sentences += [Sentence(label, (Phrase(0, len(label), (), found),)) for label, found in free.items()]
    return Photo(path, width, height, split, tuple(sentences))


def _boxes(row: dict[str, Any], width: int, height: int) -> tuple[dict[str, tuple[Box, ...]], dict[str, str]]:
    """By id (the label where there is none): boxes inside the photo, and the label."""
    boxes: dict[str, tuple[Box, ...]] = {}
    labels: dict[str, str] = {}
    for entry in _list(row, "boxes"):
        entry = _kind(entry, dict, "a box must be an object with `xyxy` and a `label` or an `id`")
        label = str(entry.get("label") or "").strip()
        identity = str(entry["id"]) if "id" in entry else f"label {label}"
        if "id" not in entry and not split_words(label):
            raise DatasetError("a box has neither a `label` with a word in it nor an `id`: say what it shows.")
        found = entry.get("xyxy")
        if (
            not isinstance(found, list)
            or len(found) != 4
            or any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in found)
        ):
            raise DatasetError(f"`xyxy` of a box must be four numbers [left, top, right, bottom], not {found!r:.60}.")
        x0, y0, x1, y1 = map(float, found)
        if x0 >= x1 or y0 >= y1:
            raise DatasetError(f"the box {found} is empty: left must lie before right, top above bottom.")
        if min(x0, y0) < -_ROUNDING or x1 > width + _ROUNDING or y1 > height + _ROUNDING:
            raise DatasetError(
                f"the box {found} lies outside the photo, which is {width} x {height} pixels: give boxes as [left, "
                "top, right, bottom] in the photo's own pixels."
            )
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        boxes[identity] = (*boxes.get(identity, ()), box)
        labels.setdefault(identity, label if split_words(label) else "")
    return boxes, labels


def _sentence(entry: Any, boxes: dict[str, tuple[Box, ...]]) -> Sentence:
    """A caption with marked phrases; an id that has no box says that the phrase is there, without its place."""
    entry = _kind(entry, dict, "an entry of `grounded` must be an object with `text` and `spans`")
    text = _text(entry.get("text"), "the `text` of a grounded caption")
    phrases = []
    for span in _kind(entry.get("spans"), list, "`spans` of a grounded caption must be a list"):
        span = _kind(span, dict, "a span must be an object with `start`, `end` and `id`")
        start, end = span.get("start"), span.get("end")
        if any(isinstance(v, bool) or not isinstance(v, int) for v in (start, end)) or "id" not in span:
            raise DatasetError("a span needs whole numbers `start` and `end`, and the `id` of its boxes.")
        if not 0 <= start < end <= len(text):
            raise DatasetError(
                f"the span {start} to {end} is not in its caption, which has {len(text)} characters, counted from 0."
            )
        if not split_words(text[start:end]):
            raise DatasetError(f"there is no word in the span {start} to {end} ({text[start:end]!r:.40}).")
        phrases.append(Phrase(start, end, (), boxes.get(str(span["id"]), ())))
    return Sentence(text, tuple(phrases))


def _own_phrases(text: str, labels: dict[str, tuple[Box, ...]]) -> tuple[Phrase, ...]:
    """Labels as they stand in a caption without marked phrases, and its other content words."""
    phrases: list[Phrase] = []
    for label in sorted(labels, key=len, reverse=True):
        for match in re.finditer(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE):
            if not any(p.start < match.end() and match.start() < p.end for p in phrases):
                phrases.append(Phrase(match.start(), match.end(), (), labels[label]))
    for start, end in split_words(text):
        inside = any(p.start < end and start < p.end for p in phrases)
        if not inside and end - start > 2 and text[start:end].lower() not in STOP_WORDS:
            phrases.append(Phrase(start, end, (), ()))
    return tuple(sorted(phrases, key=lambda p: p.start))


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not split_words(value):
        raise DatasetError(f"{what} must be a text with at least one word, not {value!r:.40}.")
    return value


def _list(row: dict[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    return [] if value is None else _kind(value, list, f"`{key}` must be a list in square brackets")


def _kind(value: Any, kind: type, otherwise: str) -> Any:
    if not isinstance(value, kind):
        raise DatasetError(f"{otherwise}, not {value!r:.40}.")
    return value
