"""Run the frozen trunks once over every picture and keep what they say (fp16 memory maps, resumable)."""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from crossviz.models.mini_tower import (
    COARSE_CHANNELS,
    COARSE_GRID,
    FINE_CHANNELS,
    FINE_GRID,
    IMAGE_SIZE,
    MEAN,
    STD,
    MiniBody,
)
from crossviz.training.data import load_image
from crossviz.training.detector import COCO_NAMES, KEPT
from crossviz.training.empty import EMPTY, empty_picture
from crossviz.training.trunk import pretrained_body
from crossviz.training.views import View, flickr_crop_views, flickr_views, imagenet_views, mix_views

__all__ = ["Features", "extract", "open_features", "pixels"]


@dataclass(frozen=True)
class Features:
    """Memory maps of the trunks' fine and coarse features (see `MiniBody`), and of what the detector found.

    found `view KEPT 6`: x0 y0 x1 y1 (shares of the view), score, COCO class; best `view 80`: each class's best score.
    """

    fine: np.ndarray
    coarse: np.ndarray
    found: np.ndarray
    best: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        order = np.argsort(rows)  # read in file order
        back = np.argsort(order)
        return tuple(torch.from_numpy(a[rows[order]][back]) for a in (self.fine, self.coarse))


def pixels(view: View) -> np.ndarray:
    """The model's input: `384 384 3` uint8, the crop squashed with bicubic interpolation."""
    image = load_image(view.photo.path)
    return np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC, box=view.crop))


def extract(
    views: Sequence[Any], folder: Path, body: MiniBody, read: Callable[[Any], np.ndarray] = pixels, batch: int = 16
) -> None:
    """Write the features of `views` into `folder`, going on where an earlier run stopped; `read` makes the pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "done.txt"
    start = int(progress.read_text()) if progress.exists() else 0
    maps = _open(folder, len(views), "r+" if start else "w+")
    began = time.time()
    with ThreadPoolExecutor(1) as pool, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):

        def load(i: int) -> np.ndarray:
            return np.stack([read(v) for v in views[i : i + batch]])

        pending = pool.submit(load, start)
        for i in range(start, len(views), batch):
            x = torch.from_numpy(pending.result()).permute(0, 3, 1, 2)
            if i + batch < len(views):
                pending = pool.submit(load, i + batch)
            fine, coarse = body((x / 255 - MEAN) / STD)
            maps.fine[i : i + len(x)], maps.coarse[i : i + len(x)] = fine.half().numpy(), coarse.half().numpy()
            maps.found[i : i + len(x)], maps.best[i : i + len(x)] = body.detector.found
            if (i // batch) % 20 == 0 or i + batch >= len(views):
                progress.write_text(str(i + len(x)))
                pace = (time.time() - began) / (i + len(x) - start)
                print(f"{folder.name}: {i + len(x)} of {len(views)}, {1000 * pace:.0f} ms a picture", flush=True)


def open_features(folder: Path, count: int) -> Features:
    """The finished features of a folder, read only."""
    if int((folder / "done.txt").read_text()) != count:
        raise ValueError(f"{folder} does not hold {count} pictures: run crossviz.training.features first.")
    return _open(folder, count, "r")


def _open(folder: Path, count: int, mode: str) -> Features:
    def one(name: str, *shape: int) -> np.ndarray:
        path = folder / f"{name}.npy"
        if mode == "w+":
            return np.lib.format.open_memmap(path, mode, np.float16, (count, *shape))
        return np.load(path, mmap_mode=mode)

    fine = one("fine", FINE_GRID, FINE_GRID, FINE_CHANNELS)
    coarse = one("coarse", COARSE_GRID, COARSE_GRID, COARSE_CHANNELS)
    return Features(fine, coarse, one("found", KEPT, 6), one("best", len(COCO_NAMES)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--detector", type=Path, required=True, help="folder with nanodet.json and nanodet.bin")
    args = parser.parse_args()
    body = pretrained_body(args.detector).to(memory_format=torch.channels_last)
    for name, views in (
        ("flickr", flickr_views),
        ("mix", mix_views),
        ("imagenet", imagenet_views),
        ("flickr_crops", flickr_crop_views),
    ):
        extract(views(args.data), args.work / "features" / name, body)
    extract(range(EMPTY), args.work / "features" / "empty", body, empty_picture)


if __name__ == "__main__":
    main()
