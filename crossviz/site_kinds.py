"""The kinds of attention site: where a class keeps its weights, how it reads its arguments, what is not covered.

A new attention class is one more kind, added to `KINDS`; those of transformers are in `site_kinds_transformers`, and
those of diffusers in `site_kinds_diffusers`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from crossviz.errors import CaptureError
from crossviz.site_kinds_diffusers import DIFFUSERS_KINDS
from crossviz.site_kinds_transformers import TRANSFORMERS_KINDS
from crossviz.site_parts import (
    Inputs,
    Kind,
    Projections,
    TensorKind,
    additive,
    causal,
    dropping,
    linear,
    stateful,
    wrapped,
)

__all__ = ["KINDS", "Inputs", "Kind", "Projections"]


class _TorchMultihead:
    """torch.nn.MultiheadAttention; also inside open_clip's ResidualAttentionBlock and AttentionalPooler."""

    classes = ("torch.nn.modules.activation.MultiheadAttention",)
    arguments = frozenset(
        {"query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal"}
    )

    def refusal(self, module: nn.Module) -> str | None:
        if module.bias_k is not None or module.bias_v is not None:
            return "it adds a learned key (bias_k, bias_v)"
        if module.add_zero_attn:
            return "it adds a zero key (add_zero_attn)"
        if module.training and module.dropout > 0:
            return f"it drops attention at random (dropout={module.dropout} in training mode)"
        return None

    def projections(self, module: nn.Module) -> Projections:
        if module.in_proj_weight is None:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        else:
            weights = module.in_proj_weight.chunk(3)
        return _projections(module, weights, module.in_proj_bias, module.head_dim**-0.5, module.out_proj)

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return None, None

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        tokens = [given[name] for name in ("query", "key", "value")]
        if any(x.is_nested for x in tokens):
            raise CaptureError(
                "it was given nested tensors, which nn.TransformerEncoder makes of padded ones; "
                "build that with enable_nested_tensor=False."
            )
        query, key, value = (_batch_first(module, x) for x in tokens)
        attn_mask, padding = given["attn_mask"], given["key_padding_mask"]
        if given["is_causal"] and padding is None and not given["need_weights"]:
            # torch then takes the hint for the mask.
            attn_mask = causal(query.shape[1], key.shape[1], query.device)
        bias = None
        if attn_mask is not None:
            bias = additive(attn_mask, hides=True, dtype=query.dtype)
            if bias.ndim == 3:
                bias = bias.unflatten(0, (query.shape[0], module.num_heads))  # batch head query key
        if padding is not None:
            padded = additive(padding, hides=True, dtype=query.dtype).reshape(query.shape[0], 1, 1, key.shape[1])
            bias = padded if bias is None else bias + padded
        return Inputs(query, key, value, bias)

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return _batch_first(module, result[0])

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return given["need_weights"]

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        unbatched = given["query"].ndim == 2
        output = output[0] if unbatched else output if module.batch_first else output.transpose(0, 1)
        weights = None
        if given["need_weights"]:
            weights = (probs.mean(1) if given["average_attn_weights"] else probs).to(output.dtype)
            weights = weights[0] if unbatched else weights
        return output.contiguous(), weights


class _OpenClipAttention(TensorKind):
    """open_clip.transformer.Attention with its default options; its qk_norm too."""

    classes = ("open_clip.transformer.Attention",)
    arguments = frozenset({"x", "attn_mask"})

    def refusal(self, module: nn.Module) -> str | None:
        if module.logit_scale is not None:
            return "its scores are scaled cosines (scaled_cosine)"
        if module.head_scale is not None:
            return "it scales each head (scale_heads)"
        if not isinstance(module.ln_inner, nn.Identity):
            return "it normalises between the heads and the output projection (inner_norm)"
        return stateful(ln_q=module.ln_q, ln_k=module.ln_k) or dropping(module) or wrapped(out_proj=module.out_proj)

    def projections(self, module: nn.Module) -> Projections:
        weights = module.in_proj_weight.chunk(3)
        return _projections(module, weights, module.in_proj_bias, module.scale, module.out_proj)

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return module.ln_q, module.ln_k

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        x, mask = given["x"], given["attn_mask"]
        if mask is not None:
            mask = additive(mask, hides=True, dtype=x.dtype)
            if mask.ndim == 3:
                mask = mask.unflatten(0, (x.shape[0], module.num_heads))
        return Inputs(x, x, x, mask)


