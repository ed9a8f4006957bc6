"""Which pictures are fed to the trunk: whole photos, and crops of the photos that have masks or boxes."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crossviz.evaluate.layouts import in_fold
from crossviz.training.data import Photo, read_set

__all__ = ["MIX_SETS", "View", "flickr_crop_views", "flickr_views", "imagenet_views", "is_held_out", "mix_views"]

MIX_SETS = ("ade20k_val", "coco_mini", "mlperf_coco_tiny")


@dataclass(frozen=True)
class View:
    """A photo, or the part `crop` of it (xyxy in its pixels); the model sees it squashed to a square."""

    photo: Photo
    source: str
    crop: tuple[float, float, float, float]
    held_out: bool = False
    whole: bool = True


def is_held_out(path: Path) -> bool:
    """A fifth of the photos, by file name: never trained on."""
    return in_fold(path, 0, 5)


def flickr_views(data: Path) -> list[View]:
    """Every Flickr8k photo, whole; the dev split is held out."""
    return [_whole(p, "flickr8k_entities", p.split != "train") for p in read_set(data, "flickr8k_entities")]


def flickr_crop_views(data: Path, seed: int = 0, copies: int = 2) -> list[View]:
    """Random crops of every Flickr8k training photo, copy after copy."""
    rng = random.Random(seed)
    photos = [p for p in read_set(data, "flickr8k_entities") if p.split == "train"]
    return [View(p, "flickr8k_entities", _random_crop(p, rng), whole=False) for _ in range(copies) for p in photos]


def mix_views(data: Path, seed: int = 0, zooms: int = 4) -> list[View]:
    """Every ADE20K, COCO and MLPerf photo whole, and for training a random crop and zooms on single objects.

    A class that a crop cuts away is a true hard negative of its class.
    """
    rng = random.Random(seed)
    views = []
    for name in MIX_SETS:
        for photo in read_set(data, name):
            held_out = is_held_out(photo.path)
            views.append(_whole(photo, name, held_out))
            if held_out:
                continue
            views.append(View(photo, name, _random_crop(photo, rng), whole=False))
            boxes = _object_boxes(photo)
            for box in rng.sample(boxes, min(zooms, len(boxes))):
                views.append(View(photo, name, _zoom(photo, box, rng), whole=False))
    return views


def imagenet_views(data: Path) -> list[View]:
    """The 150 ImageNet photos, whole: none is trained on."""
    return [_whole(p, "imagenet_val300", True) for p in read_set(data, "imagenet_val300")]


def _whole(photo: Photo, source: str, held_out: bool) -> View:
    return View(photo, source, (0.0, 0.0, float(photo.width), float(photo.height)), held_out)


def _random_crop(photo: Photo, rng: random.Random) -> tuple[float, float, float, float]:
    w, h = photo.width * rng.uniform(0.5, 0.85), photo.height * rng.uniform(0.5, 0.85)
    x, y = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
    return (x, y, x + w, y + h)


def _zoom(photo: Photo, box: tuple[float, ...], rng: random.Random) -> tuple[float, float, float, float]:
    """A window of 1 to 1.7 times the object, at least 48 pixels wide, somewhere around it, inside the photo."""
    spans = []
    for low, high, size in ((box[0], box[2], photo.width), (box[1], box[3], photo.height)):
        side = min(size, max(48.0, (high - low) * rng.uniform(1.0, 1.7)))
        start = (low + high - side) / 2 + (side - (high - low)) / 2 * rng.uniform(-0.8, 0.8)
        start = min(max(start, 0.0), size - side)
        spans.append((start, start + side))
    return (spans[0][0], spans[1][0], spans[0][1], spans[1][1])


def _object_boxes(photo: Photo) -> list[tuple[float, ...]]:
    boxes = [box for _, box in photo.boxes]
    if not boxes and photo.mask is not None:
        mask = np.asarray(Image.open(photo.mask))
        for index in np.unique(mask):
            if index == 0:
                continue
            ys, xs = np.nonzero(mask == index)
            boxes.append((float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)))
    area = photo.width * photo.height
    return [b for b in boxes if 0.005 < (b[2] - b[0]) * (b[3] - b[1]) / area < 0.6]
