"""coca-mini's figures on photos of the dev split while it trains, from kept patches."""

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from open_clip import CoCa
from torch import Tensor
from torch.nn import functional as F

from crossviz.models.mini_tower import FINE_GRID
from crossviz.training.coca_batches import Ask, code_photo, collate, phrase_alone
from crossviz.training.coca_forward import ImageSide, compose, decode, forward, image_side, text_side, writing_rows
from crossviz.training.coca_losses import word_loss
from crossviz.training.coca_words import CONTEXT, Words
from crossviz.training.data import Photo
from crossviz.training.grid import boxes_cover

__all__ = ["FIGURES", "dev_rows", "greedy", "measure", "pointed"]

FIGURES = ("caption_point", "written_point", "alone_point", "inside", "perplexity", "r1_text", "r1_photo")


def dev_rows(photos: Sequence[Photo], count: int) -> list[int]:
    """Rows of so many dev photos, always the same."""
    rows = [i for i, photo in enumerate(photos) if photo.split == "dev"]
    return random.Random(0).sample(rows, min(count, len(rows)))


@torch.no_grad()
def measure(module: CoCa, photos: Sequence[Photo], maps: np.ndarray, rows: Sequence[int], words: Words) -> dict:
    """Figures of `FIGURES`: pointing and mass inside in per cent, perplexity of the captions, retrieval in per cent.

    Pointing: the centre of the highest of the 24 x 24 patches lies in a box. Retrieval: a photo's first caption among
    those of all these photos, and the other way round.
    """
    points: dict[str, list[bool]] = {"caption": [], "written": [], "alone": []}
    inside, entropies, counts, images, texts = [], [], [], [], []
    for row in rows:
        photo = photos[row]
        image = image_side(module.visual.trunk, _patches(maps, row))
        sentences = code_photo(photo, words)
        told = [(i, p) for i, s in enumerate(sentences) for p in s.phrases if p.boxes]
        asks = [Ask(i, p.tokens, _cover(photo, p.boxes)) for i, p in told]
        batch = collate([[s.ids for s in sentences]], [asks], words)
        found = forward(module, image, batch.ids)
        images.append(image.latent[0])
        texts.append(found.latent[0])
        counts.append(sum(len(s.ids) + 1 for s in sentences))
        entropies.append(float(word_loss(found.states, module.text_decoder.text_projection, batch.ids)) * counts[-1])
        if not told:
            continue
        for name, weights in (("caption", batch.weights), ("written", writing_rows(batch.weights, batch.ids.shape[1]))):
            shown = compose(weights, found.cross, image.probs)[0]
            points[name] += [pointed(m, p.boxes, photo) for m, (_, p) in zip(shown, told, strict=True)]
            if name == "caption":
                inside += (shown * batch.covers[0]).sum(-1).tolist()
        unique = {p.text.lower(): p for _, p in told}
        coded = [phrase_alone(p, words, False) for p in unique.values()]
        asks = [Ask(i, tuple(range(len(ids))), np.zeros((FINE_GRID, FINE_GRID))) for i, ids in enumerate(coded)]
        batch = collate([coded], [asks], words)
        shown = compose(batch.weights, forward(module, image, batch.ids).cross, image.probs)[0]
        points["alone"] += [pointed(m, p.boxes, photo) for m, p in zip(shown, unique.values(), strict=True)]
    similar = F.normalize(torch.stack(images), dim=-1) @ F.normalize(torch.stack(texts), dim=-1).T
    right = torch.arange(len(similar))
    return {
        **{f"{name}_point": 100 * float(np.mean(hits)) for name, hits in points.items()},
        "inside": 100 * float(np.mean(inside)),
        "perplexity": math.exp(sum(entropies) / sum(counts)),
        "r1_text": 100 * float((similar.argmax(1) == right).float().mean()),
        "r1_photo": 100 * float((similar.argmax(0) == right).float().mean()),
    }


@torch.no_grad()
def greedy(module: CoCa, image: ImageSide, words: Words, longest: int = CONTEXT - 2) -> str:
    """The caption that the most probable next token makes, one after the other, for one photo."""
    ids = [words.start]
    while len(ids) <= longest:
        states = text_side(module.text, F.pad(torch.tensor([ids]), (0, 1)))[1][:, :-1]
        last = decode(module.text_decoder, image.tokens, states)[0][0, -1]
        ids.append(int((last @ module.text_decoder.text_projection).argmax()))
        if ids[-1] == words.end:
            break
    return words.text(ids)


def pointed(shown: Tensor, boxes: tuple, photo: Photo) -> bool:
    """Whether the centre of the highest patch of a map `576` lies in one of the boxes."""
    y, x = divmod(int(shown.argmax()), FINE_GRID)
    x, y = (x + 0.5) * photo.width / FINE_GRID, (y + 0.5) * photo.height / FINE_GRID
    return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)


def _patches(maps: np.ndarray, row: int) -> Tensor:
    return torch.from_numpy(maps[row].astype(np.float32)).flatten(0, 1)[None]


def _cover(photo: Photo, boxes: tuple) -> np.ndarray:
    return boxes_cover(boxes, (0.0, 0.0, float(photo.width), float(photo.height)))
