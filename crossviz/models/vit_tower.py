"""Vision transformers whose embedding is a sum, taken apart: open_clip's own towers and timm's plain ones.

Two things are read from a tower that its `forward` doesn't give: dense features of the patches, and the summands of
its embedding. Both are computed by running the tower's own modules in its own order, so nothing is hooked; the first
run of a tower is checked against the tower's own output, and a tower that differs is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.capture import capture
from crossviz.errors import CaptureError, UnsupportedMethodError
from crossviz.models.vit_parts import Block, VitParts, vit_parts
from crossviz.sites import Recomputed, projections, recompute
from crossviz.trace import ResidualLayer, ResidualStream

__all__ = ["Block", "VitRun", "VitTower", "summed", "vit_tower"]

TOLERANCE = 1e-4
"""Largest accepted difference from the tower's own embedding, relative to its largest value."""


class VitRun(NamedTuple):
    """Photos through a tower."""

    embedding: Tensor  # batch embed; not normalised
    last_input: Tensor  # batch token dim; what enters the last block


class _Full(NamedTuple):
    inputs: list[Tensor]  # token dim; what enters each block
    mlps: list[Tensor]  # token dim; what each block's MLP adds
    output: Tensor  # token dim; after the last block


@dataclass(frozen=True, eq=False)
class VitTower:
    """The parts of a vision transformer, under the same names for open_clip's and timm's."""

    visual: nn.Module
    embed: Callable[[Tensor], Tensor]
    """Pixels `batch 3 height width` to tokens `batch token dim`, before the first block."""
    blocks: Sequence[Block]
    norm: nn.LayerNorm
    pool: str
    """"token": the first token is the image; "avg": the mean of the patches is."""
    norm_after_pool: bool
    projection: Tensor  # dim embed
    projection_bias: Tensor | None  # embed
    num_prefix_tokens: int
    grid_hw: tuple[int, int]
    patch_hw: tuple[int, int]
    """Pixels of the input per patch."""

    def run(self, pixels: Tensor) -> VitRun:
        """Pixels `batch 3 height width` to the embeddings and what the dense features need."""
        x = self.embed(pixels)
        for block in self.blocks[:-1]:
            x = self._block(block, x)[0]
        last_input = x
        x = self._block(self.blocks[-1], x)[0]
        return VitRun(self.pooled(x), last_input)

    def check(self, pixels: Tensor) -> None:
        """Compare `run` with the tower itself.

        Raises:
            CaptureError: the tower computes something else than its parts do.
        """
        own = _first(self.visual(pixels))[0]
        difference = float((self.run(pixels).embedding[0] - own).abs().max() / own.abs().max().clamp(min=1e-12))
        if not difference <= TOLERANCE:
            raise CaptureError(
                f"The parts of this image tower ({type(self.visual).__qualname__}) give an embedding that differs "
                f"from the tower's own by {difference:.1e} of its largest value; at most {TOLERANCE:.0e} is accepted."
            )

    def pooled(self, x: Tensor) -> Tensor:
        """Tokens `batch token dim` after the last block to the embedding `batch embed`."""
        if not self.norm_after_pool:
            x = self.norm(x)
        x = x[:, 0] if self.pool == "token" else x[:, self.num_prefix_tokens :].mean(1)
        return self.project(self.norm(x) if self.norm_after_pool else x)

    def project(self, x: Tensor) -> Tensor:
        """The tower's own projection into the space that both modalities share."""
        x = x @ self.projection
        return x if self.projection_bias is None else x + self.projection_bias

    def dense(self, last_input: Tensor) -> Tensor:
        """Features of every patch in the shared space: `... patch embed`, not normalised. See `dense_states`."""
        return self.project(self.dense_states(last_input))

    def dense_states(self, last_input: Tensor) -> Tensor:
        """The same before the tower's projection: `... patch dim`.

        ClearCLIP (Lan et al., 2024), eq. 5: the last block's attention with softmax(Q Q^T / sqrt(d_k)) in the place
        of softmax(Q K^T / sqrt(d_k)), without the residual connection and without the MLP; then the tower's own
        LayerNorm and projection. The prefix tokens take part in the attention, as in the published code.

        Args:
            last_input: `... token dim`, of one photo or of several, from `run`.
        """
        block = self.blocks[-1]
        with capture({"last block": block.attention}, keep=("queries", "values"), once=True) as captured:
            _call(block.attention, block.norm_1(last_input.reshape(-1, *last_input.shape[-2:])))
        queries, values = captured["last block"].queries, captured["last block"].values
        weights = projections(block.attention)
        context = F.scaled_dot_product_attention(queries, queries, values, scale=weights.scale)
        context = context.transpose(1, 2).flatten(2)  # batch token dim
        x = block.scale(F.linear(context, weights.out_weight, weights.out_bias))
        return self.norm(x).reshape(last_input.shape)[..., self.num_prefix_tokens :, :]

    def residual_stream(self, pixels: Tensor) -> ResidualStream:
        """The summands of the embedding of one photo `1 3 height width`; on the CPU.

        Raises:
            CaptureError: an attention site does not recompute its own output.
        """
        full = self._run_full(pixels)
        weights, pooled_row = self._pooling(full.output)
        labels = tuple(f"block {i + 1}" for i in range(len(self.blocks)))
        layers = tuple(
            self._layer(block, x, mlp, weights, pooled_row)
            for block, x, mlp in zip(self.blocks, full.inputs, full.mlps, strict=True)
        )
        bias = self.projection_bias
        zeros = torch.zeros(self.projection.shape[1])
        kind = "image class token" if self.pool == "token" else "mean of the image patches"
        notes = () if self.pool == "token" else (
            "This tower averages its patches, so the attention row shown is the mean over all patches as queries, "
            "and its scores are the logarithm of it.",
        )  # fmt: skip
        prefix = {0: "image patches", 1: "class token, then image patches"}
        return ResidualStream(
            layers=layers,
            labels=labels,
            initial=(weights @ full.inputs[0]).cpu(),
            norm_weight=self.norm.weight.detach().cpu(),
            norm_bias=self.norm.bias.detach().cpu(),
            projection=self.projection.detach().cpu(),
            projection_bias=zeros if bias is None else bias.detach().cpu(),
            embedding=self.pooled(full.output[None])[0].cpu(),
            num_prefix_tokens=self.num_prefix_tokens,
            query_kind=kind,
            key_kind=prefix.get(self.num_prefix_tokens, f"{self.num_prefix_tokens} prefix tokens, then image patches"),
            notes=notes,
        )

    def _block(self, block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x + block.scale(_call(block.attention, block.norm_1(x)))
        mlp = block.mlp(x)
        return x + mlp, mlp

    def _run_full(self, pixels: Tensor) -> _Full:
        x = self.embed(pixels)
        inputs, mlps = [], []
        for block in self.blocks:
            inputs.append(x[0])
            x, mlp = self._block(block, x)
            mlps.append(mlp[0])
        return _Full(inputs, mlps, x[0])

    def _pooling(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """(c_q, the pooling weights themselves), both `token`; c_q holds the last LayerNorm's 1 / std."""
        plain = torch.zeros(len(output), dtype=output.dtype, device=output.device)
        if self.pool == "token":
            plain[0] = 1.0
        else:
            plain[self.num_prefix_tokens :] = 1.0 / (len(output) - self.num_prefix_tokens)
        normed = (plain @ output)[None] if self.norm_after_pool else output
        std = (normed.var(-1, unbiased=False) + self.norm.eps).sqrt()  # token, or 1
        return plain / std, plain

    def _layer(self, block: Block, x: Tensor, mlp: Tensor, weights: Tensor, plain: Tensor) -> ResidualLayer:
        again = _attend(block.attention, block.norm_1(x[None]))
        sites = projections(block.attention)
        heads, head_dim = again.values.shape[1], again.values.shape[-1]
        scale = _layer_scale(block.scale, x)
        out_weight = (scale[:, None] * sites.out_weight).T.unflatten(0, (heads, head_dim))  # head head_dim dim
        out_bias = torch.zeros_like(scale) if sites.out_bias is None else scale * sites.out_bias
        probs = torch.einsum("q,hqk->hk", plain, again.probs[0])
        scores = again.scores[0, :, 0] if self.pool == "token" else probs.log()
        return ResidualLayer(
            scores=scores.cpu(),
            probs=probs.cpu(),
            weighted=torch.einsum("q,hqk->hk", weights, again.probs[0]).cpu(),
            values=again.values[0].cpu(),
            out_weight=out_weight.detach().cpu(),
            bias=(weights.sum() * out_bias).detach().cpu(),
            mlp=(weights @ mlp).cpu(),
        )


def vit_tower(visual: nn.Module) -> VitTower:
    """The parts of `visual`, whose embedding is a sum of them.

    Raises:
        UnsupportedMethodError: it is no vision transformer that is covered; the message gives the reason alone.
    """
    return summed(vit_parts(visual))


def summed(parts: VitParts) -> VitTower:
    """A tower's parts as a sum.

    Raises:
        UnsupportedMethodError: the embedding is no sum of them; the message gives the reason alone.
    """
    if parts.ending is None:
        raise UnsupportedMethodError(parts.why_no_ending)
    return VitTower(
        visual=parts.visual,
        embed=parts.embed,
        blocks=parts.blocks,
        norm=parts.ending.norm,
        pool=parts.pool,
        norm_after_pool=parts.ending.after_pool,
        projection=parts.ending.projection,
        projection_bias=parts.ending.bias,
        num_prefix_tokens=parts.num_prefix_tokens,
        grid_hw=parts.grid_hw,
        patch_hw=parts.patch_hw,
    )


def _call(attention: nn.Module, x: Tensor) -> Tensor:
    args, kwargs = _arguments(attention, x)
    return _first(attention(*args, **kwargs))


def _arguments(attention: nn.Module, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, bool]]:
    return ((x, x, x), {"need_weights": False}) if isinstance(attention, nn.MultiheadAttention) else ((x,), {})


def _attend(attention: nn.Module, x: Tensor) -> Recomputed:
    """The site's own call and the same again, head by head; `recompute` refuses what differs."""
    args, kwargs = _arguments(attention, x)
    return recompute(attention, args, kwargs, attention(*args, **kwargs))


def _layer_scale(scale: nn.Module, x: Tensor) -> Tensor:
    """The factor per channel `dim` that a layer scale applies; ones where there is none."""
    return scale(torch.ones(x.shape[-1], dtype=x.dtype, device=x.device))


def _first(result: Tensor | tuple) -> Tensor:
    return result[0] if isinstance(result, tuple) else result
