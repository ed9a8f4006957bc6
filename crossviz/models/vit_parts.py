"""The parts of vision transformers, under the same names for open_clip's own towers and timm's plain ones.

Nothing is computed here: modules are found, and a tower with something that is not covered is refused with the
reason. `crossviz.models.vit_image_tower` makes of them what is run part by part; `crossviz.models.vit_tower` takes
those apart whose embedding is a sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from crossviz.errors import UnsupportedMethodError
from crossviz.models.blocks import attention_pooler
from crossviz.sites import refusal
from crossviz.trace import Pooler

__all__ = ["Block", "Ending", "VitParts", "vit_parts"]


class Block(NamedTuple):
    """x <- x + scale * attention(norm_1(x)); x <- x + mlp(x), the second with its own norm and scale inside."""

    norm_1: nn.Module
    attention: nn.Module
    scale: nn.Module
    """The layer scale behind the attention; Identity where there is none."""
    mlp: Callable[[Tensor], Tensor]


class Ending(NamedTuple):
    """The way from the last block to the embedding where it is one LayerNorm and one linear projection."""

    norm: nn.LayerNorm
    after_pool: bool
    """Whether the norm comes after the tokens became one."""
    projection: Tensor  # dim embed
    bias: Tensor | None  # embed


@dataclass(frozen=True, eq=False)
class VitParts:
    """embed -> blocks -> norm -> one token (or the mean of the patches, or what the pooler gives) -> finish."""

    visual: nn.Module
    embed: Callable[[Tensor], Tensor]
    """Pixels `batch 3 height width` to tokens `batch token dim`, before the first block."""
    blocks: tuple[Block, ...]
    pool: str
    """As `ImageTower.pool`."""
    norm: Callable[[Tensor], Tensor]
    """What comes before the pooling."""
    pooler: Pooler | None
    finish: Callable[[Tensor], Tensor]
    """The pooled vector `... dim` to the embedding `... embed`."""
    ending: Ending | None
    """`norm`, the pooling and `finish` as weights; None where they are more than that."""
    why_no_ending: str
    num_prefix_tokens: int
    grid_hw: tuple[int, int]
    patch_hw: tuple[int, int]
    """Pixels of the input per patch."""


def vit_parts(visual: nn.Module) -> VitParts:
    """The parts of `visual`.

    Raises:
        UnsupportedMethodError: it is no vision transformer that is covered; the message gives the reason alone.
    """
    kind = _kind(visual)
    if kind == "open_clip.transformer.VisionTransformer":
        parts = _own(visual)
    elif kind == "open_clip.timm_model.TimmModel":
        parts = _timm(visual)
    else:
        raise UnsupportedMethodError(f"its image tower is a {type(visual).__qualname__}, not a vision transformer")
    for i, block in enumerate(parts.blocks):
        reason = refusal(block.attention)
        if reason is not None:
            raise UnsupportedMethodError(f"its image tower's block {i + 1} can't be recomputed: {reason}")
    return parts


def _own(visual: nn.Module) -> VitParts:
    if visual.pool_type not in ("tok", "avg") or getattr(visual, "attn_pool_contrastive", None) is not None:
        raise UnsupportedMethodError(f"its image tower pools its patches in the way '{visual.pool_type}'")
    if not getattr(visual.transformer, "batch_first", True):
        raise UnsupportedMethodError("its blocks take the tokens before the batch; use a newer open_clip")
    blocks = []
    for i, block in enumerate(visual.transformer.resblocks):
        extra = any(not isinstance(getattr(block, name, None), nn.Identity | None) for name in ("ln_1_kv", "ln_attn"))
        if extra or not all(hasattr(block, name) for name in ("ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2")):
            raise _not_plain(i, block)
        blocks.append(Block(block.ln_1, block.attn, block.ls_1, _mlp(block.ln_2, block.mlp, block.ls_2)))
    pooler = None if visual.attn_pool is None else _own_pooler(visual)
    after_pool = bool(visual.final_ln_after_pool) or pooler is not None

    def finish(x: Tensor) -> Tensor:
        x = visual.ln_post(x) if after_pool else x
        return x if visual.proj is None else x @ visual.proj

    ending, reason = None, ""
    if pooler is not None:
        reason = "its image tower pools its patches through an attention pooler"
    elif visual.proj is None:
        reason = "its image tower has no projection into the space of the texts"
    else:
        ending, reason = _ending(visual.ln_post, after_pool, visual.proj, None)
    norm = visual.ln_post if not after_pool else visual.attn_pool.ln_k if pooler is not None else nn.Identity()
    return VitParts(
        visual=visual,
        embed=visual._embeds,
        blocks=tuple(blocks),
        pool="attention" if pooler is not None else "token" if visual.pool_type == "tok" else "avg",
        norm=norm,
        pooler=pooler,
        finish=finish,
        ending=ending,
        why_no_ending=reason,
        num_prefix_tokens=1,
        grid_hw=tuple(visual.grid_size),
        patch_hw=tuple(visual.patch_size),
    )


def _own_pooler(visual: nn.Module) -> Pooler:
    """CoCa's: of its many queries only the first becomes the embedding, the others are for its decoder."""
    pool = visual.attn_pool
    if visual.pool_type != "tok" or _kind(pool) != "open_clip.transformer.AttentionalPooler":
        raise UnsupportedMethodError(
            f"its image tower pools its patches through a {type(pool).__qualname__} whose queries are then pooled "
            f"in the way '{visual.pool_type}'"
        )
    _check_pooler(pool.attn)
    return attention_pooler("pooler", lambda: pool.ln_q(pool.query)[:1], pool.attn, nn.Identity())


