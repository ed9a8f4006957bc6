"""Heads switched off one at a time, measured."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crossviz.methods.base import embedded
from crossviz.tower import run_tower
from crossviz.trace import ImageTower, Match
from crossviz.trust.head_effect import Head, HeadEffect
from crossviz.trust.ranks import spearman
from crossviz.trust.subject import Steps, Subject, remembered

__all__ = ["HeadStates", "ablate", "head_effect"]

BATCH = 8
_SAME = 1e-3
"""How far a map that was made again may be from the one in question, as a share of its maximum."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadStates:
    """An image tower's states with heads off; `labels` and `masses` say which head, in the order of `states`."""

    whole: Any
    all_off: Any
    states: list
    """Each of some photos: one per head, in turn."""
    heads: tuple[tuple[str, int], ...]
    masses: tuple[float, ...]


def ablate(tower: ImageTower, start: tuple[Tensor, Any]) -> Steps[HeadStates]:
    """Run a tower with every head off in turn, from the head's own block upward, and with all of them off.

    Args:
        tower: with blocks.
        start: what `tower.embed` gave for one photo.
    """
    with torch.no_grad():
        passed = run_tower(tower, None, start=start)
        counts = [layer.probs.shape[1] for layer in passed.layers]
        # One mask for all layers: towers have as many heads in each.
        off = start[0].new_zeros(1, len(counts), max(counts))
        nothing = run_tower(tower, None, start=start, head_mask=off).state
    states, heads, masses = [], [], []
    for number, layer in enumerate(passed.layers):
        below = start[0] if number == 0 else passed.layers[number - 1].output
        above = dataclasses.replace(tower, blocks=tower.blocks[number:])
        for some in torch.arange(counts[number]).split(BATCH):
            with torch.no_grad():
                mask = below.new_ones(len(some), len(above.blocks), max(counts))
                mask[torch.arange(len(some)), 0, some] = 0
                beside = _repeated(passed.beside, len(some))
                run = run_tower(above, None, start=(below.expand(len(some), -1, -1), beside), head_mask=mask)
            states.append(run.state)
            yield len(heads) / sum(counts)
            heads += [(layer.label, int(head)) for head in some]
        masses += _masses(tower, layer.probs)
    return HeadStates(passed.state, nothing, states, tuple(heads), tuple(masses))


def head_effect(subject: Subject) -> Steps[HeadEffect]:
    """The effect of every head of the image tower, and of the cross-attention where the map is read from one.

    The states without a head do not depend on the word and are kept with the photo.
    """
    trace, match, values = subject.trace, subject.trace.match(), subject.values
    found = yield from remembered(trace, "heads", (), lambda: ablate(trace.image_tower(), embedded(trace)))
    whole = _match(match, subject, [found.whole])
    effects = (_match(match, subject, found.states) - whole).tolist()
    remake = _remake(subject, found.whole)
    changes: Sequence[float | None] = [None] * len(effects)
    if remake is not None:
        changes = [1 - spearman(chart, values) for state in found.states for chart in remake(state)]
    rows = zip(found.heads, effects, changes, found.masses, strict=True)
    heads = [Head(layer, head, effect, change, min(mass, 1.0)) for (layer, head), effect, change, mass in rows]
    heads += _cross_heads(subject, float(whole))
    return HeadEffect(match.readable_unit, tuple(heads), float(whole), float(_match(match, subject, [found.all_off])))


def _match(match: Match, subject: Subject, states: list) -> Tensor:
    """As people read it: `photo`, or a single number for a single state."""
    with torch.no_grad():
        parts = [match.readable(match.score(state, [subject.phrase]))[:, 0] for state in states]
    return torch.cat(parts).double().cpu()


def _masses(tower: ImageTower, probs: Tensor) -> list[float]:
    """How much of the attention of one photo's image token goes to patches, by head; else of its patches' mean."""
    prefix = tower.grid.num_prefix_tokens
    rows = probs[0, :, :1] if tower.pool == "token" else probs[0, :, prefix:]  # head query key
    return rows[..., prefix:].sum(-1).mean(-1).tolist()


def _remake(subject: Subject, whole: Any) -> Callable[[Any], Tensor] | None:
    """What makes the phrase's maps `photo gh gw` from states, where the map is a cross-attention's; else None."""
    if subject.chart.method != "cross_attention" or "cross_pass" not in subject.trace.provides:
        return None
    trace, values = subject.trace, subject.values
    tokens = [token for word in subject.phrase.words for token in trace.caption.words[word].tokens]
    grid = trace.image.grid

    def remake(state: Any) -> Tensor:
        with torch.no_grad():
            passed = trace.cross_pass(state)
        chosen = [passed.layers.index(label) for label in subject.chart.layers]
        rows = passed.probs[:, chosen][:, :, :, tokens].mean((1, 2, 3))  # photo key
        return rows[:, : grid.num_patches].unflatten(1, (grid.height, grid.width)).cpu()

    again = remake(whole)[0]
    same = float((again - values).abs().max()) <= _SAME * float(values.abs().max())
    return remake if same else None


def _cross_heads(subject: Subject, whole: float) -> list[Head]:
    """The cross-attention's heads, each left out of the mean; only where the match is read from that mean."""
    chart, words = subject.chart, subject.phrase.words
    per_head, null = chart.per_head, chart.null_mass
    if chart.method != "cross_attention" or per_head is None or null is None or per_head.shape[:2].numel() < 2:
        return []
    if abs((1 - chart.select_null(words)) - whole) > _SAME:
        return []
    heads, count = [], per_head.shape[:2].numel()
    total, mass = chart.select(words) * count, (1 - chart.select_null(words)) * count
    for number, layer in enumerate(chart.layers):
        for head in range(per_head.shape[1]):
            own = 1 - chart.select_null(words, number, head)
            rest = (total - chart.select(words, number, head)) / (count - 1)
            change = 1 - spearman(rest, chart.select(words))
            heads.append(Head(layer, head, (mass - own) / (count - 1) - mass / count, change, own))
    return heads


def _repeated(beside: Any, count: int) -> Any:
    """What belongs to one photo, for `count` of them."""
    if isinstance(beside, Tensor):
        return beside.expand(count, *beside.shape[1:]) if beside.ndim and len(beside) == 1 else beside
    if isinstance(beside, Mapping):
        return {name: _repeated(part, count) for name, part in beside.items()}
    if isinstance(beside, tuple | list):
        return type(beside)(_repeated(part, count) for part in beside)
    return beside
