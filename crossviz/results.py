"""What a method found, frozen and checked when made: attention, relevance per word and patch, and where it is from.

Tensors are cloned to contiguous float32 on the CPU, without gradient. Equality is exact. `to_arrays` and
`from_arrays` take every type apart into numpy arrays and JSON-able values, and put it together again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from crossviz.errors import MethodError, ResultError, SelectionError
from crossviz.frozen import FrozenResult, check_flag, check_text, json_mapping, own_tensor, set_fields, strings

__all__ = ["AttentionRecord", "Guess", "Provenance", "RelevanceMap", "head_index", "layer_index"]

_ROW_SUM_TOLERANCE = 1e-4
_AGGREGATE_TOLERANCE = 1e-4  # of the mean (or sum) of the magnitudes, for float32 sums over many layers and heads


Heads = int | Sequence[tuple[int | str, int]] | None
"""An index (negative counts from the end), None for all, or pairs of a layer and a head that are picked one by one."""


@dataclass(frozen=True, eq=False)
class AttentionRecord(FrozenResult):
    """Every head's attention from one kind of token to another.

    Args:
        scores: scaled and masked, before softmax: `layer head query key`; -inf where masked.
        probs: after softmax: `layer head query key`; rows sum to 1, or are all 0 where every key is masked.
        layers: a label for each layer.
        query_kind: what queries, as "text".
        key_kind: what is looked at, as "image".
        has_null: whether the last key is the null key.

    Raises:
        ResultError: for parts that don't fit together.
    """

    _TENSORS = ("scores", "probs")

    scores: Tensor
    probs: Tensor
    layers: tuple[str, ...]
    query_kind: str
    key_kind: str
    has_null: bool = False

    def __post_init__(self) -> None:
        scores = own_tensor("scores", self.scores, "layer head query key")
        probs = own_tensor("probs", self.probs, "layer head query key")
        set_fields(self, scores=scores, probs=probs, layers=_labels(self.layers, probs.shape[0]))
        if scores.shape != probs.shape:
            raise ResultError(f"`scores` {tuple(scores.shape)} and `probs` {tuple(probs.shape)} must be of one shape.")
        if torch.isnan(scores).any() or torch.isposinf(scores).any():
            raise ResultError("`scores` must be finite, or -inf where masked.")
        if not torch.isfinite(probs).all() or (probs < 0).any():
            raise ResultError("`probs` must be finite and not negative.")
        sums = probs.sum(-1, dtype=torch.float64)  # layer head query
        off = torch.minimum((sums - 1).abs(), sums.abs())
        if off.numel() and off.max() > _ROW_SUM_TOLERANCE:
            raise ResultError(
                f"Every row of `probs` must sum to 1, or to 0 where all is masked, but one sums to "
                f"{sums.flatten()[off.argmax()].item():.6f}."
            )
        check_text(self, "query_kind", "key_kind")
        check_flag(self, "has_null")

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return self.probs.shape[0]

    @property
    def num_heads(self) -> int:
        """Number of heads of every layer."""
        return self.probs.shape[1]

    def select(self, layer: int | str | None = None, head: int | None = None) -> Tensor:
        """`probs`, averaged over the layers and heads that are not chosen: `query key`, a new tensor.

        Raises:
            SelectionError: when there is no such layer or head.
        """
        return _reduced(self.probs, self.layers, layer, head, "mean")


@dataclass(frozen=True, eq=False)
class RelevanceMap(FrozenResult):
    """A method's output per word and patch, not normalised, with its unit.

    Where there are single layers and heads, `values` is their mean (`reduce="mean"`, for probabilities) or their sum
    (`reduce="sum"`, for shares of a whole), and that is checked.

    Args:
        values: `word gh gw`; of each word the mean over its tokens; zeros for a word without tokens.
        unit: what a value is: "probability", "similarity share", ...
        signed: whether negative values have a meaning.
        method: the method's registered name.
        params: what the method was called with; JSON-able.
        direction: as "query: text, key: image".
        text_dependent: False where the same map would come out for any caption.
        token_counts: how many tokens each word has; weights its part in a phrase.
        reduce: how layers and heads make up `values`.
        per_head: `layer head word gh gw`, or None where the method has no single layers and heads.
        layers: a label for each layer of `per_head`.
        null_mass: `layer head word`, the probability that went to the null key; None without one.
        notes: sentences that belong wherever the map is shown.

    Raises:
        ResultError: for parts that don't fit together.
    """

    _TENSORS = ("values", "per_head", "null_mass")

    values: Tensor
    unit: str
    signed: bool
    method: str
    params: Mapping[str, Any]
    direction: str
    text_dependent: bool
    token_counts: tuple[int, ...]
    reduce: Literal["mean", "sum"] = "mean"
    per_head: Tensor | None = None
    layers: tuple[str, ...] = ()
    null_mass: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = own_tensor("values", self.values, "word gh gw")
        per_head = None if self.per_head is None else own_tensor("per_head", self.per_head, "layer head word gh gw")
        null_mass = None if self.null_mass is None else own_tensor("null_mass", self.null_mass, "layer head word")
        check_text(self, "unit", "method", "direction")
        check_flag(self, "signed", "text_dependent")
        if self.reduce not in ("mean", "sum"):
            raise ResultError(f'`reduce` must be "mean" or "sum", but is {self.reduce!r:.60}.')
        parts = per_head if per_head is not None else null_mass
        set_fields(
            self,
            values=values,
            per_head=per_head,
            null_mass=null_mass,
            params=json_mapping(self.params),
            layers=_labels(self.layers, 0 if parts is None else parts.shape[0]),
            token_counts=_counts(self.token_counts, values.shape[0]),
            notes=strings("notes", self.notes),
        )
        self._check_values()

    def _check_values(self) -> None:
        values, per_head, null_mass = self.values, self.per_head, self.null_mass
        for name in self._TENSORS:
            tensor = getattr(self, name)
            if tensor is not None and not torch.isfinite(tensor).all():
                raise ResultError(f"`{name}` must be finite, but holds NaN or infinity.")
        if 0 in values.shape[1:]:
            raise ResultError(f"`values` must have at least one patch, but is of shape {tuple(values.shape)}.")
        if not self.signed and ((values < 0).any() or (per_head is not None and (per_head < 0).any())):
            raise ResultError("A map that is not signed must not hold negative values.")
        if per_head is not None:
            if per_head.shape[2:] != values.shape or 0 in per_head.shape[:2]:
                raise ResultError(
                    f"`per_head` {tuple(per_head.shape)} must be `layer head` and then the shape of `values`, "
                    f"{tuple(values.shape)}."
                )
            apart = _largest(values - _reduced(per_head, self.layers, None, None, self.reduce))
            scale = _largest(_reduced(per_head.abs(), self.layers, None, None, self.reduce))
            if apart > _AGGREGATE_TOLERANCE * scale:
                raise ResultError(
                    f"`values` must be the {self.reduce} of `per_head` over layers and heads, but is {apart:.3g} off."
                )
        if null_mass is not None:
            expected = per_head.shape[:3] if per_head is not None else (*null_mass.shape[:2], values.shape[0])
            if null_mass.shape != expected or 0 in null_mass.shape[:2]:
                raise ResultError(f"`null_mass` must be of shape {tuple(expected)}, but is {tuple(null_mass.shape)}.")
            if (null_mass < 0).any() or (null_mass > 1 + _ROW_SUM_TOLERANCE).any():
                raise ResultError("`null_mass` must lie in 0 to 1.")
        if self.unit == "probability":
            total = values.sum((1, 2), dtype=torch.float64)  # word
            if null_mass is not None:
                total = total + null_mass.mean((0, 1), dtype=torch.float64)
            if (values < 0).any() or _largest(total) > 1 + _ROW_SUM_TOLERANCE:
                raise ResultError(
                    "Probabilities must not be negative, and sum to at most 1 over patches and null key, but a word "
                    f"has {_largest(total):.6f}."
                )

    def select(self, words: Sequence[int], layer: int | str | None = None, head: Heads = None) -> Tensor:
        """The map of some words together: the mean over their tokens.

        Args:
            words: indices of words.
            layer: index (negative counts from the end) or label of a layer; all of them, reduced, if None.
            head: index of a head (negative counts from the end); all of them, reduced, if None; or pairs of a layer
                and a head, whose mean is meant.

        Returns:
            `gh gw`, a new tensor in `unit`.

        Raises:
            SelectionError: when there is no such word, layer or head, or the model read no token of the words.
        """
        weights = self._weights(words)  # word
        if layer is None and head is None:
            maps = self.values
        elif self.per_head is None:
            raise SelectionError(
                f"The maps of {self.method} are not made of single layers and heads: leave `layer` and `head` out."
            )
        else:
            maps = _reduced(self.per_head, self.layers, layer, head, self.reduce)  # word gh gw
        return torch.einsum("w,whx->hx", weights, maps).contiguous()

    def select_null(self, words: Sequence[int], layer: int | str | None = None, head: Heads = None) -> float:
        """How much of the words' attention went to the null key, 0 to 1: the mean over tokens, layers and heads.

        Args and errors as `select`.

        Raises:
            MethodError: when the method has no null key.
        """
        weights = self._weights(words)
        if self.null_mass is None:
            raise MethodError(f"The method {self.method} has no null key, so that no null mass can be told.")
        return float(weights @ _reduced(self.null_mass, self.layers, layer, head, "mean"))

    def select_each(self, words: Sequence[int], heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor | None]:
        """The maps of some words together through single heads, one map per head.

        Args:
            words: indices of words.
            heads: places of a layer and of a head, both counted from 0.

        Returns:
            `head gh gw` as `select` gives one of them, and `head` as `select_null` does; None without a null key.

        Raises:
            SelectionError: as for `select`.
        """
        weights = self._weights(words)  # word
        if self.per_head is None:
            raise SelectionError(f"The maps of {self.method} are not made of single layers and heads.")
        read = weights.nonzero()[:, 0]
        at = tuple(torch.tensor(heads).T)
        maps = torch.einsum("w,nwhx->nhx", weights[read], self.per_head[:, :, read][at])
        return maps, None if self.null_mass is None else self.null_mass[:, :, read][at] @ weights[read]

    def _weights(self, words: Sequence[int]) -> Tensor:
        """Each word's part in a mean over tokens: `word`, sums to 1."""
        count = len(self.token_counts)
        chosen = list(dict.fromkeys(words))
        if not chosen:
            raise SelectionError("No word was chosen: give at least one word index.")
        weights = torch.zeros(count)
        for word in chosen:
            if not 0 <= word < count:
                raise SelectionError(f"There is no word {word}: the caption has {count}, counted from 0.")
            weights[word] = self.token_counts[word]
        if weights.sum() == 0:
            raise SelectionError("The model read no token of these words: they lie beyond the length that it takes.")
        return weights / weights.sum()