def _timm(visual: nn.Module) -> VitParts:
    trunk = visual.trunk
    if _kind(trunk) != "timm.models.vision_transformer.VisionTransformer":
        raise UnsupportedMethodError(
            f"its image tower is timm's {type(trunk).__qualname__}, not a plain vision transformer"
        )
    blocks = []
    for i, block in enumerate(trunk.blocks):
        if _kind(block) != "timm.models.vision_transformer.Block":
            raise _not_plain(i, block)
        blocks.append(Block(block.norm1, block.attn, block.ls1, _mlp(block.norm2, block.mlp, block.ls2)))
    if trunk.attn_pool is not None:
        pool, pooler = "attention", _timm_pooler(trunk)
    else:
        pool, pooler = trunk.global_pool, None
        if pool not in ("token", "avg") or (pool == "avg" and getattr(trunk, "pool_include_prefix", False)):
            raise UnsupportedMethodError(f"its image tower pools its patches in the way '{pool}'")

    def embed(pixels: Tensor) -> Tensor:
        x = trunk._pos_embed(trunk.patch_embed(pixels))
        return trunk.norm_pre(trunk.patch_drop(x) if getattr(trunk, "patch_drop", None) is not None else x)

    def finish(x: Tensor) -> Tensor:
        return visual.head(trunk.head(trunk.head_drop(trunk.fc_norm(x))))

    norms = [norm for norm in (trunk.norm, trunk.fc_norm) if not isinstance(norm, nn.Identity)]
    linears = [m for m in (trunk.head, *visual.head) if not isinstance(m, nn.Identity | nn.Dropout)]
    ending, reason = None, "its image tower does not end in one LayerNorm and one linear projection"
    if pooler is not None:
        reason = "its image tower pools its patches through an attention pooler"
    elif len(norms) == 1 and len(linears) == 1 and isinstance(linears[0], nn.Linear):
        ending, reason = _ending(norms[0], norms[0] is trunk.fc_norm, linears[0].weight.T, linears[0].bias)
    grid_hw = tuple(trunk.patch_embed.grid_size)
    return VitParts(
        visual=visual,
        embed=embed,
        blocks=tuple(blocks),
        pool=pool,
        norm=trunk.norm,
        pooler=pooler,
        finish=finish,
        ending=ending,
        why_no_ending=reason,
        num_prefix_tokens=trunk.num_prefix_tokens,
        grid_hw=grid_hw,
        patch_hw=_patch_hw(visual, grid_hw),
    )


def _timm_pooler(trunk: nn.Module) -> Pooler:
    """SigLIP's: one latent looks at all tokens."""
    site = trunk.attn_pool
    title = type(site).__qualname__
    if _kind(site) != "timm.layers.attention_pool.AttentionPoolLatent":
        raise UnsupportedMethodError(f"its image tower pools its patches through a {title}, which is not covered")
    if site.latent_len != 1 or site.pool not in ("token", "avg"):
        raise UnsupportedMethodError(f"its image tower's pooler ({title}) has {site.latent_len} queries, not one")
    if site.pos_embed is not None:
        raise UnsupportedMethodError(f"its image tower's pooler ({title}) has positions of its own")
    if trunk.num_prefix_tokens and not getattr(trunk, "pool_include_prefix", False):
        raise UnsupportedMethodError(f"its image tower's pooler ({title}) does not look at all of its tokens")
    _check_pooler(site)

    def after(pooled: Tensor) -> Tensor:
        return pooled if site.mlp is None else pooled + site.mlp(site.norm(pooled))

    return attention_pooler("pooler", lambda: site.latent[0], site, after)


def _check_pooler(site: nn.Module) -> None:
    reason = refusal(site)
    if reason is not None:
        raise UnsupportedMethodError(f"its image tower's pooler can't be recomputed: {reason}")


def _ending(norm: nn.Module, after_pool: bool, projection: Tensor, bias: Tensor | None) -> tuple[Ending | None, str]:
    if not isinstance(norm, nn.LayerNorm) or norm.bias is None:
        return None, f"its image tower ends in a {type(norm).__qualname__}, not a LayerNorm"
    return Ending(norm, after_pool, projection, bias), ""


def _patch_hw(visual: nn.Module, grid_hw: tuple[int, int]) -> tuple[int, int]:
    """Pixels per patch: a convolution straight on the pixels may leave a rest, a stem before it covers them all."""
    embed, input_hw = visual.trunk.patch_embed, tuple(visual.image_size)
    if _kind(embed) == "timm.layers.patch_embed.PatchEmbed":
        return tuple(embed.patch_size)
    return input_hw[0] // grid_hw[0], input_hw[1] // grid_hw[1]


def _not_plain(i: int, block: nn.Module) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"its image tower's block {i + 1} ({type(block).__qualname__}) is not a plain pre-norm block"
    )


def _mlp(norm: nn.Module, mlp: nn.Module, scale: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: scale(mlp(norm(x)))


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
