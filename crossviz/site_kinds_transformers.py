"""The kinds of attention site of transformers; nothing of transformers is imported to know them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from crossviz.errors import CaptureError
from crossviz.site_parts import Inputs, Kind, Projections, dropping, linear, wrapped

__all__ = ["TRANSFORMERS_KINDS"]


class _ViltAttention:
    """ViLT's attention over text tokens and patches alike; what it gives is the context, before the output projection.

    Its mask is added to the scores as it comes.
    """

    classes = ("transformers.models.vilt.modeling_vilt.ViltSelfAttention",)
    arguments = frozenset({"hidden_states", "attention_mask", "output_attentions"})

    def refusal(self, module: nn.Module) -> str | None:
        return dropping(module) or wrapped(query=module.query, key=module.key, value=module.value)

    def projections(self, module: nn.Module) -> Projections:
        return Projections(
            module.num_attention_heads,
            module.attention_head_size**-0.5,
            *linear(module.query),
            *linear(module.key),
            *linear(module.value),
            None,
            None,
        )

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return None, None

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        x, mask = given["hidden_states"], given["attention_mask"]
        return Inputs(x, x, x, None if mask is None else mask.to(x.dtype))

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return result[0]

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return given["output_attentions"]

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        return (output, probs.to(output.dtype)) if given["output_attentions"] else (output,)


class _BlipAttention:
    """transformers' BlipAttention: the self-attention of BLIP's image tower."""

    classes = ("transformers.models.blip.modeling_blip.BlipAttention",)
    arguments = frozenset({"hidden_states", "kwargs"})

    def refusal(self, module: nn.Module) -> str | None:
        return dropping(module) or wrapped(qkv=module.qkv, projection=module.projection)

    def projections(self, module: nn.Module) -> Projections:
        (query, key, value), (query_bias, key_bias, value_bias) = module.qkv.weight.chunk(3), module.qkv.bias.chunk(3)
        return Projections(
            module.num_heads, module.scale, query, query_bias, key, key_bias, value, value_bias,
            *linear(module.projection),
        )  # fmt: skip

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return None, None

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        _nothing_else(given)
        x = given["hidden_states"]
        return Inputs(x, x, x, None)

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return result[0]

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return True

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        return output, probs.to(output.dtype)


class _BlipTextAttention:
    """transformers' BlipTextSelfAttention: self-attention of BLIP's text layers and, where it is given the image
    tower's states, their cross-attention. What it gives is the context, before the output projection.

    A call with a cache is refused, whose keys would be those of other calls. Over an image only the mask counts that is
    called `encoder_attention_mask`; BLIP's text layers (transformers 5.23) never hand one on under that name.
    """

    classes = ("transformers.models.blip.modeling_blip_text.BlipTextSelfAttention",)
    arguments = frozenset(
        {"hidden_states", "attention_mask", "encoder_hidden_states", "encoder_attention_mask", "kwargs"}
    )

    def refusal(self, module: nn.Module) -> str | None:
        return dropping(module) or wrapped(query=module.query, key=module.key, value=module.value)

    def projections(self, module: nn.Module) -> Projections:
        return Projections(
            module.num_attention_heads, module.attention_head_size**-0.5,
            *linear(module.query), *linear(module.key), *linear(module.value), None, None,
        )  # fmt: skip

    def norms(self, module: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
        return None, None

    def read(self, module: nn.Module, given: Mapping[str, Any]) -> Inputs:
        _nothing_else(given)
        query, image = given["hidden_states"], given["encoder_hidden_states"]
        keys, mask = (query, given["attention_mask"]) if image is None else (image, given["encoder_attention_mask"])
        return Inputs(query, keys, keys, None if mask is None else mask.to(query.dtype))

    def own(self, module: nn.Module, result: Any) -> Tensor:
        return result[0]

    def finish(self, module: nn.Module, attended: Tensor) -> Tensor:
        return attended

    def returns_probs(self, given: Mapping[str, Any]) -> bool:
        return True

    def answer(self, module: nn.Module, given: Mapping[str, Any], output: Tensor, probs: Tensor | None) -> Any:
        return output, probs.to(output.dtype)


TRANSFORMERS_KINDS: tuple[Kind, ...] = (_ViltAttention(), _BlipAttention(), _BlipTextAttention())


def _nothing_else(given: Mapping[str, Any]) -> None:
    """Refuse a call with arguments that `forward` gathers in its `**kwargs`."""
    if given["kwargs"]:
        raise CaptureError(f"it was called with `{next(iter(given['kwargs']))}`, which is not covered.")
