"""What passes between model families and methods: an encoded photo, and a trace that a method reads.

A family (`crossviz.models`) fills a trace, a method (`crossviz.methods`) reads it, and neither imports the other.
What a method may ask for are the capabilities below; a family that lacks one says why.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from crossviz.errors import UnsupportedMethodError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.photo import Photo
from crossviz.words import Caption

__all__ = ["CAPABILITIES", "CrossAttention", "EncodedImage", "ResidualLayer", "ResidualStream", "Trace"]

CAPABILITIES: Mapping[str, str] = {
    "cross_attention": "text tokens that query image patches",
    "residual_stream": "an image tower whose embedding is a sum over layers, heads and patches",
}
"""What a method may require of a model, with a line each."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One photo as one model sees it: the expensive step, done once. It serves no other model."""

    photo: Photo
    view: ImageView
    grid: PatchGrid
    embedding: Tensor
    """Unit vector `dim`, on the model's device."""
    features: Mapping[str, Tensor]
    """What the family keeps of the photo; its names are the family's own."""
    model_key: str
    """Name, device and weights of the model that encoded it."""
    model_name: str
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)

    def keep(self, name: str, compute: Callable[[], T]) -> T:
        """`compute()`, done the first time only; for parts of the encoding that not every method needs."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = compute()
            return self._kept[name]


@dataclass(frozen=True, eq=False)
class CrossAttention:
    """Attention from every text token to every patch: query text, key image."""

    scores: Tensor  # layer head token key; before softmax
    probs: Tensor  # layer head token key; rows sum to 1
    layers: tuple[str, ...]
    has_null: bool
    """Whether the last key is a null key, "nothing in this picture"; the others are the patches, row by row."""
    params: Mapping[str, Any]
    notes: tuple[str, ...]
    """Where the projections come from, and what the reader must know."""


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
class Trace:
    """One photo and one caption in one model, as a method reads them."""

    image: EncodedImage
    caption: Caption
    similarity: float
    """Cosine of the photo's and the caption's embedding, in [-1, 1]."""
    provides: Mapping[str, Callable[[], Any]]
    """Capability to what computes it."""
    lacks: Mapping[str, str]
    """Capability to the reason why this model does not offer it."""
    embed_texts: Callable[[list[str]], Tensor]
    """Texts to unit vectors `text dim`, on the CPU."""
    model_notes: tuple[str, ...] = ()

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

    def _get(self, capability: str) -> Any:
        if capability not in self.provides:
            reason = self.lacks.get(capability, "it does not offer it")
            raise UnsupportedMethodError(
                f"{self.image.model_name} does not offer {CAPABILITIES[capability]}: {reason}. Choose another method, "
                "or another model."
            )
        return self.provides[capability]()
