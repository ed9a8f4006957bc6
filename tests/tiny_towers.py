"""Image towers of a few numbers, made of the parts that methods read, and the same towers in numpy by loops.

Nothing is shared between the two but the weights, so that a method can be held against differences of the second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import factories
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.geometry import ImageView, PatchGrid
from crossviz.trace import CrossPass, EncodedImage, ImageTower, Match, Pooler, TowerBlock, Trace
from crossviz.words import Caption

Nudge = tuple[int, int, int, int, float]
"""Layer (-1: the pooler), head, query, key, and what is added to that probability."""
WORDS = ("dog", "cat", "tree")
CAPTION = "dog cat tree dog"


@dataclass
class Tiny:
    """A pre-norm tower on a grid; float64. `values` and `out` of single blocks may be replaced to plant things."""

    pool: str = "token"
    prefix: int = 1
    grid_hw: tuple[int, int] = (2, 3)
    depth: int = 2
    heads: int = 2
    head_dim: int = 3
    plain: bool = False
    """No norm, no MLP, no position, and a linear match: closed forms hold."""
    seed: int = 0
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        dim, inner = self.dim, self.heads * self.head_dim
        shapes = {"enter": (3, dim), "prefix": (self.prefix, dim), "place": (self.tokens, dim), "project": (dim, 4)}
        for i in [*range(self.depth), -1]:
            shapes |= {f"{part}{i}": (dim, inner) for part in ("q", "k", "v")}
            shapes |= {f"o{i}": (inner, dim), f"up{i}": (dim, 5), f"down{i}": (5, dim)}
        shapes |= {"query": (1, self.heads * self.head_dim)}
        self.weights = {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}
        self.texts = {word: rng.normal(0, 1, 4) for word in WORDS}
        self.pixels = rng.normal(0, 1, (1, 3, *self.grid_hw))

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        return self.prefix + self.grid_hw[0] * self.grid_hw[1]

    def torch(self, name: str) -> Tensor:
        return torch.from_numpy(self.weights[name])

    def image_tower(self) -> ImageTower:
        pooler = Pooler("pooler", self._project_pooler, self.head_dim**-0.5, lambda c: self._joined(c, -1)[:, 0])
        return ImageTower(
            embed=self._embed,
            blocks=tuple(self._block(i) for i in range(self.depth)),
            grid=PatchGrid(*self.grid_hw, self.prefix),
            pool=self.pool,
            features=None,
            readout=self._readout,
            pooler=pooler if self.pool == "attention" else None,
            final_norm=self._norm if self.pool == "attention" else None,
        )

    def match(self) -> Match:
        def score(state: Tensor, phrases: Sequence[Any]) -> Tensor:
            texts = torch.from_numpy(np.stack([self.texts[phrase.text] for phrase in phrases]))
            if not self.plain:
                state, texts = F.normalize(state, dim=-1), F.normalize(texts, dim=-1)
            return state @ texts.T

        return Match("cosine", "Cosine of two small vectors.", lambda pixels: None, score, lambda s: s, "cosine")

    def trace(
        self,
        caption: str | Caption = CAPTION,
        grid: PatchGrid | None = None,
        cross: Callable[[Any], CrossPass] | None = None,
        **changes: Any,
    ) -> Trace:
        """A trace of the tower's own photo; `changes` are to `ImageTower`."""
        tower = replace(self.image_tower(), **changes)
        grid = PatchGrid(*self.grid_hw) if grid is None else grid
        provides: dict[str, Callable[[], Any]] = {"match": self.match, "image_tower": lambda: tower}
        if tower.blocks:
            provides["image_attention"] = lambda: True
        if cross is not None:
            provides["cross_pass"] = lambda: cross
        image = EncodedImage(
            photo=factories.photo(),
            view=ImageView.squash((60, 40), self.grid_hw),
            grid=grid,
            embedding=torch.zeros(4),
            features={"pixels": torch.from_numpy(self.pixels)},
            model_key="tiny",
            model_name="tiny",
        )
        words = factories.caption(caption) if isinstance(caption, str) else caption
        reasons = dict.fromkeys(("image_attention", "image_row"), "it is made of convolutions")
        lacks = {} if tower.blocks else reasons
        return Trace(image, words, 0.0, provides, lacks, lambda texts: torch.zeros(1))

    def _embed(self, pixels: Tensor) -> tuple[Tensor, None]:
        x = pixels.flatten(2).transpose(1, 2) @ self.torch("enter")
        x = torch.cat([self.torch("prefix").expand(len(x), -1, -1), x], 1)
        return (x if self.plain else x + self.torch("place")), None

    def _block(self, i: int) -> TowerBlock:
        return TowerBlock(
            label=f"block {i + 1}",
            norm=self._norm,
            project=lambda x: tuple(self._split(x @ self.torch(f"{part}{i}")) for part in ("q", "k", "v")),
            scale=self.head_dim**-0.5,
            merge=lambda context: self._joined(context, i),
            mlp=lambda x: x * 0 if self.plain else torch.tanh(self._norm(x) @ self.torch(f"up{i}")) @ self._down(i),
        )

    def _project_pooler(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = self._split(self.torch("query").expand(len(x), 1, -1))
        return query, self._split(x @ self.torch("k-1")), self._split(x @ self.torch("v-1"))

    def _readout(self, x: Tensor, beside: None, features: None) -> Tensor:
        if self.pool == "attention":
            return x @ self.torch("project")
        row = self._norm(x)[:, 0] if self.pool == "token" else self._norm(x)[:, self.prefix :].mean(1)
        return row @ self.torch("project")

    def _norm(self, x: Tensor) -> Tensor:
        return x if self.plain else F.layer_norm(x, (self.dim,))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def _joined(self, context: Tensor, i: int) -> Tensor:
        return context.transpose(1, 2).flatten(2) @ self.torch(f"o{i}")

    def _down(self, i: int) -> Tensor:
        return self.torch(f"down{i}")


@dataclass
class Loop:
    """What a tower does with its photo, in numpy, head by head and token by token; none of it with `crossviz`."""

    tiny: Tiny
    nudge: Nudge | None = None
    """Applied to a probability after its softmax."""
    context_nudge: tuple[int, int, int, float] | None = None
    """Head, query, channel, and what is added to the context of the last attention."""
    probs: dict[int, np.ndarray] = field(default_factory=dict)
    queries: dict[int, np.ndarray] = field(default_factory=dict)
    keys: dict[int, np.ndarray] = field(default_factory=dict)
    values: dict[int, np.ndarray] = field(default_factory=dict)

    def score(self, word: str, depth: int | None = None, mean: bool = False) -> float:
        """The match with a word if the tower ended after `depth` blocks; `mean` of all tokens as the class token."""
        tiny, w = self.tiny, self.tiny.weights
        x = self.after(tiny.depth if depth is None else depth)
        if tiny.pool == "attention":
            normed = np.stack([self._norm(row) for row in x])
            state = self._attend(w["query"], normed @ w["k-1"], normed @ w["v-1"], -1)[0] @ w["o-1"] @ w["project"]
        elif tiny.pool == "avg":
            state = np.mean([self._norm(row) for row in x[tiny.prefix :]], 0) @ w["project"]
        else:
            state = self._norm(x.mean(0) if mean else x[0]) @ w["project"]
        text = tiny.texts[word]
        if tiny.plain:
            return float(state @ text)
        return float(state @ text / np.linalg.norm(state) / np.linalg.norm(text))

    def after(self, depth: int) -> np.ndarray:
        """Tokens after that many blocks: `token dim`."""
        tiny, w = self.tiny, self.tiny.weights
        rows = [tiny.pixels[0, :, r, c] @ w["enter"] for r in range(tiny.grid_hw[0]) for c in range(tiny.grid_hw[1])]
        x = np.stack([*w["prefix"], *rows]) + (0 if tiny.plain else w["place"])
        for i in range(depth):
            normed = np.stack([self._norm(row) for row in x])
            x = x + self._attend(normed @ w[f"q{i}"], normed @ w[f"k{i}"], normed @ w[f"v{i}"], i) @ w[f"o{i}"]
            if not tiny.plain:
                x = x + np.stack([np.tanh(self._norm(row) @ w[f"up{i}"]) @ w[f"down{i}"] for row in x])
        return x

    def _attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, layer: int) -> np.ndarray:
        tiny = self.tiny
        out, every = np.zeros((len(q), q.shape[1])), np.zeros((tiny.heads, len(q), len(k)))
        for head in range(tiny.heads):
            own = slice(head * tiny.head_dim, (head + 1) * tiny.head_dim)
            grown = np.exp(q[:, own] @ k[:, own].T / np.sqrt(tiny.head_dim))
            every[head] = grown / grown.sum(-1, keepdims=True)
            if self.nudge is not None and self.nudge[:2] == (layer, head):
                every[head][self.nudge[2:4]] += self.nudge[4]
            out[:, own] = every[head] @ v[:, own]
        last = -1 if tiny.pool == "attention" else tiny.depth - 1
        if self.context_nudge is not None and layer == last:
            head, query, channel, step = self.context_nudge
            out[query, head * tiny.head_dim + channel] += step
        self.probs[layer], self.queries[layer], self.keys[layer], self.values[layer] = every, q, k, v
        return out

    def _norm(self, row: np.ndarray) -> np.ndarray:
        return row if self.tiny.plain else (row - row.mean()) / np.sqrt(row.var() + 1e-5)


def slopes(tiny: Tiny, layer: int, word: str, step: float = 1e-5, **how: Any) -> np.ndarray:
    """d score / d probability of one layer by central differences: `head query key`."""
    loop = Loop(tiny)
    loop.score(word, **how)
    found = np.zeros_like(loop.probs[layer])
    for place in np.ndindex(found.shape):
        up, down = (Loop(tiny, (layer, *place, s)).score(word, **how) for s in (step, -step))
        found[place] = (up - down) / (2 * step)
    return found