class _TimmAttention(TensorKind):
    """timm.layers.Attention, the one of timm's vision_transformer."""

    classes = ("timm.layers.attention.Attention", "timm.models.vision_transformer.Attention")
    arguments = frozenset({"x", "attn_mask", "is_causal"})

    def refusal(self, module: nn.Module) -> str | None:
        if not isinstance(getattr(module, "norm", None), nn.Identity | None):
            return "it normalises between the heads and the output projection (scale_norm)"
        if getattr(module, "gate", None) is not None:
            return "it gates its output (gated)"
        plain = wrapped(qkv=module.qkv, proj=module.proj)
        return stateful(q_norm=module.q_norm, k_norm=module.k_norm) or dropping(module) or plain

    def projections(self, module: nn.Module) -> Projections:
        return _projections(module, module.qkv.weight.chunk(3), module.qkv.bias, module.scale, module.proj)

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return module.q_norm, module.k_norm

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        x, mask, bias = given["x"], given.get("attn_mask"), None
        if given.get("is_causal"):
            bias = additive(causal(x.shape[1], x.shape[1], x.device), hides=True, dtype=x.dtype)
        elif mask is not None:
            bias = additive(mask, hides=False, dtype=x.dtype)
        return Inputs(x, x, x, bias)


class _TimmAttentionPool(TensorKind):
    """timm.layers.AttentionPoolLatent, SigLIP's pooler: learned queries look at the patches."""

    classes = ("timm.layers.attention_pool.AttentionPoolLatent",)
    arguments = frozenset({"x", "attn_mask"})

    def refusal(self, module: nn.Module) -> str | None:
        parts = {"q_norm": module.q_norm, "k_norm": module.k_norm}
        if module.mlp is not None:
            parts |= {"norm": module.norm, "mlp": module.mlp}
        return stateful(**parts) or dropping(module) or wrapped(q=module.q, kv=module.kv, proj=module.proj)

    def projections(self, module: nn.Module) -> Projections:
        query_weight, query_bias = linear(module.q)
        out_weight, out_bias = linear(module.proj)
        key_weight, value_weight = module.kv.weight.chunk(2)
        key_bias, value_bias = (None, None) if module.kv.bias is None else module.kv.bias.chunk(2)
        return Projections(
            module.num_heads, module.scale, query_weight, query_bias, key_weight, key_bias, value_weight, value_bias,
            out_weight, out_bias,
        )  # fmt: skip

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return module.q_norm, module.k_norm

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        x, mask = given["x"], given.get("attn_mask")
        if module.pos_embed is not None:
            x = x + module.pos_embed[None].to(x.dtype)
        bias = None if mask is None else additive(mask, hides=False, dtype=x.dtype)
        return Inputs(module.latent.expand(x.shape[0], -1, -1), x, x, bias)

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        if module.mlp is not None:
            # `forward`, not a call: the hooks that others have set on these two must not run a second time.
            attended = attended + module.mlp.forward(module.norm.forward(attended))
        if module.pool == "token":
            return attended[:, 0]
        return attended.mean(1) if module.pool == "avg" else attended


KINDS: tuple[Kind, ...] = (
    _TorchMultihead(),
    _OpenClipAttention(),
    _TimmAttention(),
    _TimmAttentionPool(),
    *TRANSFORMERS_KINDS,
    *DIFFUSERS_KINDS,
)


def _projections(
    module: nn.Module, weights: tuple[Tensor, ...], bias: Tensor | None, scale: float, out: nn.Module
) -> Projections:
    query_bias, key_bias, value_bias = (None, None, None) if bias is None else bias.chunk(3)
    query_weight, key_weight, value_weight = weights
    out_weight, out_bias = linear(out)
    return Projections(
        module.num_heads, scale, query_weight, query_bias, key_weight, key_bias, value_weight, value_bias,
        out_weight, out_bias,
    )  # fmt: skip


def _batch_first(module: nn.Module, x: Tensor) -> Tensor:
    """nn.MultiheadAttention's tokens, in whichever of its three layouts, as `batch token dim`."""
    if x.ndim == 2:
        return x[None]
    return x if module.batch_first else x.transpose(0, 1)
