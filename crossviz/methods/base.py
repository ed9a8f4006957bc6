"""What a method is: the protocol that `crossviz.methods` registers, and what methods share."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.layers import Layers, select_layers, tower_labels
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.tower import AttentionLayer, TowerPass, run_tower
from crossviz.trace import EncodedImage, ImageTower, Trace
from crossviz.words import Caption, Phrase

__all__ = [
    "Layers",
    "Method",
    "MethodInfo",
    "MethodResult",
    "check_prompt",
    "each_gradient",
    "embedded",
    "image_record",
    "image_row",
    "latest",
    "patch_cells",
    "read_phrases",
    "scatter",
    "select_layers",
    "to_grid",
    "tower_labels",
    "tracked_pass",
    "word_means",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What there is to say of a method before anything is computed with it."""

    name: str
    """What `Explainer.explain` takes."""
    title: str
    sentence: str
    """What its maps mean, in one line."""
    paper: str
    unit: str
    signed: bool
    text_dependent: bool
    requires: tuple[str, ...]
    """Capabilities of `crossviz.trace` that it needs of a model."""
    families: str
    """What kind of models those are, in a few words: "vision transformers", "every model"."""
    or_requires: tuple[str, ...] = ()
    """Capabilities that will do in the place of all of `requires`; none if empty."""
    before_word: bool = False
    """Whether a word's map is made before the model reads that word, so that any other in its place has the same."""

    def served_by(self, lacks: Mapping[str, str]) -> bool:
        """Whether a model that lacks these capabilities offers what the method needs."""
        ways = [self.requires, *([self.or_requires] if self.or_requires else [])]
        return any(not any(need in lacks for need in way) for way in ways)


class MethodResult(NamedTuple):
    """The attention that a method read, None where it read none, and the map that it made."""

    record: AttentionRecord | None
    map: RelevanceMap
    parts: Mapping[str, AttentionRecord] = MappingProxyType({})
    """Where the record is composed of several attentions, each of them by its title."""


class Method(Protocol):
    """A method: one file, named after its paper, one entry in the registry."""

    info: MethodInfo
    needs_grad: bool
    """Whether it is called with autograd on."""

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """Explain one photo and one caption.

        Args:
            trace: the photo and the caption in a model.
            layers: None for all that the method reads, an int n for the last n of those, or a list of indices
                (negative count from the end) and labels. Of an image tower, indices and labels are those of its
                blocks and then its pooler, whatever the method.

        Raises:
            UnsupportedMethodError: the model lacks what the method requires.
            SelectionError: there is no such layer, or the method does not read it.
        """
        ...


def word_means(caption: Caption, like: Tensor) -> Tensor:
    """The matrix `word token` that averages over each word's tokens; a row of zeros for a word without tokens."""
    means = torch.zeros(len(caption.words), len(caption.tokens))
    for word in caption.words:
        means[word.index, list(word.tokens)] = 1.0 / max(len(word.tokens), 1)
    return means.to(like.device, like.dtype)


def check_prompt(prompt: str) -> str:
    """Return `prompt` if it holds "{}" once, where a word goes, and no other brace.

    Raises:
        MethodError: it does not.
    """
    if prompt.count("{}") != 1 or prompt.count("{") + prompt.count("}") != 2:
        raise MethodError(f"The prompt {prompt!r:.80} must hold '{{}}' once, where the word goes.")
    return prompt


def read_phrases(trace: Trace) -> tuple[list[int], list[Phrase]]:
    """The words of which the model read a token, and that are asked for: their indices, and each as a phrase."""
    asked = range(len(trace.caption.words)) if trace.only is None else trace.only
    indices = [word.index for word in trace.caption.words if word.tokens and word.index in asked]
    return indices, [trace.caption.phrase(word=index) for index in indices]


def scatter(values: Tensor, indices: Sequence[int], caption: Caption) -> Tensor:
    """Maps of the words that were read, in their places: `... phrase gh gw` to `... word gh gw`, zeros for the rest."""
    placed = values.new_zeros(*values.shape[:-3], len(caption.words), *values.shape[-2:])
    placed[..., list(indices), :, :] = values
    return placed


