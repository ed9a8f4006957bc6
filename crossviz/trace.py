"""What passes between model families and methods: an encoded photo, and a trace that a method reads.

A family (`crossviz.models`) fills a trace, a method (`crossviz.methods`) reads it, and neither imports the other.
What a method may ask for are the capabilities below; a family that lacks one says why.
"""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from crossviz.cell_source import CellSources
from crossviz.errors import UnsupportedMethodError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.photo import Photo
from crossviz.results import AttentionRecord, Guess
from crossviz.words import Caption, Phrase

__all__ = [
    "CAPABILITIES",
    "AttentionGraph",
    "CrossAttention",
    "CrossPass",
    "EncodedImage",
    "ImageTower",
    "Match",
    "Pooler",
    "ResidualLayer",
    "ResidualStream",
    "TowerBlock",
    "Trace",
]

CAPABILITIES: Mapping[str, str] = {
    "cross_attention": "text tokens that query image patches",
    "residual_stream": "an image tower whose embedding is a sum over layers, heads and patches",
    "match": "a figure for how well a photo matches a word",
    "image_tower": "an image tower that can be run part by part",
    "image_attention": "self-attention in its image tower",
    "image_row": "an attention of its image tower that makes the photo's embedding",
    "patch_texts": "patches that its image tower takes into the space of the texts",
    "cross_pass": "a cross-attention with a gradient",
    "written_attention": "a decoder that writes the caption word by word, looking at the photo",
    "image_to_text": "image patches that query text tokens",
    "attention_graph": "cross-modal attention of its own layers with a gradient",
    "guesses": "a head that guesses hidden words",
    "cells": "a cross-attention that can be taken apart to its single numbers",
}
"""What a method may require of a model, with a line each. `image_attention`, `image_row` and `patch_texts` are
properties of the `ImageTower` that `image_tower` gives (it has blocks; blocks or a pooler; `to_text`), and
compute nothing of their own."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One photo as one model sees it: the expensive step, done once. It serves no other model."""

    photo: Photo
    view: ImageView
    grid: PatchGrid
    embedding: Tensor | None
    """Unit vector `dim`, on the model's device; None where the model reads photo and text only together."""
    features: Mapping[str, Tensor]
    """What the family keeps of the photo; its names are the family's own."""
    model_key: str
    """Name, device and weights of the model that encoded it."""
    model_name: str
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)

    def called(self, name: str) -> "EncodedImage":
        """This encoding of a photo that another file holds, too, by that file's name; what is kept is shared."""
        if name == self.photo.name:
            return self
        renamed = copy.copy(self)
        object.__setattr__(renamed, "photo", self.photo.called(name))
        return renamed

    def keep(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, done the first time only; for parts of the encoding that not every method needs."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = compute()
            return self._kept[name]


@dataclass(frozen=True, eq=False)
class CrossAttention:
    """Attention between text tokens and patches: query text and key image, or in `image_to_text` the reverse."""

    scores: Tensor  # layer head query key; before softmax
    probs: Tensor  # layer head query key; rows sum to 1
    layers: tuple[str, ...]
    has_null: bool
    """Whether the last key is a null key, "nothing in this picture"."""
    params: Mapping[str, Any]
    notes: tuple[str, ...]
    """Where the projections come from, and what the reader must know."""
    query_kind: str = "text tokens"
    key_kind: str = "image patches"
    """The first keys are the patches, row by row (of `image_to_text` the caption's tokens); what follows them is
    named here."""
    parts: Mapping[str, AttentionRecord] = field(default_factory=dict)
    """Where this is a composition of several attentions, each of them by itself, by a title."""


@dataclass(frozen=True, eq=False)
class ResidualLayer:
    """One block of an image tower, for one photo, as summands of the tower's embedding.

    "Pooled" means summed over the tower's query tokens q with the weights c_q = (pooling weight) / (standard
    deviation of q in the last LayerNorm), so that everything after is linear. Summed with those weights, the
    block's attention adds sum over heads h and keys i of `weighted[h, i] * values[h, i] @ out_weight[h]`, plus
    `bias`; its MLP adds `mlp`.
    """

    scores: Tensor  # head key; of the pooled query, before softmax
    probs: Tensor  # head key; rows sum to 1
    weighted: Tensor  # head key; sum over q of c_q * probs
    values: Tensor  # head key head_dim; with the value bias
    out_weight: Tensor  # head head_dim dim; the output projection, with layer scale
    bias: Tensor  # dim; the output projection's bias, pooled
    mlp: Tensor  # dim; pooled


@dataclass(frozen=True, eq=False)
class ResidualStream:
    """An image tower's embedding of one photo, taken apart: embedding = P^T (g * C(sum of all) + b) + bias.

    The sum of all is `initial` plus every layer's summands, C takes off the mean over the channels, g and b are
    the last LayerNorm's, P is `projection`. Everything on the CPU.
    """

    layers: tuple[ResidualLayer, ...]
    labels: tuple[str, ...]
    initial: Tensor  # dim; token and position embeddings, pooled
    norm_weight: Tensor  # dim
    norm_bias: Tensor  # dim
    projection: Tensor  # dim embed
    projection_bias: Tensor  # embed
    embedding: Tensor  # embed; as the tower itself gives it, not normalised
    num_prefix_tokens: int
    """Keys before the patches (class token, registers)."""
    query_kind: str
    key_kind: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TowerBlock:
    """One pre-norm block of a vision transformer as functions: x + merge(attention) and then x + mlp(x).

    Tokens are `batch token dim`, heads `batch head token head_dim`; all of it differentiable.
    """

    label: str
    norm: Callable[[Tensor], Tensor]
    """What comes before the attention: tokens to tokens."""
    project: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    """Normed tokens to queries, keys and values by head, as they meet one another (after a query or key norm)."""
    scale: float
    """What Q K^T is multiplied by."""
    merge: Callable[[Tensor], Tensor]
    """Context by head to what the attention adds: output projection with its bias, layer scale."""
    mlp: Callable[[Tensor], Tensor]
    """Tokens to what the MLP adds, with its own norm and layer scale."""


@dataclass(frozen=True, eq=False)
class Pooler:
    """An attention pooler: one learned query that looks at the tokens after the last block."""

    label: str
    project: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    """Tokens (after `ImageTower`'s last norm) to query `batch head 1 head_dim`, keys and values."""
    scale: float
    merge: Callable[[Tensor], Tensor]
    """Context `batch head 1 head_dim` to the pooled vector `batch dim`, with what follows in the pooler (its MLP)."""


@dataclass(frozen=True, eq=False)
class ImageTower:
    """An image tower as parts that `crossviz.tower.run_tower` puts together; nothing is hooked or changed.

    photos -> `embed` -> x -> blocks -> `features` (where there is such a map) -> `readout` -> state. The state is what
    `Match.score` takes; for CLIP it is the embedding. A convolutional tower has no blocks.
    """

    embed: Callable[[Tensor], tuple[Tensor, Any]]
    """Pixels `batch 3 height width` to x and whatever `features` and `readout` need beside it. x is tokens `batch token
    dim` where there are blocks, else the last feature map `batch channel height width`."""
    blocks: tuple[TowerBlock, ...]
    grid: PatchGrid
    """Of x, or of a pooler's tokens: prefix tokens first, then the patches row by row. It may be coarser than the
    explanation's grid, by whole factors."""
    pool: str
    """Whose attention row is the image's: "token" the first token's, "avg" the mean of the patches', "attention" the
    pooler's, "none" without blocks."""
    features: Callable[[Tensor, Any], Tensor] | None
    """x after the blocks to the last feature map `batch channel gh gw`, where everything that is read comes from;
    None where x itself is read (a class token, a pooler)."""
    readout: Callable[[Tensor, Any, Tensor | None], Any]
    """x after the blocks (or after any block, as though the tower ended there), what `embed` gave beside it, and the
    last feature map (None: made anew) to the state. Where there is a pooler, x is what that gave: `batch dim`."""
    pooler: Pooler | None = None
    to_text: Callable[[Tensor], Tensor] | None = None
    """Tokens `... dim` of the last block into the space of the texts `... embed`, each by itself: last norm and
    projection; not normalised. None where no single patch can be taken there. Without blocks, the last feature map's
    cells."""
    final_norm: Callable[[Tensor], Tensor] | None = None
    """The norm between the last block and the pooler; None where there is none. Without blocks it makes the pooler's
    tokens of the last feature map, prefix tokens first."""
    pool_note: str = ""
    """What `pool` does not say of how the photo's embedding is made; a sentence for people, "" if it says all."""


@dataclass(frozen=True, eq=False)
class Match:
    """How well photos match phrases: the figure that gradients are taken of, and that must fall when the thing goes.

    CLIP: the cosine of the photo's embedding and that of the phrase in a prompt. `crossviz-mini`: the log-odds of the
    phrase being found, in the caption: log((1 - null mass) / null mass).
    """

    unit: str
    sentence: str
    """What the figure is, for people."""
    state: Callable[[Tensor], Any]
    """Pixels `batch 3 height width` to the state, by the model's own fastest way; without gradient."""
    score: Callable[[Any, Sequence[Phrase]], Tensor]
    """State of some photos, and phrases of the caption, to `batch phrase`; differentiable."""
    readable: Callable[[Tensor], Tensor]
    """Scores as they are shown to people (log-odds as a share of 0 to 1); monotone."""
    readable_unit: str


@dataclass(frozen=True, eq=False)
class CrossPass:
    """One pass of a family's own cross-attention, in the autograd graph: text tokens look at patches."""

    probs: Tensor  # batch layer head token key; the key after the patches is the null key, where there is one
    layers: tuple[str, ...]
    has_null: bool
    text_probs: tuple[Tensor, ...]  # each head token token; the text tower's self-attention, bottom to top
    score: Callable[[Sequence[Phrase]], Tensor]
    """As `Match.score`, of these very probs: `batch phrase`."""


@dataclass(frozen=True, eq=False)
class AttentionGraph:
    """One pass of a model's own cross-modal layers, for one photo and one caption, in the autograd graph."""

    probs: tuple[Tensor, ...]  # each head query key; one per layer, bottom to top
    layers: tuple[str, ...]
    score: Callable[[Sequence[Phrase]], Tensor]
    """What gradients are taken of: `phrase`."""
    unit: str
    sentence: str
    """What the score is, for people."""
    rows: Callable[[Phrase], Sequence[int]]
    """The queries that are a phrase's."""
    to_patches: Callable[[Tensor], Tensor]
    """What there is per key, `... key`, as what there is per patch, `... patch`, row by row: a choice of keys, or the
    composition with a pooler's attention."""
    joint: bool
    """Whether text and image are one sequence in which all look at all: queries are keys, and in the same order."""
    text_probs: tuple[Tensor, ...] = ()  # each head query query; before the cross-attention of the same layer
    """The text's self-attention between the layers; empty where `joint`."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One photo and one caption in one model, as a method reads them."""

    image: EncodedImage
    caption: Caption
    similarity: float | None
    """Cosine of the photo's and the caption's embedding, in [-1, 1]; None where the model has no such embeddings."""
    provides: Mapping[str, Callable[[], Any]]
    """Capability to what computes it."""
    lacks: Mapping[str, str]
    """Capability to the reason why this model does not offer it."""
    embed_texts: Callable[[list[str]], Tensor]
    """Texts to unit vectors `text dim`, on the CPU."""
    model_notes: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()
    """The words that the model did not get to read: masks stood in the place of their tokens."""
    only: tuple[int, ...] | None = None
    """The words whose maps are asked for, all of them if None. The others' may be left zero, to save time."""

    def cross_attention(self) -> CrossAttention:
        """Attention from text tokens to patches.

        Raises:
            UnsupportedMethodError: the model has none.
        """
        return self._get("cross_attention")

    def residual_stream(self) -> ResidualStream:
        """The summands of the image embedding.

        Raises:
            UnsupportedMethodError: the model's image tower can't be taken apart like that.
        """
        return self._get("residual_stream")

    def match(self) -> Match:
        """How well photos match the caption's phrases.

        Raises:
            UnsupportedMethodError: the model has no such figure.
        """
        return self._get("match")

    def image_tower(self) -> ImageTower:
        """The image tower, part by part.

        Raises:
            UnsupportedMethodError: the model's image tower can't be taken apart.
        """
        return self._get("image_tower")

    def cross_pass(self, state: Any) -> CrossPass:
        """The family's own cross-attention on a state that has a gradient.

        Raises:
            UnsupportedMethodError: the model has none.
        """
        return self._get("cross_pass")(state)

    def written_attention(self) -> CrossAttention:
        """Attention to patches of the positions that wrote each token, as rows of that token.

        Raises:
            UnsupportedMethodError: the model writes nothing.
        """
        return self._get("written_attention")

    def image_to_text(self) -> CrossAttention:
        """Attention from patches to text tokens.

        Raises:
            UnsupportedMethodError: the model's patches look at no text.
        """
        return self._get("image_to_text")

    def attention_graph(self) -> AttentionGraph:
        """The model's own cross-modal attention, with a gradient; to be called with autograd on.

        Raises:
            UnsupportedMethodError: the model has none, or no figure to take a gradient of.
        """
        return self._get("attention_graph")

    def guesses(self, count: int = 10) -> tuple[Guess, ...]:
        """What the model takes the hidden words' tokens for, each token's likeliest first.

        Raises:
            UnsupportedMethodError: the model guesses no words.
        """
        return self._get("guesses")(count)

    def cells(self) -> CellSources:
        """The layers of its cross-attention, to be opened down to single numbers.

        Raises:
            UnsupportedMethodError: the model has none, or not all of its numbers can be had.
        """
        return self._get("cells")

    @property
    def pixels(self) -> Tensor:
        """The photo as the image tower takes it: `1 3 height width`."""
        return self.image.features["pixels"]

    def refusal(self, capability: str) -> UnsupportedMethodError:
        """The error that says why the model does not offer a capability, to be raised by what needs it."""
        reason = self.lacks.get(capability, "it does not offer it")
        return UnsupportedMethodError(
            f"{self.image.model_name} does not offer {CAPABILITIES[capability]}: {reason}. Choose another method, "
            "or another model."
        )

    def _get(self, capability: str) -> Any:
        if capability not in self.provides:
            raise self.refusal(capability)
        return self.provides[capability]()
