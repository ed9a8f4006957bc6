"""Explanations to look at: a drawn photo and maps from formulas, the same on every machine and for any weights."""

import dataclasses
from collections.abc import Mapping

import factories
import numpy as np
import torch
from PIL import Image, ImageDraw
from planted_cells import planted_trace

from crossviz.explanation import Explanation
from crossviz.geometry import ImageView, PatchGrid
from crossviz.inside import Inside
from crossviz.look_inside import look_inside
from crossviz.photo import Photo
from crossviz.results import AttentionRecord, Guess, RelevanceMap

__all__ = ["composed", "guessed", "inside", "meadow", "moved_meadow", "shares", "uneven"]

Spot = tuple[float, float, float, float, float]
"""Where a word looks: centre and width as shares of the photo (x, y, sx, sy), and its null mass."""

DOG: Spot = (0.30, 0.66, 0.10, 0.12, 0.06)
FRISBEE: Spot = (0.72, 0.30, 0.045, 0.05, 0.04)
SKY: Spot = (0.50, 0.12, 0.40, 0.10, 0.20)


def drawing(width: int, height: int) -> Image.Image:
    """A meadow, a sky, a dog-brown oval and a red disc."""
    picture = Image.new("RGB", (2 * width, 2 * height), (158, 196, 226))
    pen = ImageDraw.Draw(picture)

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        return 2 * width * (x - rx), 2 * height * (y - ry), 2 * width * (x + rx), 2 * height * (y + ry)

    pen.rectangle(box(0.5, 0.75, 0.5, 0.27), fill=(104, 150, 82))
    pen.ellipse(box(0.30, 0.66, 0.16, 0.13), fill=(92, 64, 44))
    pen.ellipse(box(0.44, 0.55, 0.06, 0.08), fill=(92, 64, 44))
    pen.ellipse(box(0.72, 0.30, 0.08, 0.05), fill=(196, 52, 44))
    return picture.resize((width, height), Image.Resampling.BOX)


def meadow(
    text: str = "A black dog catches a red frisbee under the sky; there is no zebra.",
    spots: Mapping[str, Spot] | None = None,
    *,
    size_wh: tuple[int, int] = (720, 480),
    crop: bool = False,
    read: int | None = None,
    trained: bool = True,
    layers: int = 1,
    heads: int = 4,
) -> Explanation:
    """Cross-attention with a null key, each word a soft spot, its heads shifted a little against each other."""
    if spots is None:
        spots = {
            "dog": DOG,
            "black": DOG,
            "frisbee": FRISBEE,
            "red": FRISBEE,
            "sky": SKY,
            "catches": (0.5, 0.5, 0.2, 0.2, 0.45),
        }
    grid = PatchGrid(16, 16) if crop else PatchGrid(16, 24)
    view = ImageView.shortest(size_wh, (256, 256)) if crop else ImageView.squash(size_wh, (256, 384))
    words = factories.caption(text, read=read)
    count = len(words.words)
    read = count if read is None else read
    y, x = (np.mgrid[: grid.height, : grid.width] + 0.5) / np.array([grid.height, grid.width])[:, None, None]
    if crop:  # the grid covers the middle square only
        x0, y0, x1, y1 = view.crop_xyxy
        x, y = (x0 + x * (x1 - x0)) / size_wh[0], (y0 + y * (y1 - y0)) / size_wh[1]
    rows = np.zeros((layers, heads, count, grid.num_patches + 1))
    for word in words.words[:read]:
        cx, cy, sx, sy, null = spots.get(word.text.lower(), (0.5, 0.5, 9.0, 9.0, 0.95))
        for layer in range(layers):
            for head in range(heads):
                dx, dy = 0.03 * np.cos(1.7 * head + layer), 0.03 * np.sin(1.7 * head + layer)
                spot = np.exp(-(((x - cx - dx) / sx) ** 2 + ((y - cy - dy) / sy) ** 2) / 2) + 0.002
                rows[layer, head, word.index, :-1] = (spot / spot.sum() * (1 - null)).ravel()
                rows[layer, head, word.index, -1] = null
    each = torch.from_numpy(rows)
    probs = torch.full((layers, heads, len(words.tokens), rows.shape[-1]), 1 / rows.shape[-1], dtype=torch.float64)
    probs[:, :, 1 : 1 + read] = each[:, :, :read]
    per_head = each[..., :-1].unflatten(-1, (grid.height, grid.width))
    labels = ("cross-attention",) if layers == 1 else tuple(f"layer {layer + 1}" for layer in range(layers))
    found = RelevanceMap(
        values=per_head.mean((0, 1)),
        unit="probability",
        signed=False,
        method="cross_attention",
        params={},
        direction="query: text, key: image",
        text_dependent=True,
        token_counts=tuple(len(word.tokens) for word in words.words),
        per_head=per_head,
        layers=labels,
        null_mass=each[..., -1],
        notes=("Drawn from formulas, for the tests.",),
    )
    record = AttentionRecord(probs.log(), probs, labels, "text", "image", has_null=True)
    return Explanation(
        photo=Photo(np.asarray(drawing(*size_wh)), "meadow.png"),
        caption=words,
        view=view,
        grid=grid,
        record=record,
        maps={"cross_attention": found},
        method="cross_attention",
        similarity=0.27,
        provenance=factories.provenance(trained=trained),
    )


