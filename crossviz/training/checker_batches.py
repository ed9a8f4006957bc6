"""Batches of rendered scenes for the scene checker, and what its maps should say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossviz.scenes.checker_network import OFFSET, STRIDE
from crossviz.scenes.reading import MAX_THINGS, read
from crossviz.scenes.vocabulary import FLOORS, MOODS
from crossviz.training.scene_data import SceneSet

__all__ = ["Batch", "Scenes"]

_SPREAD = 0.9  # the deviation of the bell around a centre, in places


@dataclass(frozen=True, eq=False)
class Batch:
    """`pictures` uint8 `batch side side 3`; `masks` float `batch thing side side`; `there` bool `batch thing`; `kinds`
    int64 `batch thing 4`; `places` float `batch thing 2`; `centres` float `batch h w`, 1 at centres and falling off
    around; `offsets` float `batch 2 side side`; `floors` and `moods` int64 `batch`, -1 where the caption says none."""

    pictures: Tensor
    masks: Tensor
    there: Tensor
    kinds: Tensor
    places: Tensor
    centres: Tensor
    offsets: Tensor
    floors: Tensor
    moods: Tensor


class Scenes:
    """Sets of scenes one after another, with the floors and moods that their captions state."""

    def __init__(self, sets: Sequence[SceneSet]) -> None:
        self.sets = sets
        self.starts = np.cumsum([0, *(len(one.captions) for one in sets)])
        self.counts = np.concatenate([(one.things[:, :, 0] >= 0).sum(1) for one in sets])
        requests = [read(caption) for one in sets for caption in one.captions]
        self.floors = np.array([-1 if r.floor is None else FLOORS.index(r.floor) for r in requests])
        self.moods = np.array([-1 if r.mood is None else MOODS.index(r.mood) for r in requests])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def order(self, seed: int, size: int, step: int, draw: Sequence[float] | None = None) -> NDArray[np.intp]:
        """The rows of a step's batch: all are seen once before one is seen again, but for the last few.

        Args:
            draw: instead, how often a scene of one, two, ... things is drawn, in proportion.
        """
        if draw is not None:
            often = np.array(draw)[self.counts - 1]
            return np.random.default_rng([seed, 1, step]).choice(len(self), size, p=often / often.sum())
        per = max(1, len(self) // size)
        epoch, at = divmod(step, per)
        return np.random.default_rng([seed, epoch]).permutation(len(self))[at * size : (at + 1) * size]

    def batch(self, rows: NDArray[np.intp], mirrored: NDArray[np.bool_] | None = None) -> Batch:
        """The scenes of these rows, some of them with left and right exchanged."""
        which = np.searchsorted(self.starts, rows, "right") - 1
        at = rows - self.starts[which]
        pixels, owner, things = (
            np.stack([getattr(self.sets[w], part)[a] for w, a in zip(which, at, strict=True)])
            for part in ("pixels", "owner", "things")
        )
        if mirrored is not None:
            pixels[mirrored], owner[mirrored] = pixels[mirrored, :, ::-1], owner[mirrored, :, ::-1]
            things[mirrored, :, 4] *= -1
        there = torch.from_numpy(things[:, :, 0] >= 0)
        masks = torch.from_numpy(owner)[:, None] == torch.arange(1, MAX_THINGS + 1)[:, None, None]
        centres, offsets = _targets(masks, there)
        return Batch(
            torch.from_numpy(pixels),
            masks.float(),
            there,
            torch.from_numpy(things[:, :, :4].astype(np.int64)),
            torch.from_numpy(things[:, :, 4:6]),
            centres,
            offsets,
            torch.from_numpy(self.floors[rows]),
            torch.from_numpy(self.moods[rows]),
        )


def _targets(masks: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of centres and offsets that masks bool `batch thing side side` ask for."""
    side = torch.arange(masks.shape[-1]) + 0.5
    area = masks.sum((2, 3)).clamp_min(1)
    x = (masks.sum(2) * side).sum(2) / area  # batch thing
    y = (masks.sum(3) * side).sum(2) / area
    place = torch.arange(masks.shape[-1] // STRIDE)
    gap_x, gap_y = place + 0.5 - x[..., None] / STRIDE, place + 0.5 - y[..., None] / STRIDE
    bells = torch.exp(-(gap_y[..., :, None] ** 2 + gap_x[..., None, :] ** 2) / (2 * _SPREAD**2))
    peak = (place == (y // STRIDE)[..., None])[..., :, None] & (place == (x // STRIDE)[..., None])[..., None, :]
    bells = torch.where(peak, torch.ones(()), bells) * there[..., None, None]
    shown = masks.float()
    right = torch.einsum("btyx,bt->byx", shown, x) - shown.sum(1) * side
    down = torch.einsum("btyx,bt->byx", shown, y) - shown.sum(1) * side[:, None]
    return bells.amax(1), torch.stack([right, down], 1) / OFFSET
