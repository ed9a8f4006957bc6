"""Attention sites: which modules of a model are multi-head attention, and each of their calls computed again.

Every kind of site (`crossviz.site_kinds`) computes Vaswani et al., "Attention Is All You Need" (2017), eq. 1, from
its own weights and inputs: Q = x_q W_Q, K = x_k W_K, V = x_v W_V; scores = Q K^T / sqrt(d_k) + mask;
probs = softmax(scores); context = probs V; attended = context W_O. A class counts only with the very `forward` that
was read for it: a subclass or an instance with another one is refused.

Nothing here changes a module or sets a hook; `crossviz.capture` sees to the real inputs.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from crossviz.attention import masked_softmax
from crossviz.errors import CaptureError
from crossviz.instead import Instead
from crossviz.site_kinds import KINDS, Kind, Projections
from crossviz.site_parts import Heads, JointKind, copied
from crossviz.site_projections import project, project_all

__all__ = [
    "TOLERANCES",
    "Projections",
    "Recomputed",
    "arguments",
    "covered",
    "deviation_of",
    "head_norms",
    "heads_of",
    "kind_of",
    "output_of",
    "projections",
    "recompute",
    "refusal",
    "sites",
    "uncovered",
]

TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}
"""The largest deviation from the module's own output that is accepted, relative to that output's largest value.

A few units of rounding (torch.finfo(dtype).eps) for the half precisions, whose fused kernels round elsewhere.
"""

NOT_FINITE = "its own output is not finite; look for NaN in the input, or for a token whose keys are all masked."


class Recomputed(NamedTuple):
    """One call of a site, computed again from its real inputs and found to give its own output."""

    query_tokens: Tensor  # batch query query_dim; what the query projection was given
    key_tokens: Tensor  # batch key key_dim; what the key projection was given
    queries: Tensor  # batch head query head_dim, as they meet the keys
    keys: Tensor  # batch head key head_dim
    values: Tensor  # batch head key head_dim
    scores: Tensor  # batch head query key, float32 or wider
    probs: Tensor  # batch head query key, float32 or wider
    single: Tensor | None
    """`probs` of a batch of one, without the batch: `head query key`. `probs` is made of it, so that what comes after
    has a gradient with respect to it. None for a larger batch."""
    context: Tensor  # batch head query head_dim
    output: Tensor  # batch query out_dim; batch out_dim where the site pools
    own: Tensor  # the module's own output, in the shape of `output`
    deviation: float
    """Largest difference of `output` from the module's own, relative to the largest value of that."""
    replacement: Callable[[], Any]
    """Makes what the module would have returned with the recomputed tensors in the place of its own."""


def sites(model: nn.Module) -> dict[str, nn.Module]:
    """The attention sites of `model` that can be captured, by their name in the model, in the model's order."""
    return {name: module for name, module in model.named_modules() if refusal(module) is None}


def uncovered(model: nn.Module) -> dict[str, str]:
    """The modules of `model` that look like attention but can't be captured: name to reason."""
    looks = [name for name, module in model.named_modules() if _looks_like_attention(module)]
    reasons = {}
    for name in looks:
        module = model.get_submodule(name)
        reason = refusal(module)
        # A block that only holds an attention module is not one itself.
        innermost = not any(other != name and other.startswith(f"{name}." if name else "") for other in looks)
        if reason is not None and innermost:
            reasons[name] = reason
    return reasons


def refusal(module: nn.Module) -> str | None:
    """Why `module` can't be captured as it is now; None if it can."""
    kind, declared = kind_of(type(module))
    title = type(module).__qualname__
    if kind is None:
        return f"{title} ({type(module).__module__}) is none of the attention classes that are covered"
    replaced = "forward" in vars(module) and not isinstance(vars(module)["forward"], Instead)
    if replaced or type(module).forward is not declared.forward:
        return f"{title} has a `forward` of its own, so what it computes is not known"
    try:
        reason = kind.refusal(module) or _other_arguments(kind, module)
    except AttributeError as error:
        reason = f"it is of another version of {declared.__module__} ({error})"
    return None if reason is None else f"{title} is not covered here: {reason}"


def projections(module: nn.Module) -> Projections:
    """The query, key, value and output projections of a site.

    Raises:
        CaptureError: if `module` is not a covered site.
    """
    return covered(module).projections(module)