@dataclass(frozen=True, slots=True)
class Guess:
    """What a model takes one hidden token for.

    Args:
        token: the token's place in the caption's `tokens`.
        choices: texts with their probabilities, the likeliest first.

    Raises:
        ResultError: for probabilities that are none, or not in order.
    """

    token: int
    choices: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        choices = tuple((str(text), float(share)) for text, share in self.choices)
        object.__setattr__(self, "choices", choices)
        shares = [share for _, share in choices]
        if not choices or any(not 0 <= share <= 1 for share in shares) or shares != sorted(shares, reverse=True):
            raise ResultError(f"A guess holds texts with probabilities, the likeliest first, but is {choices!r:.120}.")


@dataclass(frozen=True, eq=False)
class Provenance(FrozenResult):
    """Where a result is from.

    Args:
        crossviz_version: version of this package.
        model: the model's name; of several names of one folder the one that it was first loaded by.
        weights_sha256: hex digest of the weights; None when they are not in one file.
        trained: False for weights that are as they were initialised; pictures of those are marked.
        method: the method's registered name.
        libraries: version by name.
        device: as "cpu" or "cuda:0".
        notes: sentences that belong wherever the result is shown.
        method_title: the method's name as it reads in a sentence; "" where only its registered name is known.

    Raises:
        ResultError: for a value of the wrong type.
    """

    crossviz_version: str
    model: str
    weights_sha256: str | None
    trained: bool
    method: str
    libraries: Mapping[str, str]
    device: str
    notes: tuple[str, ...] = ()
    method_title: str = ""

    def __post_init__(self) -> None:
        check_text(self, "crossviz_version", "model", "method", "device")
        if self.method_title != "":
            check_text(self, "method_title")
        check_flag(self, "trained")
        if self.weights_sha256 is not None:
            check_text(self, "weights_sha256")
        set_fields(self, libraries=json_mapping(self.libraries), notes=strings("notes", self.notes))


