"""ViLT's attention as crossviz reads it: blocks of the one sequence of text tokens, image token and patches."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossviz.capture import capture
from crossviz.models.vilt_parts import Joint, ViltModule, joint
from crossviz.trace import AttentionGraph, CrossAttention
from crossviz.words import Caption, Phrase

__all__ = ["Reading", "attention_graph", "image_to_text", "layer_sites", "reading", "text_to_image"]


class Reading(NamedTuple):
    """One photo and one text after all layers, with every layer's and head's attention over the sequence."""

    out: Joint
    scores: Tensor  # layer head query key; queries and keys: text tokens, image token, patches that are read
    probs: Tensor  # layer head query key


def layer_sites(model: ViltModule) -> dict[str, nn.Module]:
    """The attention of every layer, bottom first, by a label for people."""
    return {f"layer {i + 1}": layer.attention.attention for i, layer in enumerate(model.vilt.encoder.layer)}


@torch.no_grad()
def reading(model: ViltModule, ids: Tensor, patches: Tensor) -> Reading:
    """Run one text `1 token` and one photo `1 1+kept dim`, and keep the attention."""
    with capture(layer_sites(model), once=True) as captured:
        out = joint(model, ids, patches)
    layers = [captured[name] for name in captured]
    return Reading(
        out, torch.stack([layer.scores[0] for layer in layers]), torch.stack([layer.probs[0] for layer in layers])
    )


def text_to_image(
    found: Reading, layers: Sequence[str], kept: Tensor, patches: int, caption: Caption, notes: tuple[str, ...]
) -> CrossAttention:
    """The rows of the text tokens; keys are the patches, then the image token and the text tokens.

    Args:
        found: of the caption.
        layers: labels.
        kept: `Patches.kept`.
        patches: patches of the grid.
        caption: one token per text token of the sequence.
        notes: to be told as well.
    """
    count = len(caption.tokens)
    scores, probs = found.scores[:, :, :count], found.probs[:, :, :count]

    def patches_first(x: Tensor, empty: float) -> Tensor:
        return torch.cat([_all_patches(x[..., count + 1 :], kept, patches, empty), x[..., count : count + 1],
                          x[..., :count]], dim=-1)  # fmt: skip

    own = [token.index for token in caption.tokens if token.start is not None]
    share = float(probs[:, :, own, :count].sum(-1).mean())
    image = float(probs[:, :, own, count].mean())
    return CrossAttention(
        scores=patches_first(scores, -torch.inf),
        probs=patches_first(probs, 0.0),
        layers=tuple(layers),
        has_null=False,
        params={},
        notes=(
            f"Of the attention of the caption's tokens, {share:.0%} goes to text tokens and {image:.0%} to the image "
            "token, in the mean over all layers and heads; what the patches get is shown as it is, not scaled up.",
            *notes,
        ),
        key_kind="image patches, then the image token and the text tokens",
    )


def image_to_text(
    found: Reading, layers: Sequence[str], kept: Tensor, patches: int, caption: Caption, notes: tuple[str, ...]
) -> CrossAttention:
    """The rows of the patches, row by row; keys are the text tokens, then the image token and the patches.

    Arguments as `text_to_image`. A patch that is not read looks at nothing: its row is 0.
    """
    count = len(caption.tokens)

    def whole(x: Tensor, empty: float) -> Tensor:
        rows = x[:, :, count + 1 :]
        rows = torch.cat([rows[..., : count + 1], _all_patches(rows[..., count + 1 :], kept, patches, empty)], dim=-1)
        return _all_patches(rows.transpose(-1, -2), kept, patches, empty).transpose(-1, -2)

    share = float(found.probs[:, :, count + 1 :, :count].sum(-1).mean())
    return CrossAttention(
        scores=whole(found.scores, -torch.inf),
        probs=whole(found.probs, 0.0),
        layers=tuple(layers),
        has_null=False,
        params={},
        notes=(
            f"Of the attention of the patches, {share:.0%} goes to text tokens, [CLS] and [SEP] among them, in the "
            "mean over all layers and heads; the rest goes to the image token and to patches.",
            *notes,
        ),
        query_kind="image patches",
        key_kind="text tokens, then the image token and the patches",
    )


def attention_graph(
    model: ViltModule, ids: Tensor, states: Tensor, kept: Tensor, patches: int, rows: Callable[[Phrase], Sequence[int]]
) -> AttentionGraph:
    """One pass in the autograd graph, with the matching head's answer for photo and caption.

    Args:
        model: with a matching head.
        ids: `1 token`.
        states: `1 1+kept dim`.
        kept: `Patches.kept`.
        patches: patches of the grid.
        rows: the text tokens of a phrase.
    """
    named, count = layer_sites(model), ids.shape[1]
    with torch.enable_grad(), capture(named, keep=("single",), substitute=True) as captured:
        start = states.detach().requires_grad_(True)  # a graph also where no weight asks for one
        logit = model.rank_output(joint(model, ids, start).pooled)[0, 0]
    return AttentionGraph(
        probs=tuple(captured[name].single for name in named),
        layers=tuple(named),
        score=lambda phrases: logit.expand(len(phrases)),
        unit="matching score",
        sentence="What the matching head says of the photo and the whole caption, the same for every word.",
        rows=rows,
        to_patches=lambda keys: _all_patches(keys[..., count + 1 :], kept, patches, 0.0),
        joint=True,
    )


def _all_patches(x: Tensor, kept: Tensor, patches: int, empty: float) -> Tensor:
    """What there is of the patches that are read, `... kept`, for all of the grid: `... patch`."""
    if len(kept) == patches:
        return x
    return x.new_full((*x.shape[:-1], patches), empty).index_copy(-1, kept, x)
