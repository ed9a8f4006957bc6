"""CoCa's attention from words to patches: the decoder's cross-attention, composed with that of the image pooler.

A[layer, head, token, patch] = sum over queries q of A_cross[layer, head, token, q] * A_pool[q, patch], with A_pool the
mean over the pooler's heads. Every row of both sums to 1, so every row of A does.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from crossviz.capture import capture
from crossviz.models.coca_parts import CocaParts, PooledImage
from crossviz.models.coca_words import token_log_probs
from crossviz.results import AttentionRecord
from crossviz.trace import AttentionGraph, CrossAttention
from crossviz.words import Caption, Phrase

__all__ = ["CROSS_PART", "POOLER_PART", "UNIT", "attention_graph", "composed", "cross_sites", "labels", "written"]

CROSS_PART = "decoder: text tokens to pooler queries"
POOLER_PART = "pooler: queries to image patches"
UNIT = "log-probability"


def labels(module: nn.Module) -> tuple[str, ...]:
    """What the decoder's layers are called, bottom to top."""
    return tuple(f"decoder block {i + 1}" for i in range(len(module.text_decoder.cross_attn)))


@torch.no_grad()
def composed(module: nn.Module, parts: CocaParts, image: PooledImage, states: Tensor) -> CrossAttention:
    """Every layer's and head's attention from a caption's tokens to patches.

    Args:
        module: open_clip's CoCa.
        parts: its parts.
        image: the photo after the image tower.
        states: the caption's tokens after the text tower, `token width`.

    Raises:
        CaptureError: an attention, recomputed, does not give the decoder's own output.
    """
    names = labels(module)
    with capture(cross_sites(module), once=True) as captured:
        module.text_decoder(image.tokens[None], states[None])
    scores = torch.cat([captured[name].scores for name in names])  # layer head token query
    probs = torch.cat([captured[name].probs for name in names])
    rows = probs @ _pool(image)  # layer head token key
    key_kind = "image patches" + (", then the class token" if parts.num_prefix_tokens else "")
    return CrossAttention(
        scores=rows.log(),
        probs=rows,
        layers=names,
        has_null=False,
        params={"pooler": "mean over its heads"},
        notes=_notes(parts),
        key_kind=key_kind,
        parts={
            CROSS_PART: AttentionRecord(scores, probs, names, "text tokens", "pooler queries"),
            POOLER_PART: AttentionRecord(
                image.scores[None], image.probs[None], ("pooler",), "pooler queries", key_kind
            ),
        },
    )


def written(read: CrossAttention) -> CrossAttention:
    """The same with the row that wrote each token in the place of the row that has read it.

    The position before a token writes it. The first token was written by none, and keeps its own row.
    """
    cross = read.parts[CROSS_PART]
    rows = [max(token - 1, 0) for token in range(read.probs.shape[2])]
    composition, *others = read.notes
    return replace(
        read,
        scores=read.scores[:, :, rows],
        probs=read.probs[:, :, rows],
        notes=(
            composition,
            "The row of a word is that of the position that writes it, which is the one before: it has not seen the "
            "word itself, only the words before it.",
            *others[1:],
        ),
        parts={
            **read.parts,
            CROSS_PART: replace(cross, scores=cross.scores[:, :, rows], probs=cross.probs[:, :, rows]),
        },
    )


def attention_graph(
    module: nn.Module, parts: CocaParts, image: PooledImage, states: Tensor, caption: Caption, sentence: str
) -> AttentionGraph:
    """One pass of the decoder in a graph that begins at the caption's states, whatever the weights require.

    A phrase's rows are those that wrote its tokens: its score is read off them, and no later one reaches it.

    Args:
        module: open_clip's CoCa.
        parts: its parts.
        image: the photo after the image tower.
        states: the caption's tokens after the text tower, `token width`.
        caption: the caption.
        sentence: what the score is.
    """
    names, cross, own = labels(module), cross_sites(module), _self_sites(module)
    with torch.enable_grad():
        start = states.detach().clone().requires_grad_(True)
        with capture({**own, **cross}, keep=("single",), substitute=True) as captured:
            logits = module.text_decoder(image.tokens[None], start[None])
        ids = torch.tensor([token.id for token in caption.tokens], device=states.device)
        log_probs = token_log_probs(logits, ids)[0]
    pool = _pool(image)[:, : parts.grid.num_patches].detach()  # query patch

    def score(phrases: Sequence[Phrase]) -> Tensor:
        means = [log_probs[caption.tokens_of(phrase)].mean() for phrase in phrases]
        return torch.stack(means) if means else log_probs.new_zeros(0)

    def rows(phrase: Phrase) -> list[int]:
        return [token - 1 for token in caption.tokens_of(phrase)]

    def to_patches(values: Tensor) -> Tensor:
        return values @ pool.to(values)

    return AttentionGraph(
        probs=tuple(captured[name].single for name in names),
        layers=names,
        score=score,
        unit=UNIT,
        sentence=sentence,
        rows=rows,
        to_patches=to_patches,
        joint=False,
        text_probs=tuple(captured[name].single for name in own),
    )


def cross_sites(module: nn.Module) -> dict[str, nn.Module]:
    """The decoder's cross-attention by layer, bottom to top."""
    return dict(zip(labels(module), (block.attn for block in module.text_decoder.cross_attn), strict=True))


def _self_sites(module: nn.Module) -> dict[str, nn.Module]:
    return {f"decoder text block {i + 1}": block.attn for i, block in enumerate(module.text_decoder.resblocks)}


def _pool(image: PooledImage) -> Tensor:
    """The pooler's attention, the mean of its heads: `query key`."""
    return image.probs.mean(0)


def _notes(parts: CocaParts) -> tuple[str, ...]:
    notes = [
        "This is a composition: the decoder looks at the outputs of an attention pooler, not at patches. Its "
        "cross-attention (word to pooler query) is multiplied by the pooler's attention (query to patch), the mean of "
        "its heads.",
        "The row of a word is that of the position that has read it and says what comes next; it has not seen the "
        "words after it.",
    ]
    if parts.num_prefix_tokens:
        notes.append("What goes to the image tower's class token belongs to no patch: a map need not sum to 1.")
    notes.append("There is no null key: a word with no counterpart in the photo is laid somewhere on it all the same.")
    return tuple(notes)