def to_grid(values: Tensor, grid: PatchGrid, *, share: bool) -> Tensor:
    """Maps on a tower's grid, `... gh gw`, on the grid of the explanation: each cell is repeated by whole factors.

    Args:
        values: `... gh gw`.
        grid: the explanation's.
        share: whether the cells that come of one share its value, so that the sum stays (probabilities); else each
            has the whole of it.

    Raises:
        MethodError: the factors are not whole.
    """
    height, width = values.shape[-2:]
    if grid.height % height or grid.width % width:
        raise MethodError(
            f"A map of {height} x {width} cells can't be brought to a grid of {grid.height} x {grid.width} patches: "
            "both sides must be whole multiples."
        )
    down, right = grid.height // height, grid.width // width
    spread = values.repeat_interleave(down, -2).repeat_interleave(right, -1)
    return spread / (down * right) if share else spread


def patch_cells(tokens: Tensor, tower: ImageTower) -> Tensor:
    """What there is per token of a tower, `... token`, for its patches alone: `... gh gw` of the tower's own grid."""
    grid = tower.grid
    return tokens[..., grid.num_prefix_tokens :].unflatten(-1, (grid.height, grid.width))


def image_row(matrix: Tensor, tower: ImageTower) -> Tensor:
    """The row that makes the image of a matrix over tokens, `... query key` to `... key`: see `ImageTower.pool`."""
    if tower.pool == "token":
        return matrix[..., 0, :]
    if tower.pool == "avg":
        return matrix[..., tower.grid.num_prefix_tokens :, :].mean(-2)
    raise MethodError(f"No single row of an image tower that pools by {tower.pool!r} is that of the image.")


def image_record(passed: TowerPass, labels: Sequence[str], tower: ImageTower) -> AttentionRecord | None:
    """The attention of a tower's image token over all of its tokens, of a pass with one photo: `layer head 1 key`.

    Where the patches are averaged, it is the mean of their rows, with its logarithm as scores. Where a pooler looks
    at the tokens, it is the pooler's row alone, whatever the labels: no row of a block is the image's. None without
    blocks.

    Args:
        passed: from `crossviz.tower.run_tower`.
        labels: of the layers that the method read.
        tower: the tower that was run.
    """
    if tower.pool == "none":
        return None
    chosen = [layer for layer in passed.layers if layer.label in labels]
    layers: Sequence[AttentionLayer] = [passed.pooler] if tower.pool == "attention" else chosen
    probs = torch.stack([layer.probs[0].detach() for layer in layers])  # layer head query key
    scores = torch.stack([layer.scores[0].detach() for layer in layers])
    if tower.pool == "avg":
        probs = image_row(probs, tower)[:, :, None]
        scores = probs.log()
    else:
        probs, scores = probs[:, :, :1], scores[:, :, :1]
    kinds = {"token": "image class token", "avg": "mean of the image patches", "attention": "image pooler's query"}
    prefix = tower.grid.num_prefix_tokens
    before = {0: "", 1: "class token, then "}.get(prefix, f"{prefix} prefix tokens, then ")
    return AttentionRecord(
        scores=scores,
        probs=probs,
        layers=tuple(layer.label for layer in layers),
        query_kind=kinds[tower.pool],
        key_kind=f"{before}image patches",
    )


def latest(image: EncodedImage, name: str, key: Hashable, compute: Callable[[], T]) -> T:
    """`compute()`, kept with the photo until it is asked for with another key: one result of a name at a time."""
    slot: dict[Hashable, T] = image.keep(name, dict)
    found = slot.get(key)
    if found is None:
        found = compute()
        slot.clear()
        slot[key] = found
    return found


def embedded(trace: Trace) -> tuple[Tensor, Any]:
    """What `ImageTower.embed` gives for the photo, without gradient; computed once per photo."""

    def compute() -> tuple[Tensor, Any]:
        with torch.no_grad():
            return trace.image_tower().embed(trace.pixels)

    return trace.image.keep("embedded", compute)


def tracked_pass(trace: Trace) -> TowerPass:
    """The photo through the image tower, in a graph that begins at `TowerPass.inputs`, whatever the weights require.

    What lies before the first block (patch embedding; of a convolutional tower, all but its last map) has no part
    in the graph: no attention and no last feature map does.
    """
    x, beside = embedded(trace)
    with torch.enable_grad():
        return run_tower(trace.image_tower(), None, start=(x.detach().requires_grad_(True), beside))


def each_gradient(scores: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of every phrase's score for one photo with respect to each input.

    Args:
        scores: `1 phrase`, from `Match.score` on a state of one photo.
        inputs: tensors of the graph, with the batch of one as first axis; the graph is kept.

    Returns:
        For every input `phrase` and then its shape without the batch.
    """
    if not scores.shape[1]:
        return [part.new_zeros(0, *part.shape[1:]) for part in inputs]
    found = [torch.autograd.grad(score, inputs, retain_graph=True) for score in scores[0]]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]
