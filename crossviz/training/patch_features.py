"""Run crossviz-mini's image tower once over every Flickr8k photo and keep its patches (an fp16 memory map, resumable).

coca-mini and vilt-mini stand on these patches, and never change the tower: `python -m crossviz.training.patch_features
--data DIR --work DIR`. Rows are the photos in file order, and after them the training photos once more, mirrored.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crossviz.models import load_model
from crossviz.models.mini_tower import FINE_GRID, IMAGE_SIZE, MEAN, STD
from crossviz.training.data import Photo, load_image, read_set

__all__ = ["DIM", "PatchFeatures", "open_patches"]

DIM = 256
BATCH = 16


@dataclass(frozen=True)
class Row:
    """One picture: a photo as it is, or mirrored."""

    photo: Photo
    mirrored: bool


@dataclass(frozen=True)
class PatchFeatures:
    """The patches of every row, `row 24 24 256` in fp16, read from disk as they are asked for."""

    rows: tuple[Row, ...]
    maps: np.ndarray

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Patches `row 24 24 256`, float32."""
        return torch.from_numpy(np.stack([self.maps[row] for row in rows])).float()


def all_rows(data: Path) -> tuple[Row, ...]:
    """Every Flickr8k photo, then every training photo mirrored."""
    photos = read_set(data, "flickr8k_entities")
    return (*(Row(p, False) for p in photos), *(Row(p, True) for p in photos if p.split == "train"))


def open_patches(data: Path, work: Path) -> PatchFeatures:
    """The finished patches, read only.

    Raises:
        ValueError: they are not finished.
    """
    rows, done = all_rows(data), work / "patches.txt"
    if not done.exists() or int(done.read_text()) != len(rows):
        raise ValueError(f"{work} does not hold {len(rows)} pictures: run crossviz.training.patch_features first.")
    return PatchFeatures(rows, np.load(work / "patches.npy", mmap_mode="r"))


def pixels(row: Row) -> np.ndarray:
    """The tower's input: `384 384 3` uint8, the photo squashed with bicubic interpolation."""
    image = np.asarray(load_image(row.photo.path).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
    return image[:, ::-1] if row.mirrored else image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    trunk = load_model("crossviz-mini", "cpu").module["clip"].visual.trunk
    rows, done = all_rows(args.data), args.work / "patches.txt"
    start = int(done.read_text()) if done.exists() else 0
    shape = (len(rows), FINE_GRID, FINE_GRID, DIM)
    maps = np.lib.format.open_memmap(args.work / "patches.npy", "r+" if start else "w+", np.float16, shape)
    began = time.time()
    with ThreadPoolExecutor(1) as pool, torch.inference_mode():

        def load(i: int) -> np.ndarray:
            return np.stack([pixels(row) for row in rows[i : i + BATCH]])

        pending = pool.submit(load, start)
        for i in range(start, len(rows), BATCH):
            x = torch.from_numpy(pending.result()).permute(0, 3, 1, 2)
            if i + BATCH < len(rows):
                pending = pool.submit(load, i + BATCH)
            x = ((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
            patches = trunk.forward_dense(x)[1]  # batch 576 256
            maps[i : i + len(x)] = patches.unflatten(1, (FINE_GRID, FINE_GRID)).half().numpy()
            if (i // BATCH) % 20 == 0 or i + BATCH >= len(rows):
                maps.flush()
                done.write_text(str(i + len(x)))
                pace = (time.time() - began) / (i + len(x) - start)
                print(f"{i + len(x)} of {len(rows)}, {1000 * pace:.0f} ms a picture", flush=True)


if __name__ == "__main__":
    main()
