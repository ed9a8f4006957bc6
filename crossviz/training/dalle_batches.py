"""The batches that the scene model is trained on, each drawn from the step's own seed."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossviz.models.dalle_words import NOTHING
from crossviz.training.dalle_rows import Rows, wrong_words

__all__ = ["Batch", "Reading", "make_batch", "make_reading"]


@dataclass(frozen=True)
class Batch:
    """For the writer: captions `batch word` (some left out), with `groups` and `places`; the image tokens `batch
    place`; `said` `batch place kind`, what the caption says of what the place shows, -1 where it does not."""

    words: Tensor
    groups: Tensor
    places: Tensor
    image: Tensor
    said: Tensor


@dataclass(frozen=True)
class Reading:
    """For the reader: captions `batch word`, some with wrong words; whether each word is `shown`, and of which that is
    `asked`; the groups of the words that are right, with `places`; the image tokens `batch place`; `kinds` `batch place
    kind`, what each place shows, -1 where that is not known."""

    words: Tensor
    groups: Tensor
    shown: Tensor
    asked: Tensor
    places: Tensor
    image: Tensor
    kinds: Tensor


def make_batch(sides: tuple[Rows, Rows], seed: int, settings: dict[str, Any]) -> Batch:
    """A batch for the writer, from scenes as they are and mirrored."""
    rng = np.random.default_rng(seed)
    rows = _drawn(sides, rng, settings["batch"])
    words, groups, places = rows.words, rows.groups, _flat(rows.places)
    said = rows.said[np.arange(len(words))[:, None], places]  # -1, the background, is the last row
    for row in np.flatnonzero(rng.random(len(words)) < settings["drop"]):
        words[row], groups[row], said[row] = 0, -1, -1
        words[row, : len(NOTHING)] = NOTHING
    width = int((words > 0).sum(1).max())
    return Batch(*map(torch.from_numpy, (words[:, :width], groups[:, :width], places, _flat(rows.image), said)))


def make_reading(sides: tuple[Rows, Rows], seed: int, settings: dict[str, Any]) -> Reading:
    """A batch for the reader, from scenes as they are and mirrored."""
    rng = np.random.default_rng(seed)
    rows = _drawn(sides, rng, settings["batch"])
    words, groups, asked, shown = rows.words, rows.groups, rows.told, rows.told.astype(np.float32)
    for row in np.flatnonzero(rng.random(len(words)) < settings["replaced"]):
        words[row], shown[row] = wrong_words(words[row], groups[row], asked[row], rng)
    groups[asked & (shown == 0)] = -1  # a wrong word has no place
    width = int((words > 0).sum(1).max())
    parts = [part[:, :width] for part in (words, groups, shown, asked)]
    places = _flat(rows.places)
    kinds = rows.said[np.arange(len(places))[:, None], np.where(places < 0, -1, 0)]  # of the background what is said
    kinds[..., :4] = rows.kinds.reshape(*places.shape, -1)
    kinds[places >= 0, 4:] = -1
    return Reading(*map(torch.from_numpy, (*parts, places, _flat(rows.image), kinds)))


def _drawn(sides: tuple[Rows, Rows], rng: np.random.Generator, count: int) -> Rows:
    """So many rows, each from either side; copies."""
    numbers, mirrored = rng.integers(len(sides[0].words), size=count), rng.random(count) < 0.5
    picked = {
        name: np.stack([getattr(sides[int(m)], name)[row] for row, m in zip(numbers, mirrored, strict=True)])
        for name in (field.name for field in fields(Rows))
    }
    return Rows(**picked)


def _flat(grids: np.ndarray) -> np.ndarray:
    return grids.reshape(len(grids), -1).astype(np.int64)