def layer_index(layers: Sequence[str], layer: int | str) -> int:
    """The place of a layer given by index (negative counts from the end) or by label.

    Raises:
        SelectionError: when there is no such layer; lists what there is.
    """
    there = ", ".join(f"{place} {label!r}" for place, label in enumerate(layers)) or "none"
    if isinstance(layer, str):
        if layer in layers:
            return list(layers).index(layer)
        raise SelectionError(f"There is no layer {layer!r:.60}. There are: {there}.")
    if isinstance(layer, bool) or not hasattr(layer, "__index__"):
        raise SelectionError(f"A layer is chosen by an index or a label, not by {layer!r:.60}. There are: {there}.")
    if not -len(layers) <= layer < len(layers):
        raise SelectionError(f"There is no layer {layer}. There are: {there}.")
    return layer.__index__() % len(layers)


def head_index(heads: int, head: int) -> int:
    """The place of a head given by index; negative counts from the end.

    Raises:
        SelectionError: when there is no such head.
    """
    if isinstance(head, bool) or not hasattr(head, "__index__") or not -heads <= head < heads:
        raise SelectionError(f"There is no head {head!r:.60}: heads are counted from 0 to {heads - 1}.")
    return head.__index__() % heads


def _reduced(
    parts: Tensor, layers: Sequence[str], layer: int | str | None, head: Heads, how: Literal["mean", "sum"]
) -> Tensor:
    """`layer head ...` to `...`, over the layers and heads that are not chosen."""
    if isinstance(head, list | tuple):
        # Heads that were picked one by one are no part of a whole: their mean compares with a single head.
        pins = pinned(layers, parts.shape[1], layer, head)
        return torch.stack([parts[at, one] for at, one in pins]).mean(0)
    if layer is not None:
        place = layer_index(layers, layer)
        parts = parts[place : place + 1]
    if head is not None:
        place = head_index(parts.shape[1], head)
        parts = parts[:, place : place + 1]
    return parts.mean((0, 1)) if how == "mean" else parts.sum((0, 1))


