"""The weights of a CoCa in stages, from the word that it writes down to the input."""

from collections.abc import Iterable

from torch import nn

from crossviz.models.coca_parts import CocaParts

__all__ = ["stages"]

_INPUT = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "token_embedding", "cls_emb")
"""How names of open_clip's towers begin of what comes before their blocks."""
_EMBEDDING_ONLY = (
    "visual.proj",
    "visual.trunk.proj",
    "visual.attn_pool_contrastive.",
    "text.text_projection",
    "logit_",
)
"""How names begin of what makes the two embeddings, and no caption."""


def stages(module: nn.Module, parts: CocaParts) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
    """The stages, top first; together every parameter exactly once.

    Args:
        module: open_clip's CoCa.
        parts: its parts.
    """
    left = dict(module.named_parameters())

    def take(*prefixes: str) -> list[nn.Parameter]:
        return [left.pop(name) for name in list(left) if name.startswith(prefixes)]

    last = take(*_EMBEDDING_ONLY)
    bottom = take(*(f"{tower}.{name}" for tower in ("visual", "text") for name in _INPUT))
    decoder = [take(*_block(i)) for i in range(len(module.text_decoder.cross_attn))]
    found = [
        ("decoder's words", take("text_decoder.")),
        *((f"decoder block {i + 1}", decoder[i]) for i in reversed(range(len(decoder)))),
        ("image pooler", take(*_after_pooler(parts))),
        ("image tower", take("visual.")),
        ("text tower", take("text.")),
        ("embeddings of patches and tokens", bottom),
        ("projections and temperature of the embeddings", [*last, *left.values()]),
    ]
    return [(label, list(stage)) for label, stage in found if stage]


def _block(i: int) -> Iterable[str]:
    return (f"text_decoder.cross_attn.{i}.", f"text_decoder.resblocks.{i}.")


def _after_pooler(parts: CocaParts) -> Iterable[str]:
    """The pooler and the norm beside it."""
    beside = parts.pooler.rpartition(".")[0]
    return (f"visual.{parts.pooler}.", f"visual.{beside}.ln_post." if beside else "visual.ln_post.")
