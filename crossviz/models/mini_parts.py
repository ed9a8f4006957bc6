"""What methods take apart of `crossviz-mini`: its image tower, how well a photo matches a phrase, its cross-attention.

The state of some photos is {"patches": `batch 576 256`, "embedding": unit vectors `batch 256`}.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention
from crossviz.errors import CaptureError, SelectionError
from crossviz.geometry import PatchGrid
from crossviz.models.blocks import tower_block
from crossviz.models.mini_text import text_attention
from crossviz.models.mini_tower import COARSE_GRID, FINE_GRID
from crossviz.tower import run_tower
from crossviz.trace import CrossPass, ImageTower, Match
from crossviz.words import Caption, Phrase

__all__ = ["State", "check_parts", "cross_pass", "image_tower", "match", "read_out", "stages", "states"]

State = Mapping[str, Tensor]
BATCH = 8
"""Photos in one pass: more are no faster on two cores and take more memory."""
TOLERANCE = 1e-4
"""Largest accepted difference of a tower's parts from its own states, relative to their largest value."""
_LEAST = 1e-30
"""Null mass and what is left of it are shown as no less than this, where log-odds would be infinite."""


def read_out(visual: nn.Module, pooled: Tensor, patches: Tensor) -> State:
    """The image tower's two outputs (`batch 512`, `batch 576 256`) as the state."""
    return {"patches": patches, "embedding": F.normalize(visual.head(pooled), dim=-1)}


def states(visual: nn.Module, pixels: Tensor) -> State:
    """Photos `batch 3 384 384` to their state: the tower's own fastest way, without gradient."""
    with torch.no_grad():
        parts = [read_out(visual, *visual.trunk.forward_dense(_laid_out(some))) for some in pixels.split(BATCH)]
    return {name: torch.cat([part[name] for part in parts]) for name in ("patches", "embedding")}


def image_tower(visual: nn.Module) -> ImageTower:
    """Convolutions, attention blocks on CLS and 12 x 12 patches, local blocks on 24 x 24 with finer features."""
    head = visual.trunk.head

    def features(x: Tensor, fine: Tensor) -> Tensor:
        return head.join(x, fine).transpose(1, 2).unflatten(2, (FINE_GRID, FINE_GRID))

    def readout(x: Tensor, fine: Tensor, joined: Tensor | None) -> State:
        joined = features(x, fine) if joined is None else joined
        tokens = joined.flatten(2).transpose(1, 2)
        return read_out(visual, head.pool(x, tokens), tokens)

    blocks = (
        tower_block(f"block {i + 1}", part.norm1, part.attn, part.ls1, nn.Sequential(part.norm2, part.mlp, part.ls2))
        for i, part in enumerate(head.blocks)
    )
    return ImageTower(
        embed=lambda pixels: head.enter(*visual.trunk.body(_laid_out(pixels))),
        blocks=tuple(blocks),
        grid=PatchGrid(COARSE_GRID, COARSE_GRID, 1),
        pool="token",
        features=features,
        readout=readout,
        pool_note="The class token makes up half of this model's photo embedding, and its words do not read it: they "
        "read the patches.",
    )


