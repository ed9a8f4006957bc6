"""The kinds of attention site of diffusers; nothing of diffusers is imported to know them.

Image and text meet there in two ways: image tokens ask text tokens (cross-attention, as in a UNet), or both are one
sequence, with projections of their own each (joint attention; Esser et al., "Scaling Rectified Flow Transformers for
High-Resolution Image Synthesis", 2024).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.errors import CaptureError
from crossviz.site_parts import Heads, JointKind, Projections, dropping, linear, stateful, wrapped

__all__ = ["DIFFUSERS_KINDS"]

_PROCESSORS = "diffusers.models.attention_processor"
_FLUX = "diffusers.models.transformers.transformer_flux"


class _Attention(JointKind):
    """diffusers' Attention: self-attention, cross-attention and SD3's joint attention, by its default processors.

    A joint call's tokens are those of the image, then those of the text.
    """

    classes = (f"{_PROCESSORS}.Attention",)
    arguments = frozenset({"hidden_states", "encoder_hidden_states", "attention_mask", "cross_attention_kwargs"})

    def refusal(self, module: nn.Module) -> str | None:
        processor = type(module.processor)
        path = f"{processor.__module__}.{processor.__qualname__}"
        joint = path == f"{_PROCESSORS}.JointAttnProcessor2_0"
        if not joint and path not in (f"{_PROCESSORS}.AttnProcessor", f"{_PROCESSORS}.AttnProcessor2_0"):
            return f"its processor ({processor.__qualname__}) is none of those that are covered"
        if module.group_norm is not None or module.spatial_norm is not None or module.norm_cross:
            return "it normalises its inputs (group_norm, spatial_norm, cross_attention_norm)"
        if module.residual_connection or module.rescale_output_factor != 1:
            return "its output is more than the attention (residual_connection, rescale_output_factor)"
        if module.inner_kv_dim != module.inner_dim or module.fused_projections:
            return "its keys have fewer heads than its queries, or its projections are fused"
        if not joint and _joins(module):
            return f"it has projections for text that its processor ({processor.__qualname__}) does not read"
        norms = {"norm_q": module.norm_q, "norm_k": module.norm_k}
        parts = {"to_q": module.to_q, "to_k": module.to_k, "to_v": module.to_v, "to_out": module.to_out[0]}
        if _joins(module):
            norms |= {"norm_added_q": module.norm_added_q, "norm_added_k": module.norm_added_k}
            parts |= {"add_q_proj": module.add_q_proj, "add_k_proj": module.add_k_proj, "add_v_proj": module.add_v_proj}
            parts |= {} if module.context_pre_only else {"to_add_out": module.to_add_out}
        if path.endswith(".AttnProcessor") and any(norm is not None for norm in norms.values()):
            return "its processor leaves out the norms of queries and keys that it has"
        there = {name: norm for name, norm in norms.items() if norm is not None}
        return stateful(**there) or dropping(module) or wrapped(**parts)

    def projections(self, module: nn.Module) -> Projections:
        if _joins(module):
            raise CaptureError("It has projections of the image and of the text, not one of each kind.")
        return Projections(
            module.heads, self._scale(module), *linear(module.to_q), *linear(module.to_k), *linear(module.to_v),
            *linear(module.to_out[0]),
        )  # fmt: skip

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return module.norm_q, module.norm_k

    def heads(self, module: nn.Module, given: Mapping[str, Any]) -> Heads:
        if given["cross_attention_kwargs"]:
            raise CaptureError(
                f"it was called with {', '.join(given['cross_attention_kwargs'])}, which changes what it computes."
            )
        x, other, mask = given["hidden_states"], given["encoder_hidden_states"], given["attention_mask"]
        if x.ndim != 3:
            raise CaptureError("it was given an image and not a sequence of tokens.")
        joint = _joins(module) and other is not None
        source = x if joint or other is None else other
        q = _normed(_heads(module.to_q.forward(x), module.heads), module.norm_q)
        k = _normed(_heads(module.to_k.forward(source), module.heads), module.norm_k)
        v = _heads(module.to_v.forward(source), module.heads)
        if joint:
            q2 = _normed(_heads(module.add_q_proj.forward(other), module.heads), module.norm_added_q)
            k2 = _normed(_heads(module.add_k_proj.forward(other), module.heads), module.norm_added_k)
            v2 = _heads(module.add_v_proj.forward(other), module.heads)
            q, k, v = (torch.cat(pair, 2) for pair in ((q, q2), (k, k2), (v, v2)))
            if mask is not None:
                raise CaptureError("it was called with a mask, which its processor does not read.")
        tokens = torch.cat([x, other], 1) if joint and x.shape[-1] == other.shape[-1] else x
        return Heads(tokens, tokens if joint else source, q, k, v, self._scale(module), _bias(mask, k.shape[2]))

    def attended(self, module: nn.Module, given: Mapping[str, Any], context: Tensor) -> Tensor:
        count = given["hidden_states"].shape[1]
        image = module.to_out[0].forward(context[:, :count])
        if context.shape[1] == count:
            return image
        text = context[:, count:]
        return torch.cat([image, text if module.context_pre_only else module.to_add_out.forward(text)], 1)

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return torch.cat(result, 1) if isinstance(result, tuple) else result

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        if not _joins(module) or given["encoder_hidden_states"] is None:
            return output
        count = given["hidden_states"].shape[1]
        return output[:, :count].contiguous(), output[:, count:].contiguous()

    def _scale(self, module: nn.Module) -> float:
        # torch's fused attention, which all but the oldest processor call, takes no other scale than its own.
        plain = type(module.processor).__qualname__ == "AttnProcessor"
        return float(module.scale) if plain else (module.inner_dim // module.heads) ** -0.5


class _FluxAttention(JointKind):
    """Flux' attention: text tokens, then image tokens, in one sequence with rotary places (Su et al., 2021).

    Its blocks with two streams are given both apart, those with one stream all of them as one.
    """

    classes = (f"{_FLUX}.FluxAttention",)
    arguments = frozenset({"hidden_states", "encoder_hidden_states", "image_rotary_emb", "kwargs"})

    def refusal(self, module: nn.Module) -> str | None:
        processor = type(module.processor)
        if f"{processor.__module__}.{processor.__qualname__}" != f"{_FLUX}.FluxAttnProcessor":
            return f"its processor ({processor.__qualname__}) is none of those that are covered"
        if module.fused_projections:
            return "its projections are fused"
        norms = {"norm_q": module.norm_q, "norm_k": module.norm_k}
        parts = {"to_q": module.to_q, "to_k": module.to_k, "to_v": module.to_v}
        parts |= {} if module.pre_only else {"to_out": module.to_out[0]}
        if module.added_kv_proj_dim is not None:
            norms |= {"norm_added_q": module.norm_added_q, "norm_added_k": module.norm_added_k}
            parts |= {"add_q_proj": module.add_q_proj, "add_k_proj": module.add_k_proj, "add_v_proj": module.add_v_proj}
            parts |= {"to_add_out": module.to_add_out}
        return stateful(**norms) or dropping(module) or wrapped(**parts)

    def projections(self, module: nn.Module) -> Projections:
        if module.added_kv_proj_dim is not None:
            raise CaptureError("It has projections of the image and of the text, not one of each kind.")
        out = (None, None) if module.pre_only else linear(module.to_out[0])
        return Projections(
            module.heads, module.head_dim**-0.5, *linear(module.to_q), *linear(module.to_k), *linear(module.to_v), *out
        )

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return module.norm_q, module.norm_k

    def heads(self, module: nn.Module, given: Mapping[str, Any]) -> Heads:
        if given["kwargs"]:
            raise CaptureError(f"it was called with {', '.join(given['kwargs'])}, which changes what it computes.")
        x, text = given["hidden_states"], given["encoder_hidden_states"]
        q = module.norm_q.forward(_heads(module.to_q.forward(x), module.heads))
        k = module.norm_k.forward(_heads(module.to_k.forward(x), module.heads))
        v = _heads(module.to_v.forward(x), module.heads)
        if text is not None:
            q2 = module.norm_added_q.forward(_heads(module.add_q_proj.forward(text), module.heads))
            k2 = module.norm_added_k.forward(_heads(module.add_k_proj.forward(text), module.heads))
            v2 = _heads(module.add_v_proj.forward(text), module.heads)
            q, k, v = (torch.cat(pair, 2) for pair in ((q2, q), (k2, k), (v2, v)))
        turn = given["image_rotary_emb"]
        if turn is not None:
            q, k = _turned(q, *turn), _turned(k, *turn)
        tokens = x if text is None else torch.cat([text, x], 1)
        return Heads(tokens, tokens, q, k, v, module.head_dim**-0.5, None)

    def attended(self, module: nn.Module, given: Mapping[str, Any], context: Tensor) -> Tensor:
        if given["encoder_hidden_states"] is None:
            return context
        text, image = _split(context, given)
        return torch.cat([module.to_add_out.forward(text), module.to_out[0].forward(image)], 1)

    def own(self, module: nn.Module, result: Any) -> Tensor:
        # What comes back of two streams is the image's first; its tokens stand behind the text's.
        return torch.cat(result[::-1], 1) if isinstance(result, tuple) else result

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        if given["encoder_hidden_states"] is None:
            return output
        return tuple(part.contiguous() for part in reversed(_split(output, given)))


DIFFUSERS_KINDS = (_Attention(), _FluxAttention())


def _joins(module: nn.Module) -> bool:
    """Whether text tokens have projections of their own in it."""
    return getattr(module, "add_k_proj", None) is not None


def _split(tokens: Tensor, given: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The text's and the image's."""
    count = given["encoder_hidden_states"].shape[1]
    return tokens[:, :count], tokens[:, count:]


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # batch head token head_dim


def _normed(x: Tensor, norm: nn.Module | None) -> Tensor:
    return x if norm is None else norm.forward(x)


def _bias(mask: Tensor | None, keys: int) -> Tensor | None:
    """A mask that is added to the scores, `batch 1 or query key`, as it broadcasts to `batch head query key`."""
    if mask is None:
        return None
    if mask.ndim != 3 or mask.shape[-1] != keys:
        raise CaptureError(f"its mask is of shape {tuple(mask.shape)}, which is not that of {keys} keys.")
    return mask[:, None]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of neighbouring entries turned by the angle of their token's place; `cos`, `sin`: `token head_dim`."""
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    crossed = torch.stack([-imaginary, real], -1).flatten(-2)
    return (x.float() * cos + crossed.float() * sin).to(x.dtype)