def head_norms(module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    """What a site normalises its queries and its keys with, head by head, after the projections; None for nothing.

    Raises:
        CaptureError: if `module` is not a covered site.
    """
    return covered(module).norms(module)


def recompute(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Recomputed:
    """Compute one call of a site again, with scores, probs and context; differentiable.

    Scores, probs and context are computed in float32 where the module runs in half precision, as fused kernels do.

    Args:
        module: a covered site.
        args: the positional arguments that it was called with.
        kwargs: the keyword arguments that it was called with.
        result: what it returned.

    Raises:
        CaptureError: if the site is not covered, was called in a way that is not, or returned something else than
            what comes out here (beyond `TOLERANCES`).
    """
    kind = covered(module)
    given = arguments(kind, module, args, kwargs)
    heads = heads_of(kind, module, given)
    q, k, v = heads.queries, heads.keys, heads.values
    wide = torch.promote_types(v.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scores = (q.to(wide) @ k.to(wide).transpose(-2, -1)) * heads.scale  # batch head query key
        if heads.bias is not None:
            scores = scores + heads.bias.to(wide)
        probs = masked_softmax(scores)
        single = probs[0] if len(probs) == 1 else None
        probs = probs if single is None else single[None]
        context = (probs @ v.to(wide)).to(v.dtype)  # batch head query head_dim
    output = output_of(kind, module, given, context)
    own = kind.own(module, result)
    deviation = deviation_of(output, own)

    def replacement() -> Any:
        return _as_given(kind.answer(module, given, copied(output), probs), result)

    return Recomputed(
        heads.query_tokens, heads.key_tokens, q, k, v, scores, probs, single, context, output, own, deviation,
        replacement,
    )  # fmt: skip


def heads_of(kind: Kind, module: nn.Module, given: Mapping[str, Any]) -> Heads:
    """A call up to where queries meet keys."""
    return kind.heads(module, given) if isinstance(kind, JointKind) else _projected(kind, module, given)


def output_of(kind: Kind, module: nn.Module, given: Mapping[str, Any], context: Tensor) -> Tensor:
    """A call from the context on, `batch head query head_dim`, to its output, batch first."""
    flat = context.transpose(1, 2).flatten(2)
    if isinstance(kind, JointKind):
        return kind.attended(module, given, flat)
    weights = kind.projections(module)
    return kind.finish(module, project(flat, weights.out_weight, weights.out_bias))


def _projected(kind: Kind, module: nn.Module, given: Mapping[str, Any]) -> Heads:
    """Queries, keys and values of a site with one projection for each."""
    weights = kind.projections(module)
    inputs = kind.read(module, given)
    query_norm, key_norm = kind.norms(module)
    q, k, v = (_heads(x, weights.num_heads) for x in project_all(inputs, weights))
    q = q if query_norm is None else query_norm.forward(q)
    k = k if key_norm is None else key_norm.forward(k)
    return Heads(inputs.query, inputs.key, q, k, v, weights.scale, inputs.bias)


@cache
def kind_of(module_class: type) -> tuple[Kind | None, type]:
    """The kind of a class of modules, and the class (itself or a base) that makes it so."""
    for cls in module_class.__mro__:
        path = f"{cls.__module__}.{cls.__qualname__}"
        for kind in KINDS:
            if path in kind.classes:
                return kind, cls
    return None, nn.Module


def covered(module: nn.Module) -> Kind:
    """The kind of a module; CaptureError if it can't be captured as it is now."""
    kind, _ = kind_of(type(module))
    reason = refusal(module)
    if kind is None or reason is not None:
        raise CaptureError(f"{reason}.")
    return kind


def arguments(kind: Kind, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name; CaptureError for one that is not covered."""
    bound = _signature(type(module).forward).bind(module, *args, **kwargs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    del given[next(iter(given))]  # self
    for name, value in given.items():
        if name not in kind.arguments and value is not None and value is not False:
            raise CaptureError(f"it was called with `{name}`, which changes what it computes and is not covered.")
    return given


@cache
def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(forward)


def _other_arguments(kind: Kind, module: nn.Module) -> str | None:
    _, *parameters = _signature(type(module).forward).parameters.values()  # without self
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in kind.arguments:
            return f"its `forward` takes `{parameter.name}`"
    return None


@torch.no_grad()
def deviation_of(output: Tensor, own: Tensor) -> float:
    """How far `output` is from the module's own, relative to its largest value; CaptureError if too far."""
    tolerance = TOLERANCES.get(own.dtype)
    if tolerance is None:
        raise CaptureError(f"its output is {own.dtype}; run the model in {', '.join(map(str, TOLERANCES))}.")
    if own.shape != output.shape:
        raise CaptureError(
            f"recomputing it gives a tensor of shape {tuple(output.shape)}, its own output has {tuple(own.shape)}."
        )
    if own.numel() == 0:
        return 0.0
    own, output = own.double(), output.double()
    if not own.isfinite().all():
        raise CaptureError(NOT_FINITE)
    largest = own.abs().max().item()
    deviation = (output - own).abs().max().item() / (largest or 1.0)
    # Written so that NaN is refused too.
    if not deviation <= tolerance:
        raise CaptureError(
            f"recomputing it deviates from its own output by {deviation:.1e} of the largest value, "
            f"{tolerance:.0e} is accepted, so its heads can't be trusted. "
            "A hook, a wrapper or a patch that changes what the site computes would explain it."
        )
    return deviation


def _as_given(answer: Any, result: Any) -> Any:
    """`answer` in the precisions of `result`."""
    if isinstance(answer, tuple):
        return tuple(_as_given(*pair) for pair in zip(answer, result, strict=True))
    return answer.to(result.dtype) if torch.is_tensor(answer) else answer


def _looks_like_attention(module: nn.Module) -> bool:
    named_so = re.search(r"attention|attn", type(module).__name__, re.IGNORECASE) is not None
    return named_so or kind_of(type(module))[0] is not None


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # batch head token head_dim
