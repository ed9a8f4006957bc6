"""Renders the scenes that dalle-mini-scenes and its checker are trained on.

Sets: "train" (no colour and shape of `UNSEEN` together), "unseen" (some in every scene; for the checker alone) and
"dev" (both kinds, half and half).
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import DatasetError
from crossviz.scenes.captions import draw_request, write
from crossviz.scenes.layout import NoRoomError, draw_scene
from crossviz.scenes.reading import MAX_THINGS, read
from crossviz.scenes.render import SIDE
from crossviz.scenes.things import groups_of
from crossviz.scenes.vocabulary import COLOURS, MATERIALS, SHAPES, SIZES
from crossviz.training.config import DALLE, load_config

__all__ = ["SceneSet", "load", "main", "render_set"]

_CHUNK = 500
_KINDS = {
    "pixels": (np.uint8, (SIDE, SIDE, 3)),
    "owner": (np.uint8, (SIDE, SIDE)),
    "things": (np.float32, (MAX_THINGS, 7)),
}
_SEEDS = {"train": 1, "unseen": 2, "dev": 3}


@dataclass(frozen=True, eq=False)
class SceneSet:
    """`pixels` uint8 `scene side side 3`; `owner` uint8 `scene side side`, 0 where no thing is, else its number from 1;
    `things` float32 `scene thing 7`: shape, colour, size, material, x, y, group, all -1 where there are fewer."""

    pixels: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    things: NDArray[np.float32]
    captions: list[str]

    def first(self, rows: int) -> SceneSet:
        """The set's first so many scenes.

        Raises:
            DatasetError: it has fewer.
        """
        if rows > len(self.captions):
            raise DatasetError(f"The set has {len(self.captions)} scenes, and {rows} are wanted: render more.")
        return SceneSet(self.pixels[:rows], self.owner[:rows], self.things[:rows], self.captions[:rows])


def load(folder: Path, name: str) -> SceneSet:
    """A set that was rendered; the pixels stay on the disk."""
    captions = _captions(folder / f"{name}.jsonl")
    arrays = [np.load(folder / f"{name}-{part}.npy", mmap_mode="r")[: len(captions)] for part in _KINDS]
    return SceneSet(arrays[0], arrays[1], np.asarray(arrays[2]), captions)


def render_set(folder: Path, name: str, count: int, processes: int) -> None:
    """Render a set, or go on where this stopped; one that had fewer scenes grows, and keeps those."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = _captions(folder / f"{name}.jsonl")
    arrays = {
        part: _opened(folder / f"{name}-{part}.npy", kind, (count, *shape), len(captions))
        for part, (kind, shape) in _KINDS.items()
    }
    if len(captions) < count:  # a chunk is drawn as a whole
        captions = captions[: len(captions) // _CHUNK * _CHUNK]
    starts = range(len(captions), count, _CHUNK)
    with ProcessPoolExecutor(processes) as pool:
        for start, made in zip(starts, pool.map(_chunk, [name] * len(starts), starts), strict=True):
            size = min(_CHUNK, count - start)
            for part in arrays:
                arrays[part][start : start + size] = made[part][:size]
            captions += made["captions"][:size]
            fresh = folder / f"{name}.part"
            fresh.write_text("".join(json.dumps(caption) + "\n" for caption in captions), "utf-8")
            fresh.replace(folder / f"{name}.jsonl")
            print(f"{name} {start + size}/{count}", flush=True)


def _opened(path: Path, kind: type, shape: tuple[int, ...], done: int) -> np.memmap:
    """The file of an array that has room for so many rows at least, of which the first `done` are there."""
    before = np.load(path, mmap_mode="r+") if done else None
    if before is not None and len(before) >= shape[0]:
        return before
    fresh = path.with_suffix(".part")
    opened = np.lib.format.open_memmap(fresh, "w+", kind, shape)
    if before is not None:
        opened[:done] = before[:done]
    fresh.replace(path)
    return opened


def _captions(path: Path) -> list[str]:
    """The captions of a set, as far as it is rendered; a last line without an end was cut off."""
    lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _chunk(name: str, start: int) -> dict:
    rng = np.random.default_rng([_SEEDS[name], start])
    made: dict[str, list] = {"pixels": [], "owner": [], "things": [], "captions": []}
    while len(made["captions"]) < _CHUNK:
        unseen = name == "unseen" or (name == "dev" and len(made["captions"]) % 2 == 1)
        request = draw_request(rng, unseen=unseen)
        caption = write(request, rng)
        try:
            scene, picture = draw_scene(read(caption), rng)
        except NoRoomError:
            continue
        rows = np.full((MAX_THINGS, 7), -1, np.float32)
        for at, (thing, group) in enumerate(zip(scene.things, groups_of(request), strict=True)):
            kinds = (SHAPES.index(thing.shape), COLOURS.index(thing.colour), SIZES.index(thing.size))
            rows[at] = (*kinds, MATERIALS.index(thing.material), thing.x, thing.y, group)
        made["pixels"].append(picture.pixels)
        made["owner"].append(
            (picture.masks * np.arange(1, len(picture.masks) + 1)[:, None, None]).sum(0).astype(np.uint8)
        )
        made["things"].append(rows)
        made["captions"].append(caption)
    return {part: values if part == "captions" else np.stack(values) for part, values in made.items()}


def main() -> None:
    """Command line: all sets, as large as `dalle.toml` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made on the way")
    parser.add_argument("--processes", type=int, default=2, help="processor cores to use (%(default)s)")
    args = parser.parse_args()
    for name, count in load_config(DALLE)["data"].items():
        render_set(args.work / "scenes", name, count, args.processes)


if __name__ == "__main__":
    main()
