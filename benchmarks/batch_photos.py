"""Photos to measure with, made from the repository's own: crops of 640 x 480, as JPEG, with captions in a table."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from crossviz.paths import assets_dir

__all__ = ["CAPTIONS", "make_photos"]

WH = (640, 480)
CAPTIONS = (
    "a photographer in a coat and his camera on a tripod, with no dog",
    "an astronaut in an orange suit stands before a flag",
    "a cup of coffee with a spoon on a wooden table",
    "a windmill on a hill under a cloudy sky",
    "the head of a cat that looks into the camera",
    "two windmills beside a canal in the evening",
)


def make_photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Write so many photos and the table `photos.jsonl`; no two photos are the same crop."""
    files = sorted(file for name in ("examples", "finetune-example") for file in (assets_dir() / name).glob("*.jpg"))
    rng, lines = np.random.default_rng(seed), []
    for number in range(count):
        with Image.open(files[number % len(files)]) as opened:
            photo = opened.convert("RGB")
        share = rng.uniform(0.6, 1.0)
        width, height = (max(8, round(side * share)) for side in photo.size)
        left, top = (
            int(rng.integers(0, side - own + 1)) for side, own in zip(photo.size, (width, height), strict=True)
        )
        photo.resize(WH, box=(left, top, left + width, top + height)).save(folder / f"{number:05d}.jpg", quality=90)
        caption = f"{CAPTIONS[number % len(CAPTIONS)]}, number {number}"  # no two are the same
        lines.append(json.dumps({"photo": f"{number:05d}.jpg", "caption": caption}))
    table = folder / "photos.jsonl"
    table.write_text("\n".join(lines))
    return table