@torch.no_grad()
def check_parts(tower: ImageTower, pixels: Tensor, own: State) -> None:
    """Compare the tower run part by part with what it gives itself.

    Args:
        tower: from `image_tower`.
        pixels: `batch 3 384 384`.
        own: the state of those photos, from `states`.

    Raises:
        CaptureError: they differ.
    """
    found = run_tower(tower, pixels).state
    for name, expected in own.items():
        difference = float((found[name] - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:
            raise CaptureError(
                f"The parts of this image tower give {name} that differ from its own by {difference:.1e} of the "
                f"largest value; at most {TOLERANCE:.0e} is accepted. A hook, a wrapper or a patch that changes what "
                "the tower computes would explain it."
            )


def match(visual: nn.Module, attention: CrossModalAttention, caption: Caption, tokens: Tensor) -> Match:
    """How surely each phrase is found, by the null key of the cross-attention.

    Args:
        visual: the image tower.
        attention: with a null key.
        caption: the phrases' caption.
        tokens: its token states `token 256`.
    """

    def score(state: State, phrases: Sequence[Phrase]) -> Tensor:
        patches = state["patches"]
        query = tokens.detach().expand(len(patches), -1, -1)
        return _found(attention(query, patches).probs, _shares(caption, phrases).to(patches))

    return Match(
        unit="log-odds of being found",
        sentence="The log-odds of the share of the words' attention that goes to the photo, and not to the null key.",
        state=lambda pixels: states(visual, pixels),
        score=score,
        readable=torch.sigmoid,
        readable_unit="share found",
    )


def cross_pass(
    text: TextTransformer,
    attention: CrossModalAttention,
    label: str,
    caption: Caption,
    ids: Tensor,
    tokens: Tensor,
) -> Callable[[State], CrossPass]:
    """What makes a pass of the cross-attention from a state, with the text tower's attention before it.

    Args:
        text: the text tower.
        attention: with a null key.
        label: what the cross-attention's layer is called.
        caption: what the photo is asked for.
        ids: its token ids `1 length`.
        tokens: its token states `token 256` as the text tower gives them.

    Raises:
        CaptureError: (of the pass) the text tower's parts give other states than the tower itself.
    """

    def run(state: State) -> CrossPass:
        again = text_attention(text, ids, len(tokens))
        difference = float((again.tokens - tokens).detach().abs().max() / tokens.detach().abs().max())
        if not difference <= TOLERANCE:
            raise CaptureError(
                f"The parts of this text tower give token states that differ from its own by {difference:.1e} of the "
                f"largest value; at most {TOLERANCE:.0e} is accepted. A hook, a wrapper or a patch that changes "
                "what the tower computes would explain it."
            )
        patches = state["patches"]
        probs = attention(again.tokens.expand(len(patches), -1, -1), patches).probs[:, None]  # the one layer
        return CrossPass(
            probs=probs,
            layers=(label,),
            has_null=attention.has_null_key,
            text_probs=again.probs,
            score=lambda phrases: _found(probs[:, 0], _shares(caption, phrases).to(probs)),
        )

    return run


def stages(clip: nn.Module, attention: CrossModalAttention) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
    """The model from the map down to the pixels, every parameter once: first what the map is read from."""
    trunk, head = clip.visual.trunk, clip.visual.trunk.head
    body = trunk.body
    return [
        ("cross-attention", [attention]),
        ("image head's local blocks", [head.norm, head.local]),
        ("image head's attention blocks", [head.cls_norm, head.blocks]),
        ("image head's projections", [head.coarse_in, head.fine_in, head.cls_token, head.pos_embed]),
        ("EfficientNet-Lite2", [body.bn2, body.conv_head, body.blocks, body.bn1, body.conv_stem]),
        ("NanoDet-g", [body.detector]),
        ("text tower", [clip.text]),
        ("projection and temperature of the embeddings", [clip.visual.head, clip.logit_scale]),
    ]


def _laid_out(pixels: Tensor) -> Tensor:
    """Channels last on the CPU, as the convolutions' weights are there."""
    return pixels.contiguous(memory_format=torch.channels_last) if pixels.device.type == "cpu" else pixels


def _found(probs: Tensor, shares: Tensor) -> Tensor:
    """Log-odds of being found, `batch phrase`, from `batch head token key` and `phrase token`."""
    null = probs[..., -1].mean(1) @ shares.T
    # A null mass near 1 leaves nothing of 1 - null in float32; the patches' own sum still tells. The gradient is that
    # of 1 - null in both cases: with respect to the null key's probability alone.
    found = _valued(1 - null, probs[..., :-1].sum(-1).mean(1) @ shares.T)
    return torch.log(found) - torch.log(_valued(null, null))


def _valued(x: Tensor, value: Tensor) -> Tensor:
    """`x` with another value, at least `_LEAST`, and its own gradient."""
    return x + (value.clamp(min=_LEAST) - x).detach()


def _shares(caption: Caption, phrases: Sequence[Phrase]) -> Tensor:
    """Each token's part in the mean over a phrase's tokens, `phrase token`; as `RelevanceMap.select_null` has it."""
    shares = torch.zeros(len(phrases), len(caption.tokens))
    for row, phrase in zip(shares, phrases, strict=True):
        for word in phrase.words:
            for token in caption.words[word].tokens:
                row[token] += 1
        if not row.any():
            raise SelectionError(f"The model read no token of '{phrase.text:.60}': shorten the caption before it.")
    return shares / shares.sum(1, keepdim=True)
