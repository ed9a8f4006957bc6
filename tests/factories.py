"""Explanations made from synthetic tensors, with what they show planted in them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossviz.explanation import Explanation
from crossviz.geometry import ImageView, PatchGrid
from crossviz.photo import Photo
from crossviz.results import AttentionRecord, Provenance, RelevanceMap
from crossviz.words import Caption, make_caption, split_words

BOS, EOS = 1, 2


def photo(width: int = 60, height: int = 40, seed: int = 0, name: str = "photo") -> Photo:
    """Smooth colours with a little noise; no two pixels rows or columns are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    colours = np.stack([x, y, 1 - (x + y) / 2], axis=-1) * 200 + rng.uniform(0, 50, (height, width, 3))
    return Photo(colours.astype(np.uint8), name)


def caption(text: str, *, read: int | None = None) -> Caption:
    """One token per word between a begin and an end token; only the first `read` words are read, all if None."""
    spans = split_words(text)
    pieces = [(100 + i, text[start:end], start, end) for i, (start, end) in enumerate(spans)]
    read = len(pieces) if read is None else read
    kept = [(BOS, "<bos>", None, None), *pieces[:read], (EOS, "<eos>", None, None)]
    return make_caption(text, kept, cut=pieces[read:])


def planted(
    grid: PatchGrid, peaks: Sequence[tuple[int, int] | None], null: Sequence[float], found: float = 0.9
) -> Tensor:
    """Probabilities `word gh gw`: of what is not null, `found` on the peak and the rest evenly; None: all evenly."""
    maps = torch.zeros(len(peaks), grid.height, grid.width)
    for word, (peak, lost) in enumerate(zip(peaks, null, strict=True)):
        maps[word] = (1 - lost) / grid.num_patches
        if peak is not None:
            maps[word] *= 1 - found
            maps[word][peak] += (1 - lost) * found
    return maps


def provenance(method: str = "cross_attention", *, trained: bool = True) -> Provenance:
    return Provenance(
        crossviz_version="0.1.0",
        model="synthetic",
        weights_sha256="ab" * 32,
        trained=trained,
        method=method,
        libraries={"torch": "2.13.0"},
        device="cpu",
        notes=("A model made of planted numbers.", "query: text tokens, key: image patches", "Only for tests."),
    )


def explanation(
    text: str = "a dog and a zebra",
    *,
    size_wh: tuple[int, int] = (60, 40),
    grid: PatchGrid | None = None,
    view: ImageView | None = None,
    peaks: Sequence[tuple[int, int] | None] | None = None,
    null: Sequence[float] | None = None,
    layers: int = 2,
    heads: int = 3,
    read: int | None = None,
    trained: bool = True,
    seed: int = 0,
    name: str = "photo",
) -> Explanation:
    """Cross-attention with a null key, its heads scattered about planted means.

    Args:
        peaks: for each word the patch (row, column) it looks at, None for none; patch number = word number if None.
        null: for each word its null mass; 0.1 each if None.
        read: how many words the model reads.
    """
    words = caption(text, read=read)
    grid = PatchGrid(4, 6) if grid is None else grid
    view = ImageView.squash(size_wh, (64, 96)) if view is None else view
    count = len(words.words)
    read = count if read is None else read
    peaks = [grid.row_col(word % grid.num_patches) for word in range(count)] if peaks is None else peaks
    null = [0.1] * count if null is None else null
    rows = torch.cat([planted(grid, peaks, null).flatten(1), torch.tensor(null)[:, None]], 1)  # word key
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(layers, heads, count, rows.shape[1], generator=rng, dtype=torch.float64)
    each = rows.double() * (0.5 + noise)
    each = each / each.sum(-1, keepdim=True)  # layer head word key
    each[:, :, read:] = 0
    probs = torch.zeros(layers, heads, len(words.tokens), rows.shape[1], dtype=torch.float64)
    probs[:, :, 0] = probs[:, :, -1] = 1 / rows.shape[1]
    probs[:, :, 1 : 1 + read] = each[:, :, :read]
    per_head = each[..., :-1].unflatten(-1, (grid.height, grid.width))
    labels = tuple(f"layer {layer}" for layer in range(layers))
    found = RelevanceMap(
        values=per_head.mean((0, 1)),
        unit="probability",
        signed=False,
        method="cross_attention",
        params={"layers": None},
        direction="query: text, key: image",
        text_dependent=True,
        token_counts=tuple(len(word.tokens) for word in words.words),
        per_head=per_head,
        layers=labels,
        null_mass=each[..., -1],
        notes=("Planted.",),
    )
    scores = torch.where(probs > 0, probs.clamp_min(1e-12).log(), -torch.inf)
    record = AttentionRecord(scores, probs, labels, "text", "image", has_null=True)
    return Explanation(
        photo=photo(*view.source_wh, seed, name),
        caption=words,
        view=view,
        grid=grid,
        record=record,
        maps={"cross_attention": found},
        method="cross_attention",
        similarity=0.25,
        provenance=provenance(trained=trained),
    )


def as_shares(base: Explanation, per_head: torch.Tensor, similarity: float) -> Explanation:
    """The explanation with a signed map beside its own: shares `layer head word gh gw` of the similarity, summed."""
    found = RelevanceMap(
        values=per_head.sum((0, 1)),
        unit="similarity share",
        signed=True,
        method="head_decomposition",
        params={},
        direction="query: text, key: image",
        text_dependent=True,
        token_counts=base.map.token_counts,
        reduce="sum",
        per_head=per_head,
        layers=base.map.layers,
    )
    return dataclasses.replace(
        base,
        maps={**base.maps, "head_decomposition": found},
        method="head_decomposition",
        similarity=similarity,
        provenance=provenance("head_decomposition"),
    )


def signed_explanation(text: str = "a dog and a zebra", *, seed: int = 0) -> Explanation:
    """Shares of the similarity, positive and negative, summed over layers and heads; no null key."""
    base = explanation(text, seed=seed)
    shares = torch.randn(2, 3, len(base.words), 4, 6, generator=torch.Generator().manual_seed(seed)) * 0.01
    return as_shares(base, shares, similarity=-0.1)
