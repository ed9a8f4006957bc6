"""Rendered scenes as the image tokenizer draws them, so that the checker learns to read such pictures, too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from crossviz.errors import DatasetError
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.training.dalle_vqvae import tokenize
from crossviz.training.scene_data import SceneSet, load

__all__ = ["checker_sets", "redrawn"]

_BATCH = 64


def checker_sets(work: Path, config: dict) -> list[SceneSet]:
    """The sets that the checker is trained on: of each that `scenes` in `checker.toml` names the first so many scenes,
    and once more those that `redrawn` names, as the tokenizer draws them.

    Raises:
        DatasetError: a set has fewer, or there is no trained tokenizer in the work folder.
    """
    folder = work / "scenes"
    sets = [load(folder, name).first(rows) for name, rows in config["scenes"].items()]
    return sets + [redrawn(load(folder, name).first(rows), work, name) for name, rows in config["redrawn"].items()]


def redrawn(scenes: SceneSet, work: Path, name: str) -> SceneSet:
    """The scenes with the pictures that the tokenizer draws from their tokens. They are kept in the work folder, and
    made anew where the tokenizer was trained since or more are wanted.

    Raises:
        DatasetError: there is no trained tokenizer.
    """
    path, trained = work / "scenes" / f"{name}-redrawn.npy", work / "decoder.pt"
    if not trained.exists():
        raise DatasetError(f"{trained} is missing: the image tokenizer and its decoder have to be trained first.")
    fits = path.exists() and path.stat().st_mtime >= trained.stat().st_mtime
    if not fits or len(np.load(path, mmap_mode="r")) < len(scenes.captions):
        model = VqVae(VqVaeConfig())
        model.load_state_dict(torch.load(trained, weights_only=True, map_location="cpu")["average"])
        model.eval()
        fresh = path.with_suffix(".part")
        pixels = np.lib.format.open_memmap(fresh, "w+", np.uint8, scenes.pixels.shape)
        for start in range(0, len(pixels), _BATCH):
            tokens = torch.from_numpy(tokenize(model, scenes.pixels[start : start + _BATCH]).astype(np.int64))
            with torch.inference_mode():
                pixels[start : start + _BATCH] = model.draw(tokens).numpy()
        fresh.replace(path)
    return replace(scenes, pixels=np.load(path, mmap_mode="r")[: len(scenes.captions)])