def pinned(layers: Sequence[str], heads: int, layer: object, pins: Sequence[object]) -> list[tuple[int, int]]:
    """Single heads as (layer, head) by their places.

    Raises:
        SelectionError: when there is none, one is not there, or a layer is asked for beside them.
    """
    if layer is not None or not pins or any(not isinstance(pin, list | tuple) or len(pin) != 2 for pin in pins):
        raise SelectionError(
            "Several heads are chosen by pairs of a layer and a head, as [(0, 2), (1, 3)], with `layer` left out."
        )
    return [(layer_index(layers, at), head_index(heads, head)) for at, head in pins]


def _labels(labels: Sequence[str], count: int) -> tuple[str, ...]:
    labels = strings("layers", labels)
    if len(labels) != count or len(set(labels)) != count:
        raise ResultError(f"`layers` must be {count} different labels, one per layer, but is {labels!r:.120}.")
    return labels


def _counts(counts: Sequence[int], words: int) -> tuple[int, ...]:
    counts = tuple(counts)
    if len(counts) != words or any(not isinstance(c, int) or isinstance(c, bool) or c < 0 for c in counts):
        raise ResultError(
            f"`token_counts` must be {words} integers of at least 0, one per word, but is {counts!r:.120}."
        )
    return counts


def _largest(tensor: Tensor) -> float:
    """The largest magnitude, 0 for an empty tensor."""
    return tensor.abs().max().item() if tensor.numel() else 0.0
