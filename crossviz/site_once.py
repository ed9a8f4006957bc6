"""A call of a site computed once, in the place of the module's own `forward`, with what is asked for on the way.

What the model goes on with is made of the captured probs; where only some rows or none are asked for, of PyTorch's
fused attention on the same queries, keys and values. The first time that a site is called in a situation
(`crossviz.site_trust`), its own `forward` runs too, and must give the same.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from crossviz.errors import CaptureError
from crossviz.kernels import attend
from crossviz.site_parts import Heads, Kind, copied
from crossviz.site_trust import known, learn, situation, version
from crossviz.sites import arguments, covered, deviation_of, heads_of, kind_of, output_of

__all__ = ["Once", "Rows", "Want", "computed_once"]

Rows = slice | Sequence[int]

_NEVER = math.inf
"""Stands for the deviation where a call returns something else than is known of its class."""


class Want:
    """What is kept of the calls in one block."""

    def __init__(self, keep: frozenset[str], rows: Rows | None, dtype: torch.dtype | None) -> None:
        self.keep = keep
        self.rows = rows if rows is None or isinstance(rows, slice) else list(rows)
        """Of which queries scores and probs are kept; None for all."""
        self.dtype = dtype
        """Of kept scores and probs; None for what they are computed in."""
        self._last: tuple[list[tuple[Tensor, int | None]], bool] = ([], False)

    def blinded(self, given: Mapping[str, Any], bias: Tensor) -> bool:
        """Whether a mask leaves a query without a key. One mask serves all layers: it is looked at once."""
        masks = [(x, version(x)) for name, x in given.items() if "mask" in name and isinstance(x, Tensor)]
        last, blinding = self._last
        same = len(masks) == len(last) and all(
            a is b and i is not None and i == j for (a, i), (b, j) in zip(masks, last, strict=True)
        )
        if not same:
            blinding = bool(masks) and bool(bias.isneginf().all(-1).any())
            self._last = masks, blinding
        return blinding

    def fits(self, queries: int) -> None:
        """Refuse rows that are not there."""
        for row in () if self.rows is None or isinstance(self.rows, slice) else self.rows:
            if not -queries <= row < queries:
                raise CaptureError(f"row {row} was asked for, and it has {queries} queries.")

    def picked(self, tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """What is kept of all that was computed."""
        kept = {name: tensor for name, tensor in tensors.items() if name in self.keep and tensor is not None}
        for name in kept.keys() & {"scores", "probs", "single"}:
            kept[name] = self._cut(kept[name])
        return kept

    def _cut(self, tensor: Tensor) -> Tensor:
        self.fits(tensor.shape[-2])
        if self.rows is not None:
            # A copy: a view would keep all rows.
            tensor = tensor[..., self.rows, :].clone()
        return tensor if self.dtype is None else tensor.to(self.dtype)


class Once(NamedTuple):
    """One call of a site, computed in its place."""

    answer: Any
    """What the call returns."""
    tensors: dict[str, Tensor]
    num_heads: int
    deviation: float
    """From the module's own output, when that was last looked at."""
    total: Tensor
    """The sum of the output, a scalar on the site's device: finite unless some of it is not."""


def computed_once(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], want: Want) -> Once | None:
    """Compute a call in the module's place; None where the module must do it by itself.

    That is outside torch.no_grad and torch.inference_mode, while the model is compiled, traced or transformed, where a
    mask leaves a query without a key, and where the class returns something else than is known of it.

    Raises:
        CaptureError: if the site is not covered, is called in a way that is not, or its own `forward` gives something
            else.
    """
    if torch.is_grad_enabled() or _transformed():
        return None
    kind, _ = kind_of(type(module))
    if kind is None:
        kind = covered(module)
    given = arguments(kind, module, args, kwargs)
    seen = situation(module, given)
    deviation = known(module, seen)
    if deviation is None:
        covered(module)
    elif deviation == _NEVER:
        return None
    heads = heads_of(kind, module, given)
    want.fits(heads.queries.shape[2])
    if heads.bias is not None and want.blinded(given, heads.bias.to(heads.queries.dtype)):
        return None
    answer, tensors, output = _computed(kind, module, given, heads, want)
    if deviation is None:
        result = type(module).forward(module, *args, **kwargs)
        alike = _form(answer) == _form(result)
        deviation = deviation_of(output, kind.own(module, result)) if alike else _NEVER
        learn(module, seen, deviation)
        if not alike:
            return None
    return Once(answer, tensors, heads.queries.shape[1], deviation, _total(output))


def _computed(
    kind: Kind, module: nn.Module, given: Mapping[str, Any], heads: Heads, want: Want
) -> tuple[Any, dict[str, Tensor], Tensor]:
    """What the call returns, what is kept of it, and its output batch first."""
    returned = kind.returns_probs(given)
    q, k, v = heads.queries, heads.keys, heads.values
    cast = torch.is_autocast_enabled(q.device.type)
    with torch.autocast(q.device.type, enabled=False) if cast else nullcontext():
        scores, probs, context = attend(
            q, k, v,
            scale=heads.scale,
            bias=heads.bias,
            scores="scores" in want.keep,
            probs=returned or not want.keep.isdisjoint({"probs", "single"}),
            rows=None if returned else want.rows,
            dtype=None if returned else want.dtype,
        )  # fmt: skip
    output = output_of(kind, module, given, context)
    found = {
        "queries": q, "keys": k, "values": v, "scores": scores, "probs": probs,
        "single": probs[0] if probs is not None and len(probs) == 1 else None,
        "context": context, "output": output, "query_tokens": heads.query_tokens, "key_tokens": heads.key_tokens,
    }  # fmt: skip
    if returned:
        tensors = want.picked(found)
    else:
        tensors = {name: tensor for name, tensor in found.items() if name in want.keep and tensor is not None}
    for name in tensors.keys() & {"queries", "keys", "values"}:
        tensors[name] = tensors[name].contiguous()  # not a view of all three
    held = not want.keep.isdisjoint({"context", "output"})
    answer = kind.answer(module, given, copied(output) if held else output, probs if returned else None)
    return answer, tensors, output


def _total(output: Tensor) -> Tensor:
    return output.sum(dtype=torch.promote_types(output.dtype, torch.float32))


def _form(returned: Any) -> Any:
    if isinstance(returned, tuple):
        return tuple(map(_form, returned))
    return (returned.shape, returned.dtype) if isinstance(returned, Tensor) else returned


def _transformed() -> bool:
    compiled = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return compiled or torch._C._are_functorch_transforms_active()