def shares(layers: int = 12, heads: int = 12) -> Explanation:
    """Signed shares of the similarity in many layers and heads, no null key."""
    base = meadow("a dog and a frisbee", layers=layers, heads=heads)
    lean = torch.linspace(-1, 1, layers * heads).reshape(layers, heads, 1, 1, 1).sin() + 0.3
    per_head = base.map.per_head.double() * lean * 0.02
    return factories.as_shares(base, per_head, similarity=0.27)


def composed(text: str = "A black dog catches a red frisbee", *, layers: int = 2, heads: int = 4) -> Explanation:
    """Attention in two steps without a null key: words ask 64 queries, each query looks at one place of the photo."""
    base = meadow(text, layers=layers, heads=heads)
    grid, words = base.grid, base.caption
    rows, columns = 4, 16
    y, x = (np.mgrid[: grid.height, : grid.width] + 0.5) / np.array([grid.height, grid.width])[:, None, None]
    centres = [((col + 0.5) / columns, (row + 0.5) / rows) for row in range(rows) for col in range(columns)]
    looks = np.stack([np.exp(-(((x - cx) / 0.05) ** 2 + ((y - cy) / 0.1) ** 2) / 2) + 0.001 for cx, cy in centres])
    looks = (looks / looks.sum((1, 2), keepdims=True)).reshape(len(centres), -1)
    second = torch.from_numpy(np.stack([looks, np.roll(looks, 1, axis=0)])[None])  # layer head query patch
    at = np.array(centres)
    asks = torch.full((layers, heads, len(words.tokens), len(centres)), 1 / len(centres), dtype=torch.float64)
    for word in words.words:
        cx, cy, sx, sy, _ = {"dog": DOG, "black": DOG, "frisbee": FRISBEE, "red": FRISBEE}.get(
            word.text, (*[0.5, 0.5], 9.0, 9.0, 0.0)
        )
        for layer in range(layers):
            for head in range(heads):
                near = np.exp(
                    -(((at[:, 0] - cx) / (sx + 0.02 * head)) ** 2 + ((at[:, 1] - cy) / (sy + 0.05 * layer)) ** 2) / 2
                )
                near += 1e-4
                asks[layer, head, list(word.tokens)] = torch.from_numpy(near / near.sum())
    record = asks @ second.mean((0, 1))
    per_head = torch.stack([record[:, :, list(word.tokens)].mean(2) for word in words.words], 2)
    per_head = per_head.unflatten(-1, (grid.height, grid.width))
    found = dataclasses.replace(base.map, values=per_head.mean((0, 1)), per_head=per_head, null_mass=None)
    labels = base.map.layers
    return dataclasses.replace(
        base,
        record=AttentionRecord(record.log(), record, labels, "text tokens", "image patches"),
        maps={"cross_attention": found},
        parts={
            "decoder: text to queries": AttentionRecord(asks.log(), asks, labels, "text tokens", "pooler queries"),
            "pooler: queries to patches": AttentionRecord(
                second.log(), second, ("pooler",), "pooler queries", "image patches"
            ),
        },
        similarity=None,
    )


def guessed(text: str = "A black dog catches a red frisbee") -> Explanation:
    """The word "dog" hidden from the model, with what it guesses."""
    base = meadow(text)
    dog = next(word for word in base.words if word.text == "dog")
    choices = (("dog", 0.61), ("cat", 0.2), ("puppy", 0.07), ("horse", 0.04), ("ball", 0.01), ("sea", 0.001))
    return dataclasses.replace(base, hidden=(dog.index,), guesses=(Guess(dog.tokens[0], choices),), similarity=None)


def uneven(layers: int = 3, heads: int = 4) -> Explanation:
    """Heads whose sharpness and null mass differ, each in an order of its own."""
    base = meadow(layers=layers, heads=heads)
    chart, count = base.map, layers * heads

    def mixed(low: float, high: float, seed: int) -> torch.Tensor:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        return torch.linspace(low, high, count, dtype=torch.float64)[order].reshape(layers, heads)

    null = mixed(0.05, 0.9, 2)[..., None]
    maps = chart.per_head.double() ** mixed(0.4, 1.8, 1)[..., None, None, None]
    maps = maps / maps.sum((-2, -1), keepdim=True) * (1 - null[..., None, None])
    null = null.expand(layers, heads, len(base.words))
    found = dataclasses.replace(chart, values=maps.mean((0, 1)), per_head=maps, null_mass=null)
    return dataclasses.replace(base, maps={base.method: found}, record=None)


def inside(explanation: Explanation, word: str = "frisbee", **options) -> Inside:
    """One cell of an attention made of formulas, for the words of a meadow."""
    places = {"dog": DOG[:2], "frisbee": FRISBEE[:2], "sky": SKY[:2]}
    trace = planted_trace(explanation.caption.text, places, explanation.grid)
    return look_inside(trace, trace.caption.phrase(word), **options)


def moved_meadow() -> Explanation:
    """`meadow` with "ball" in the place of "frisbee", and a dog that is looked for elsewhere."""
    spots = {"dog": FRISBEE, "black": DOG, "red": FRISBEE, "ball": (0.2, 0.2, 0.05, 0.05, 0.3), "sky": SKY}
    return meadow("A black dog catches a red ball under the sky; there is no zebra.", spots)
