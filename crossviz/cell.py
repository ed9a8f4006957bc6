"""One cell of an attention: one query, one key, one head, and every number between them.

Vaswani et al., "Attention Is All You Need" (2017), section 3.2: q = x W_Q + b_Q, k = y W_K + b_K, v = y W_V + b_V;
score = q . k / sqrt(d_k), masked; probs = softmax(scores); context = probs V; attended = concat(contexts) W_O + b_O.
What comes out is added to the residual stream and normalised: LayerNorm(stream + attended).

A `Cell` checks, when it is made, that each of its numbers follows from those before it. `crossviz.cell_source` takes
one out of a model's layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, check_flag, check_text, own_tensor, set_fields

__all__ = ["TOLERANCE", "Cell", "linear", "unit_length"]

TOLERANCE = 1e-5
"""Largest accepted difference of a number from what the numbers before it give, relative to the largest beside it."""


@dataclass(frozen=True, eq=False)
class Cell(FrozenResult):
    """Every number of one cell. Weights are stored output first, as torch has them: `y = weight @ x + bias`.

    Args:
        layer, query_kind, key_kind: labels.
        head, num_heads, query, key: which cell; `query` and `key` are places in the record's row and column.
        scale: what the dot product is multiplied by, 1 / sqrt(d_k).
        unit: whether query and keys are brought to length 1 after their projections.
        has_null: whether the last key is the null key.
        stream: the query's token in the residual stream.
        query_input: what W_Q is applied to; `stream` itself, or LayerNorm(stream).
        query_vector: the query of this head.
        key_input: what W_K and W_V are applied to; None for the null key, which is learned as it is.
        key_vectors: every key of this head; `scores` and `probs` are the query's whole row.
        offsets: what is added to each scaled product: the mask (-inf), the null key's bias.
        values: every value of this head; None where the attention has no values, and then also what follows.
        contexts: of every head.
        attended: all contexts, one after the other, through W_O.
        summed: stream + attended; None where nothing is added.
        output: LayerNorm(summed), or `attended` where nothing is added: the model's own.

    Raises:
        ResultError: for parts that don't fit together, or a number that does not follow from those before it.
    """

    _TENSORS = (
        "stream", "query_input", "query_weight", "query_bias", "query_vector", "key_input", "key_weight", "key_bias",
        "value_weight", "value_bias", "key_vectors", "offsets", "scores", "probs", "values", "contexts", "out_weight",
        "out_bias", "attended", "summed", "output", "entry_weight", "entry_bias", "norm_weight", "norm_bias",
    )  # fmt: skip

    layer: str
    query_kind: str
    key_kind: str
    head: int
    num_heads: int
    query: int
    key: int
    scale: float
    unit: bool
    has_null: bool
    stream: Tensor  # dim
    query_input: Tensor  # query_dim
    query_weight: Tensor  # head_dim query_dim
    query_vector: Tensor  # head_dim
    key_vectors: Tensor  # key head_dim
    offsets: Tensor  # key
    scores: Tensor  # key
    probs: Tensor  # key
    query_bias: Tensor | None = None  # head_dim
    key_input: Tensor | None = None  # key_dim
    key_weight: Tensor | None = None  # head_dim key_dim
    key_bias: Tensor | None = None  # head_dim
    value_weight: Tensor | None = None  # head_dim key_dim
    value_bias: Tensor | None = None  # head_dim
    values: Tensor | None = None  # key head_dim
    contexts: Tensor | None = None  # head head_dim
    out_weight: Tensor | None = None  # dim head*head_dim
    out_bias: Tensor | None = None  # dim
    attended: Tensor | None = None  # dim
    summed: Tensor | None = None  # dim
    output: Tensor | None = None  # dim
    entry_weight: Tensor | None = None  # dim
    entry_bias: Tensor | None = None  # dim
    entry_eps: float = 0.0
    norm_weight: Tensor | None = None  # dim
    norm_bias: Tensor | None = None  # dim
    norm_eps: float = 0.0

    def __post_init__(self) -> None:
        two = {"query_weight", "key_weight", "value_weight", "key_vectors", "values", "contexts", "out_weight"}
        kept = {}
        for name in self._TENSORS:
            if getattr(self, name) is not None:
                kept[name] = own_tensor(name, getattr(self, name), "out in" if name in two else "dim")
        set_fields(self, **kept)
        check_text(self, "layer", "query_kind", "key_kind")
        check_flag(self, "unit", "has_null")
        if not 0 <= self.key < len(self.probs) or not 0 <= self.head < self.num_heads:
            raise ResultError(
                f"A cell has a key below {len(self.probs)} and a head below {self.num_heads}, but these are {self.key} "
                f"and {self.head}."
            )
        try:
            for name, found, expected in self._relations():
                _compare(name, found, expected)
        except (RuntimeError, IndexError) as error:
            raise ResultError(f"The parts of a cell don't fit together in their sizes: {error}") from error

    @property
    def is_null(self) -> bool:
        """Whether the key is the null key."""
        return self.has_null and self.key == len(self.probs) - 1

    @property
    def key_vector(self) -> Tensor:
        """The key of this head, `head_dim`."""
        return self.key_vectors[self.key]

    @property
    def products(self) -> Tensor:
        """query * key, element by element, in float64: `head_dim`; their sum is the dot product."""
        return self.query_vector.double() * self.key_vector.double()

    @property
    def score(self) -> float:
        """Scaled and masked, before softmax."""
        return float(self.scores[self.key])

    @property
    def prob(self) -> float:
        """After softmax."""
        return float(self.probs[self.key])

    def _relations(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """What must hold, in float64: a name, a number as it is here, and what the numbers before it give."""
        wide = {name: None if getattr(self, name) is None else getattr(self, name).double() for name in self._TENSORS}
        if self.entry_weight is None:
            yield "the input of W_Q", wide["query_input"], wide["stream"]
        else:
            normed = _norm(wide["stream"], wide["entry_weight"], wide["entry_bias"], self.entry_eps)
            yield "the first LayerNorm", wide["query_input"], normed
        query = unit_length(linear(wide["query_input"], wide["query_weight"], wide["query_bias"]), self.unit)
        yield "the query", wide["query_vector"], query
        if self.key_input is not None:
            key = unit_length(linear(wide["key_input"], wide["key_weight"], wide["key_bias"]), self.unit)
            yield "the key", wide["key_vectors"][self.key], key
        row = wide["key_vectors"] @ wide["query_vector"] * self.scale + wide["offsets"]
        if not torch.equal(torch.isfinite(row), torch.isfinite(wide["scores"])):
            raise ResultError("The mask of a cell hides other keys than the model does.")
        seen = torch.isfinite(row)
        yield "the scores", wide["scores"][seen], row[seen]
        yield "the softmax", wide["probs"], torch.softmax(wide["scores"], -1)
        if self.values is None:
            return
        if self.key_input is not None:
            value = linear(wide["key_input"], wide["value_weight"], wide["value_bias"])
            yield "the value", wide["values"][self.key], value
        yield "the context", wide["contexts"][self.head], wide["probs"] @ wide["values"]
        attended = linear(wide["contexts"].flatten(), wide["out_weight"], wide["out_bias"])
        yield "what the heads give together", wide["attended"], attended
        if self.summed is None:
            yield "the output", wide["output"], wide["attended"]
            return
        yield "the residual sum", wide["summed"], wide["stream"] + wide["attended"]
        normed = _norm(wide["summed"], wide["norm_weight"], wide["norm_bias"], self.norm_eps)
        yield "the LayerNorm", wide["output"], normed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`... in` to `... out`."""
    return F.linear(x, weight, bias)


def unit_length(x: Tensor, wanted: bool) -> Tensor:
    """The same with every vector of length 1, if that is wanted."""
    return F.normalize(x, dim=-1) if wanted else x


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _compare(name: str, found: Tensor, expected: Tensor) -> None:
    """ResultError unless both are the same to within `TOLERANCE` of the largest."""
    if found.shape != expected.shape:
        raise ResultError(f"In a cell, {name} has {tuple(found.shape)} numbers where {tuple(expected.shape)} follow.")
    off = float((found - expected).abs().max()) if found.numel() else 0.0
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    # Written so that NaN is refused too.
    if not off <= TOLERANCE * (largest or 1.0):
        raise ResultError(
            f"In a cell, {name} differs from what the numbers before it give by {off:.1e}, the largest being "
            f"{largest:.1e}: at most {TOLERANCE:.0e} of that is accepted."
        )
