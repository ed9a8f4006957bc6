"""Run the frozen trunk once over every picture and keep what it says (fp16 memory maps, resumable)."""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
)
from crossviz.training.data import load_image
from crossviz.training.trunk import pretrained_body
from crossviz.training.views import View, flickr_crop_views, flickr_views, imagenet_views, mix_views

__all__ = ["Features", "extract", "open_features", "pixels"]


@dataclass(frozen=True)
class Features:
    """Memory maps of fine `view 24 24 171` and coarse `view 12 12 1280` features."""

    fine: np.ndarray
    coarse: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        order = np.argsort(rows)  # read in file order
        back = np.argsort(order)
        return tuple(torch.from_numpy(a[rows[order]][back]) for a in (self.fine, self.coarse))


def pixels(view: View) -> np.ndarray:
    """The model's input: `384 384 3` uint8, the crop squashed with bicubic interpolation."""
    image = load_image(view.photo.path)
    return np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC, box=view.crop))


def extract(views: list[View], folder: Path, batch: int = 16) -> None:
    """Write the features of `views` into `folder`, going on where an earlier run stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "done.txt"
    start = int(progress.read_text()) if progress.exists() else 0
    maps = _open(folder, len(views), "r+" if start else "w+")
    body = pretrained_body().to(memory_format=torch.channels_last)
    began = time.time()
    with ThreadPoolExecutor(1) as pool, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):

        def load(i: int) -> np.ndarray:
            return np.stack([pixels(v) for v in views[i : i + batch]])

        pending = pool.submit(load, start)
        for i in range(start, len(views), batch):
            x = torch.from_numpy(pending.result()).permute(0, 3, 1, 2)
            if i + batch < len(views):
                pending = pool.submit(load, i + batch)
            for target, values in zip((maps.fine, maps.coarse), body((x / 255 - MEAN) / STD), strict=True):
                target[i : i + len(x)] = values.half().numpy()
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
    def one(name: str, grid: int, channels: int) -> np.ndarray:
        path, shape = folder / f"{name}.npy", (count, grid, grid, channels)
        if mode == "w+":
            return np.lib.format.open_memmap(path, mode, np.float16, shape)
        return np.load(path, mmap_mode=mode)

    return Features(one("fine", FINE_GRID, FINE_CHANNELS), one("coarse", COARSE_GRID, COARSE_CHANNELS))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    args = parser.parse_args()
    extract(flickr_views(args.data), args.work / "features" / "flickr")
    extract(mix_views(args.data), args.work / "features" / "mix")
    extract(imagenet_views(args.data), args.work / "features" / "imagenet")
    extract(flickr_crop_views(args.data), args.work / "features" / "flickr_crops")


if __name__ == "__main__":
    main()
