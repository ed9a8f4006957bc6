"""What the methods share that give each patch a feature of its own in the space of the texts.

Each of them runs the image tower as it is up to its last block or blocks, puts another attention there, and takes
the patches one by one through what follows (`ImageTower.to_text`). A value of a map is the cosine of such a feature
with the embedding of a word, as a text by itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    embedded,
    image_record,
    scatter,
    select_layers,
    to_grid,
    tower_labels,
)
from crossviz.methods.gradients import attention_tower
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.tower import AttentionLayer, TowerPass, run_tower
from crossviz.trace import ImageTower, Trace
from crossviz.words import Caption

__all__ = [
    "DENSE_REQUIRES",
    "LastBlock",
    "Prompts",
    "dense_maps",
    "dense_result",
    "dense_tower",
    "last_block",
    "last_blocks",
    "patch_features",
    "pooler_alone",
    "prompts_of",
    "shared_notes",
]

DENSE_REQUIRES = ("image_tower", "image_attention", "patch_texts")


class LastBlock(NamedTuple):
    """A tower's last block, run for one photo."""

    tower: ImageTower
    inputs: Tensor  # 1 token dim; what enters the block
    layer: AttentionLayer
    label: str
    record: AttentionRecord | None


class Prompts(NamedTuple):
    """The words that were read, each as a text by itself; the same text is embedded once."""

    words: list[int]
    texts: list[str]
    """Without repetitions."""
    place: list[int]
    """For each of `words` its text."""


def dense_tower(trace: Trace, *, pooler: bool = False) -> ImageTower:
    """The trace's image tower, if single patches of it can be taken to the texts.

    Raises:
        UnsupportedMethodError: it has no blocks (nor, with `pooler`, an attention pooler), or no patch of it can be
            taken there.
    """
    tower = attention_tower(trace, pooler=pooler)
    if tower.to_text is None:
        raise trace.refusal("patch_texts")
    return tower


@torch.no_grad()
def last_blocks(trace: Trace, count: int) -> TowerPass:
    """A pass whose layers are the tower's last `count` blocks alone; of those before, no attention is kept."""
    tower = trace.image_tower()
    x, beside = embedded(trace)
    before, after = tower.blocks[: len(tower.blocks) - count], tower.blocks[len(tower.blocks) - count :]
    for block in before:
        part = replace(tower, blocks=(block,), features=None, readout=_tokens, pooler=None)
        x = run_tower(part, None, start=(x, beside)).state
    return run_tower(replace(tower, blocks=after), None, start=(x, beside))


@torch.no_grad()
def last_block(trace: Trace, layers: Layers) -> LastBlock:
    """The last block of the trace's image tower; the tokens that enter it are computed once per photo.

    Raises:
        UnsupportedMethodError: no patch of the tower can be taken to the texts.
        SelectionError: `layers` asks for another layer.
    """
    tower = dense_tower(trace)
    block = tower.blocks[-1]
    select_layers(layers, tower_labels(tower), [len(tower.blocks) - 1])
    inputs, beside = trace.image.keep("tokens before the last block", lambda: _start(last_blocks(trace, 1)))
    passed = run_tower(replace(tower, blocks=(block,)), None, start=(inputs, beside))
    return LastBlock(tower, inputs, passed.layers[0], block.label, image_record(passed, [block.label], tower))


@torch.no_grad()
def pooler_alone(trace: Trace) -> LastBlock:
    """The attention pooler of a tower without blocks in the place of the last block; its inputs are the last map."""
    tower = dense_tower(trace, pooler=True)
    passed = run_tower(tower, None, start=embedded(trace))
    labels = tower_labels(tower)
    return LastBlock(tower, passed.inputs, passed.pooler, labels[-1], image_record(passed, labels, tower))


@torch.no_grad()
def patch_features(last: LastBlock, context: Tensor, *, residual: bool, mlp: bool) -> Tensor:
    """Features of the patches, `patch embed`, where the last block's heads add `context`; not normalised.

    Args:
        last: the block.
        context: `1 head token head_dim`.
        residual: whether what enters the block is added.
        mlp: whether the block's MLP follows.
    """
    block = last.tower.blocks[-1]
    x = block.merge(context)
    x = last.inputs + x if residual else x
    x = x + block.mlp(x) if mlp else x
    return last.tower.to_text(x[0, last.tower.grid.num_prefix_tokens :])


def prompts_of(caption: Caption, prompt: str) -> Prompts:
    """The caption's words that have a token, each put into the prompt."""
    words = [word.index for word in caption.words if word.tokens]
    filled = [prompt.format(caption.words[word].text) for word in words]
    texts = list(dict.fromkeys(filled))
    return Prompts(words, texts, [texts.index(text) for text in filled])


def dense_maps(values: Tensor, prompts: Prompts, trace: Trace) -> Tensor:
    """Values of the tower's patches for each text, `patch text`, as maps of the words: `word gh gw`."""
    grid = trace.image_tower().grid
    maps = values.T.unflatten(-1, (grid.height, grid.width))  # text gh gw of the tower's grid
    return scatter(to_grid(maps, trace.image.grid, share=False)[prompts.place], prompts.words, trace.caption)


def dense_result(
    info: MethodInfo,
    trace: Trace,
    last: LastBlock,
    features: Tensor,
    prompt: str,
    params: Mapping[str, Any],
    made: str,
) -> MethodResult:
    """The maps of cosines of a last-block method, with the attention that the block itself has.

    Args:
        info: the method's.
        trace: the photo and the caption.
        last: the block that was changed.
        features: `patch embed`, not normalised.
        prompt: the text that stands for a word.
        params: what else is to be said of how the features were made.
        made: the same in a sentence.
    """
    prompts = prompts_of(trace.caption, prompt)
    texts = trace.embed_texts(prompts.texts).detach().float()  # text embed
    unit = F.normalize(features.detach().float().cpu(), dim=-1)
    return MethodResult(
        last.record,
        RelevanceMap(
            values=dense_maps(unit @ texts.T, prompts, trace),
            unit=info.unit,
            signed=info.signed,
            method=info.name,
            params={"layers": [last.label], "prompt": prompt, **params},
            direction="query: text, key: image",
            text_dependent=info.text_dependent,
            token_counts=trace.caption.token_counts,
            notes=(
                made,
                "A value is the cosine of a patch's feature and the word's embedding: it says more or less than other "
                "patches, and has no level of its own that means found or not found.",
                *shared_notes(last.tower, prompt),
            ),
        ),
    )


def shared_notes(tower: ImageTower, prompt: str) -> tuple[str, ...]:
    """What to know of every map that is made of patches' own features in this kind of tower."""
    notes = [
        f'Every word is a text by itself ("{prompt.format("word")}"): the other words of the caption are not read with '
        "it.",
        "The attention shown is the image tower's own, before the method changes it; the text has no part in it.",
    ]
    if tower.pool == "avg":
        notes.append("This tower averages its patches; the method was published for towers with a class token.")
    if tower.pool == "attention":
        notes.append(
            "This tower pools its patches with an attention pooler: a patch is taken to the texts as though it were "
            "all that the pooler looks at."
            + (" The method was published for towers with a class token." if tower.blocks else "")
        )
    return tuple(notes)


def _tokens(x: Tensor, beside: Any, features: Tensor | None) -> Tensor:
    return x


def _start(passed: TowerPass) -> tuple[Tensor, Any]:
    return passed.inputs, passed.beside
