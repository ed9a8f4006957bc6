"""Run crossviz-mini's image tower once over every Flickr8k photo and keep its patches (an fp16 memory map, resumable).

coca-mini and vilt-mini stand on these patches, and never change the tower: `python -m crossviz.training.patch_features
--data DIR --work DIR`. Rows are the photos in file order. A mirrored photo is the row with its columns reversed, which
is nearly what the tower would give.
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
class PatchFeatures:
    """The patches of every photo, `photo 24 24 256` in fp16, read from disk as they are asked for."""

    photos: tuple[Photo, ...]
    maps: np.ndarray

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Patches of some photos, `photo 24 24 256`, float32."""
        return torch.from_numpy(np.stack([self.maps[row] for row in rows])).float()


def open_patches(data: Path, work: Path) -> PatchFeatures:
    """The finished patches, read only.

    Raises:
        ValueError: they are not finished.
    """
    photos, done = tuple(read_set(data, "flickr8k_entities")), work / "patches.txt"
    if not done.exists() or int(done.read_text()) < len(photos):
        raise ValueError(f"{work} does not hold {len(photos)} photos: run crossviz.training.patch_features first.")
    return PatchFeatures(photos, np.load(work / "patches.npy", mmap_mode="r"))


def pixels(photo: Photo) -> np.ndarray:
    """The tower's input: `384 384 3` uint8, the photo squashed with bicubic interpolation."""
    return np.asarray(load_image(photo.path).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    trunk = load_model("crossviz-mini", "cpu").module["clip"].visual.trunk
    photos, done = read_set(args.data, "flickr8k_entities"), args.work / "patches.txt"
    start = int(done.read_text()) if done.exists() else 0
    shape = (len(photos), FINE_GRID, FINE_GRID, DIM)
    maps = np.lib.format.open_memmap(args.work / "patches.npy", "r+" if start else "w+", np.float16, shape)
    began = time.time()
    with ThreadPoolExecutor(1) as pool, torch.inference_mode():

        def load(i: int) -> np.ndarray:
            return np.stack([pixels(photo) for photo in photos[i : i + BATCH]])

        pending = pool.submit(load, start)
        for i in range(start, len(photos), BATCH):
            x = torch.from_numpy(pending.result()).permute(0, 3, 1, 2)
            if i + BATCH < len(photos):
                pending = pool.submit(load, i + BATCH)
            x = ((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
            patches = trunk.forward_dense(x)[1]  # batch 576 256
            maps[i : i + len(x)] = patches.unflatten(1, (FINE_GRID, FINE_GRID)).half().numpy()
            if (i // BATCH) % 20 == 0 or i + BATCH >= len(photos):
                maps.flush()
                done.write_text(str(i + len(x)))
                pace = (time.time() - began) / (i + len(x) - start)
                print(f"{i + len(x)} of {len(photos)}, {1000 * pace:.0f} ms a photo", flush=True)


if __name__ == "__main__":
    main()
