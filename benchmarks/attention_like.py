"""An explanation as large as the viewer is meant for; its maps look like a trained model's, but are drawn at random.

Twelve layers of twelve heads, 16 words, 16 x 16 patches: softmax over smooth random fields of several widths and
sharpnesses and a null key. The same on every machine.
"""

import json

import numpy as np
import torch

from crossviz.explanation import Explanation
from crossviz.geometry import ImageView, PatchGrid
from crossviz.paths import assets_dir
from crossviz.photo import Photo, load_photo
from crossviz.results import Provenance, RelevanceMap
from crossviz.words import make_caption, split_words

__all__ = ["CAPTION", "OTHER_CAPTION", "attention_like", "example_photo"]

CAPTION = "a man in a long black coat looks through his camera on a wide green lawn"
OTHER_CAPTION = "an old stone tower stands behind some trees while one grey cloud hangs over it all"
WIDTHS = (0.5, 1.0, 2.0, 3.0)
"""Patches over which a field is smooth."""
SHARPNESSES = (0.7, 1.5, 3.0, 5.0)
"""Standard deviation of the scores: maps close to even, up to a few patches that hold everything."""


def example_photo() -> Photo:
    """The first of the example photos."""
    folder = assets_dir() / "examples"
    return load_photo(folder / json.loads((folder / "examples.json").read_text("utf-8"))[0]["photo"])


def attention_like(
    text: str = CAPTION, *, layers: int = 12, heads: int = 12, side: int = 16, seed: int = 0, photo: Photo | None = None
) -> Explanation:
    """Attention with a null key, averaged over its layers and heads.

    Args:
        side: patches along each side of the grid.
        photo: what it is of; the first example photo if None.
    """
    rng = np.random.default_rng(seed)
    spans = split_words(text)
    tokens = [(i, text[start:end], start, end) for i, (start, end) in enumerate(spans)]
    caption = make_caption(text, [(len(spans), "<bos>", None, None), *tokens, (len(spans) + 1, "<eos>", None, None)])
    common = _smooth(rng, len(spans), side, 1.5)
    fields = np.stack([_head(rng, common, rng.choice(WIDTHS), rng.choice(SHARPNESSES)) for _ in range(layers * heads)])
    probs = torch.from_numpy(fields).unflatten(0, (layers, heads))  # layer head word key
    per_head = probs[..., :-1].unflatten(-1, (side, side))
    photo = example_photo() if photo is None else photo
    found = RelevanceMap(
        values=per_head.mean((0, 1)),
        unit="probability",
        signed=False,
        method="cross_attention",
        params={},
        direction="query: text, key: image",
        text_dependent=True,
        token_counts=tuple(len(word.tokens) for word in caption.words),
        per_head=per_head,
        layers=tuple(f"layer {layer + 1}" for layer in range(layers)),
        null_mass=probs[..., -1],
        notes=("Drawn at random, to measure with.",),
    )
    return Explanation(
        photo=photo,
        caption=caption,
        view=ImageView.squash(photo.wh, (16 * side, 16 * side)),
        grid=PatchGrid(side, side),
        record=None,
        maps={found.method: found},
        method=found.method,
        similarity=0.25,
        provenance=Provenance(
            crossviz_version="0",
            model="attention-like",
            weights_sha256="0" * 64,
            trained=True,
            method=found.method,
            libraries={},
            device="cpu",
            notes=("Not a model: random numbers.", "query: text tokens, key: image patches and one null key"),
        ),
    )


def _head(rng: np.random.Generator, common: np.ndarray, width: float, sharpness: float) -> np.ndarray:
    """Probabilities `word key` of one head, the null key last: in part what all heads of a word have in common."""
    words, side, _ = common.shape
    scores = sharpness * (0.7 * common + 0.7 * _smooth(rng, words, side, width))
    # From words that found nothing, whose null key holds nearly all, to words that found much.
    null = np.log(np.exp(scores).sum((1, 2))) + rng.normal(-1, 2, words)
    every = np.concatenate([scores.reshape(words, -1), null[:, None]], axis=1)
    shares = np.exp(every - every.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _smooth(rng: np.random.Generator, words: int, side: int, width: float) -> np.ndarray:
    """Random fields `word row column` with a standard deviation of 1."""
    at = np.arange(side)
    near = np.exp(-(((at[:, None] - at) / width) ** 2) / 2)
    near /= near.sum(1, keepdims=True)
    drawn = near @ rng.standard_normal((words, side, side)) @ near.T
    return drawn / drawn.std((1, 2), keepdims=True)
