"""The batches that the scene model is trained on, each drawn from the step's own seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossviz.models.dalle_words import NOTHING
from crossviz.training.dalle_rows import Rows, telling_words, wrong_words

__all__ = ["Batch", "make_batch"]


@dataclass(frozen=True)
class Batch:
    """Captions `batch word` as the writer gets them (some left out), with `groups` and `places`; the image tokens
    `batch place`; `said` `batch place kind`, what the caption says of what the place shows, -1 where it does not; for
    the first rows what the reader is asked: `read_words`, `read_groups`, `shown`, `asked`."""

    words: Tensor
    groups: Tensor
    places: Tensor
    image: Tensor
    said: Tensor
    read_words: Tensor
    read_groups: Tensor
    shown: Tensor
    asked: Tensor


def make_batch(sides: tuple[Rows, Rows], seed: int, settings: dict[str, Any]) -> Batch:
    """A batch from scenes as they are and mirrored."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(sides[0].words), size=settings["batch"])
    mirrored = rng.random(len(rows)) < 0.5

    def of(name: str) -> np.ndarray:
        return np.stack([getattr(sides[int(m)], name)[row] for row, m in zip(rows, mirrored, strict=True)])

    words, groups = of("words"), of("groups")
    places = of("places").reshape(len(rows), -1).astype(np.int64)
    said = of("said")[np.arange(len(rows))[:, None], places]  # -1, the background, is the last row
    count = settings["read"]
    right = [(words[row], groups[row], *_right(words[row], groups[row])) for row in range(count)]
    wrong = [wrong_words(words[row], groups[row], rng) for row in range(count)]
    asked = [wrong[row] if rng.random() < settings["replaced"] else right[row] for row in range(count)]
    for row in np.flatnonzero(rng.random(len(rows)) < settings["drop"]):
        words[row], groups[row], said[row] = 0, -1, -1
        words[row, : len(NOTHING)] = NOTHING
    width = max(int((words > 0).sum(1).max()), max(int((one[0] > 0).sum()) for one in asked))

    def tensor(values: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.stack(values)[:, :width]))

    return Batch(
        tensor(words),
        tensor(groups),
        torch.from_numpy(places),
        torch.from_numpy(of("image").reshape(len(rows), -1).astype(np.int64)),
        torch.from_numpy(said),
        *(tensor([one[part] for one in asked]) for part in range(4)),
    )


def _right(words: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    asked = np.zeros(len(words), bool)
    asked[list(telling_words(words, groups))] = True
    return np.ones(len(words), np.float32), asked
