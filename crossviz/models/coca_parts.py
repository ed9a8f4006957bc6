"""The parts of open_clip's CoCa (Yu et al., "CoCa", 2022): where its pooler is, and what that looks at and gives.

Its image tower ends in an attention pooler: learned queries look at the tower's tokens. The decoder, which writes
captions, looks at what the queries give, never at a patch. Where the pooler has one query more than the decoder gets
tokens, that first query makes the photo's embedding, and the rest are for the decoder.
"""

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn

from crossviz.capture import SiteCapture, capture
from crossviz.errors import CaptureError, UnsupportedMethodError
from crossviz.geometry import PatchGrid

__all__ = ["CocaParts", "PooledImage", "coca_parts", "patches_first", "pooled_images", "pooler_site"]

_CONTRASTIVE = "attn_pool_contrastive"
"""The pooler that open_clip's two-pooler variants have for the embedding alone."""


@dataclass(frozen=True)
class CocaParts:
    """Names and numbers only, so that they hold for a copy of the model too."""

    pooler: str
    """Where in the image tower the pooler is whose queries the decoder looks at."""
    num_skipped: int
    """Queries before those of the decoder."""
    num_prefix_tokens: int
    """Keys of the pooler before the patches."""
    grid: PatchGrid
    read_hw: tuple[int, int]
    """Pixels of the input that the grid lies over, from its upper left corner."""


@dataclass(frozen=True, eq=False)
class PooledImage:
    """One photo after the image tower, without gradient; keys are the patches row by row, then the prefix tokens."""

    embedding: Tensor  # embed; unit vector
    tokens: Tensor  # query dim; what the decoder looks at
    scores: Tensor  # head query key; the pooler's, before softmax
    probs: Tensor  # head query key; rows sum to 1


def coca_parts(module: nn.Module, pixels: Tensor) -> CocaParts:
    """Find the parts of a CoCa by running it once.

    Args:
        module: open_clip's CoCa.
        pixels: `1 3 height width`, any, of the size that it takes.

    Raises:
        UnsupportedMethodError: it is not built as is covered here; the message gives the reason alone.
    """
    text, visual = module.text, module.visual
    if _kind(text) != "open_clip.transformer.TextTransformer":
        raise UnsupportedMethodError(f"its text tower is a {type(text).__qualname__}, not open_clip's own")
    if text.attn_mask is None:
        raise UnsupportedMethodError(
            "its text tower reads all words at once, and a decoder must not see what it writes"
        )
    if _kind(module.text_decoder) != "open_clip.transformer.MultimodalTransformer":
        raise UnsupportedMethodError(f"its decoder is a {type(module.text_decoder).__qualname__}, not open_clip's own")
    poolers = [
        name
        for name, part in visual.named_modules()
        if _kind(part) == "open_clip.transformer.AttentionalPooler" and not name.endswith(_CONTRASTIVE)
    ]
    if len(poolers) != 1:
        title = type(getattr(visual, "trunk", visual)).__qualname__
        raise UnsupportedMethodError(
            f"its image tower ({title}) has {len(poolers) or 'no'} attention pooler{'s' if poolers else ''} for its "
            "decoder to look at"
        )
    (pooler,) = poolers
    latent, tokens, site = _run(module, pooler, pixels)
    if latent.shape[:-1].numel() != 1:
        raise UnsupportedMethodError("its image tower gives more than one embedding of a photo")
    num_queries, num_keys = site.probs.shape[2:]
    num_skipped = num_queries - tokens.shape[1]
    if num_skipped not in (0, 1):
        raise UnsupportedMethodError(
            f"its decoder looks at {tokens.shape[1]} tokens, and its pooler has {num_queries} queries: which belongs "
            "to which is not known"
        )
    grid, read_hw = _grid(visual, num_keys, tuple(pixels.shape[2:]))
    return CocaParts(pooler, num_skipped, num_keys - grid.num_patches, grid, read_hw)


@torch.no_grad()
def pooled_images(module: nn.Module, parts: CocaParts, pixels: Tensor) -> list[PooledImage]:
    """Photos through the image tower, with its pooler's attention captured.

    Args:
        module: open_clip's CoCa.
        parts: its parts.
        pixels: `batch 3 height width`.

    Raises:
        CaptureError: the pooler's attention, recomputed, does not give the pooler's own output.
    """
    latent, tokens, site = _run(module, parts.pooler, pixels)
    return [
        PooledImage(
            embedding=latent[i].flatten(),
            tokens=tokens[i].clone(),  # a view would keep the whole batch
            scores=patches_first(site.scores[i, :, parts.num_skipped :], parts),
            probs=patches_first(site.probs[i, :, parts.num_skipped :], parts),
        )
        for i in range(len(pixels))
    ]


def pooler_site(module: nn.Module, parts: CocaParts, pixels: Tensor) -> SiteCapture:
    """The pooler's attention on one photo `1 3 height width`, with what it is given and what it gives.

    Raises:
        CaptureError: the pooler's attention, recomputed, does not give the pooler's own output.
    """
    return _run(module, parts.pooler, pixels, ("output", "query_tokens", "key_tokens"))[2]


@torch.no_grad()
def _run(
    module: nn.Module, pooler: str, pixels: Tensor, keep: tuple[str, ...] = ("scores", "probs")
) -> tuple[Tensor, Tensor, SiteCapture]:
    attention = module.visual.get_submodule(pooler).attn
    try:
        with capture({"image pooler": attention}, keep=keep) as captured:
            latent, tokens = module._encode_image(pixels, normalize=True)
        return latent, tokens, captured["image pooler"]
    except CaptureError:
        raise
    except (RuntimeError, ValueError) as error:
        height, width = pixels.shape[2:]
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UnsupportedMethodError(f"its image tower fails on {height} x {width} pixels ({reason})") from error


def patches_first(rows: Tensor, parts: CocaParts) -> Tensor:
    """`... key` with the prefix tokens moved behind the patches."""
    return rows.roll(-parts.num_prefix_tokens, -1)


def _grid(visual: nn.Module, num_keys: int, input_hw: tuple[int, int]) -> tuple[PatchGrid, tuple[int, int]]:
    """The patches among the pooler's keys: the tower's own grid where it has one, else a square."""
    if hasattr(visual, "grid_size") and hasattr(visual, "patch_size"):
        (rows, columns), (height, width) = visual.grid_size, visual.patch_size
        if 0 <= num_keys - rows * columns <= 1:
            return PatchGrid(rows, columns), (rows * height, columns * width)
    side = isqrt(num_keys)
    if side * side == num_keys and input_hw[0] == input_hw[1]:
        return PatchGrid(side, side), input_hw
    raise UnsupportedMethodError(f"its pooler looks at {num_keys} tokens, and which of them are patches is not known")


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
