"""Cross-modal layers of a few numbers with their attention in the autograd graph, and the same layers in numpy loops.

Nothing is shared between the two but the weights, so that a method can be held against differences of the second.
"""

from dataclasses import dataclass, replace
from typing import Any

import factories
import numpy as np
import torch
from torch import Tensor

from crossviz.geometry import ImageView, PatchGrid
from crossviz.trace import AttentionGraph, CrossAttention, EncodedImage, Trace
from crossviz.words import Caption, Phrase, make_caption

GRID = PatchGrid(2, 3)
CAPTION = make_caption(
    "treehouse dog",
    [(1, "<", None, None), (2, "tree", 0, 4), (3, "house", 4, 9), (4, "dog", 10, 13), (5, ">", None, None)],
)
TOKENS, PATCHES, DIM, HEADS, DEPTH = len(CAPTION.tokens), GRID.num_patches, 4, 2, 2
Nudge = tuple[str, int, tuple[int, int, int], float]
"""Which attention ("cross", "text"), its layer, head, query and key, and what is added to that probability."""


@dataclass
class TinyGraph:
    """Two layers, two heads; five text tokens, an image token and six patches; float64.

    Args:
        joint: one sequence of text, image token and patches; else text that looks at image token and patches.
        writes: the text is read from left to right, and a word's score is what the position before it says of it.
    """

    joint: bool = False
    writes: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        keys = TOKENS + 1 + PATCHES
        self.states = rng.normal(0, 1, (keys, DIM))
        self.weights = {
            f"{kind} {part}{layer}": rng.normal(0, 0.8, (HEADS, DIM, DIM))
            for kind in ("text", "cross")
            for part in ("q", "k", "v")
            for layer in range(DEPTH)
        }
        self.read = rng.normal(0, 1, DIM)
        self.words = {token: rng.normal(0, 1, DIM) for token in range(TOKENS)}
        self._slopes: dict = {}

    def trace(self, only: tuple[int, ...] | None = None, caption: Caption = CAPTION) -> Trace:
        image = EncodedImage(factories.photo(), ImageView.squash((60, 40), (32, 48)), GRID, None, {}, "tiny", "tiny")
        provides: dict[str, Any] = {"attention_graph": self.graph, "cross_attention": self.attention}
        if self.writes:
            provides["written_attention"] = self.written
        return Trace(image, caption, None, provides, {}, lambda texts: torch.zeros(1), only=only)

    def graph(self) -> AttentionGraph:
        probs, texts, final = self._run()
        count = TOKENS if self.joint else 0

        def score(phrases: list[Phrase]) -> Tensor:
            return torch.stack([self._score(final, tokens_of(phrase)) for phrase in phrases])

        return AttentionGraph(
            probs=tuple(probs),
            layers=tuple(f"layer {i + 1}" for i in range(DEPTH)),
            score=score,
            unit="logit",
            sentence="A small figure.",
            rows=lambda phrase: [token - self.writes for token in tokens_of(phrase)],
            to_patches=lambda keys: keys[..., count + 1 :],
            joint=self.joint,
            text_probs=tuple(texts),
        )

    def attention(self) -> CrossAttention:
        probs = torch.stack(self._run()[0]).detach()[:, :, :TOKENS]
        own = torch.cat([probs[..., TOKENS + 1 :], probs[..., : TOKENS + 1]], -1) if self.joint else probs
        return CrossAttention(own.log(), own, ("layer 1", "layer 2"), False, {}, ("Small.",))

    def written(self) -> CrossAttention:
        """Each token's row is that of the token before it; the first keeps its own."""
        read, before = self.attention(), [0, *range(TOKENS - 1)]
        return replace(read, scores=read.scores[:, :, before], probs=read.probs[:, :, before])

    def _run(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        x = torch.from_numpy(self.states).clone().requires_grad_(True)
        image, probs, texts = x[TOKENS:], [], []
        x = x if self.joint else x[:TOKENS]
        for layer in range(DEPTH):
            if not self.joint:
                part, x = self._attend("text", layer, x, x)
                texts.append(part)
            part, x = self._attend("cross", layer, x, x if self.joint else image)
            probs.append(part)
        return probs, texts, x

    def _attend(self, kind: str, layer: int, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (torch.from_numpy(self.weights[f"{kind} {part}{layer}"]) for part in ("q", "k", "v"))
        scores = (x @ q) @ (seen @ k).transpose(1, 2) / 2
        if self.writes and kind == "text":
            scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -torch.inf)
        probs = torch.softmax(scores, -1)
        return probs, torch.tanh(x + (probs @ (seen @ v)).mean(0))

    def _score(self, final: Tensor, tokens: list[int]) -> Tensor:
        if not self.writes:
            return final[0] @ torch.from_numpy(self.read)
        table = torch.from_numpy(np.stack([self.words[token] for token in range(TOKENS)]))
        said = torch.log_softmax(final @ table.T, -1)
        return torch.stack([said[token - 1, token] for token in tokens]).mean()

    # The same by loops ---------------------------------------------------------------------------------------------

    def score(self, tokens: list[int], nudge: Nudge | None = None, kept: dict | None = None) -> float:
        """The score of a phrase's tokens, with one probability changed; `kept` takes every attention."""
        x = self.states.copy()
        image = x[TOKENS:]
        x = x if self.joint else x[:TOKENS]
        for layer in range(DEPTH):
            if not self.joint:
                x = self._looped("text", layer, x, x, nudge, kept)
            x = self._looped("cross", layer, x, x if self.joint else image, nudge, kept)
        if not self.writes:
            return float(x[0] @ self.read)
        found = []
        for token in tokens:
            says = np.array([x[token - 1] @ self.words[other] for other in range(TOKENS)])
            found.append(says[token] - np.log(np.exp(says).sum()))
        return float(np.mean(found))

    def _looped(
        self, kind: str, layer: int, x: np.ndarray, seen: np.ndarray, nudge: Nudge | None, kept: dict | None
    ) -> np.ndarray:
        every = np.zeros((HEADS, len(x), len(seen)))
        added = np.zeros_like(x)
        for head in range(HEADS):
            q, k, v = (self.weights[f"{kind} {part}{layer}"][head] for part in ("q", "k", "v"))
            for row in range(len(x)):
                last = row + 1 if self.writes and kind == "text" else len(seen)
                grown = np.array([np.exp((x[row] @ q) @ (seen[key] @ k) / 2) for key in range(last)])
                every[head, row, :last] = grown / grown.sum()
            if nudge is not None and nudge[:2] == (kind, layer) and nudge[2][0] == head:
                every[head][nudge[2][1:]] += nudge[3]
            added += every[head] @ (seen @ v) / HEADS
        if kept is not None:
            kept[kind, layer] = every
        return np.tanh(x + added)

    def slopes(self, kind: str, layer: int, tokens: list[int], step: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
        """An attention `head query key`, and the score's derivative by each of its probabilities, by differences."""
        if (kind, layer, tuple(tokens)) in self._slopes:
            return self._slopes[kind, layer, tuple(tokens)]
        kept: dict = {}
        self.score(tokens, kept=kept)
        probs = kept[kind, layer]
        grads = np.zeros_like(probs)
        for place in np.ndindex(probs.shape):
            if probs[place]:  # what is masked has no attention to weight
                ends = [self.score(tokens, (kind, layer, place, sign * step)) for sign in (1, -1)]
                grads[place] = (ends[0] - ends[1]) / (2 * step)
        self._slopes[kind, layer, tuple(tokens)] = probs, grads
        return probs, grads


def tokens_of(phrase: Phrase) -> list[int]:
    return [token for word in phrase.words for token in CAPTION.words[word].tokens]
