"""Deletion and insertion curves of one word, measured."""

import torch
from torch import Tensor

from crossviz.geometry import PatchGrid
from crossviz.trace import Match
from crossviz.trust.deletion import (
    LEVELS,
    RATIO_LEVEL,
    Deletion,
    centre_order,
    map_order,
    masks_of,
    moved,
    random_masks,
    random_orders,
)
from crossviz.trust.fills import Fill, filler, pixel_masks
from crossviz.trust.subject import Steps, Subject, remembered

__all__ = ["PLACES", "RANDOM_ORDERS", "delete"]

BATCH, BATCH_ON_CPU = 32, 2
"""Photos in one pass of the model: more than two are slower on two cores, where they no longer fit the caches."""
RANDOM_ORDERS = 2
"""More cost four passes of the model each; that one draw may mislead is what the PLACES are for."""
PLACES = 6
"""Where else the map's highest tenth is taken away, to see whether its own place matters."""


def delete(subject: Subject, fill: Fill, seed: int) -> Steps[Deletion]:
    """The curves of the subject's phrase.

    What does not depend on the word, the photos without random and without middle patches, is passed through the
    model once and kept with the photo: the next word costs its own passes only.
    """
    trace, match = subject.trace, subject.trace.match()
    grid = trace.image.grid
    rng = torch.Generator().manual_seed(seed)
    ends = torch.stack([torch.zeros(grid.num_patches), torch.ones(grid.num_patches)]).bool()
    centre = masks_of(centre_order(grid, rng), LEVELS)  # way level patch
    random, to_curves = random_masks(random_orders(grid, RANDOM_ORDERS, rng), LEVELS)
    shared = torch.cat([ends, centre.flatten(0, 1), random])
    ways = masks_of(map_order(subject.values, rng), LEVELS)
    tenth = ways[0, [level for level in LEVELS if 0 < level < 1].index(RATIO_LEVEL)]
    own = torch.cat([ways.flatten(0, 1), moved(tenth, grid, PLACES, rng)])
    rest = len(own) / (len(shared) + len(own))

    def compute() -> Steps[list]:
        return _states(subject, match, shared, fill, (0.0, 1 - rest))

    kept = yield from remembered(trace, "deletion", (fill, seed), compute)
    mine = yield from _states(subject, match, own, fill, (1 - rest, 1.0))
    scores, own_scores = _scores(subject, match, kept), _scores(subject, match, mine)
    count = centre.shape[0] * centre.shape[1]
    inner = torch.cat(
        [
            own_scores[:-PLACES].view(2, 1, -1),
            scores[2 : 2 + count].view(2, 1, -1),
            to_curves(scores[2 + count :]),
        ],
        dim=1,
    )  # way order level
    whole, nothing = scores[0], scores[1]
    first = torch.stack([whole, nothing]).view(2, 1, 1).expand(2, inner.shape[1], 1)
    last = torch.stack([nothing, whole]).view(2, 1, 1).expand(2, inner.shape[1], 1)
    return Deletion(
        match.readable_unit,
        fill,
        LEVELS,
        torch.cat([first, inner, last], dim=2),
        tuple(own_scores[-PLACES:].tolist()),
    )


def _states(subject: Subject, match: Match, masks: Tensor, fill: Fill, part: tuple[float, float]) -> Steps[list]:
    """The model's states for a photo with patches removed, `mask patch`, in batches."""
    pixels = subject.trace.pixels
    grid: PatchGrid = subject.trace.image.grid
    begin, end = part
    with torch.no_grad():
        remove = filler(pixels, fill)
    states, batch = [], BATCH_ON_CPU if pixels.device.type == "cpu" else BATCH
    for some in masks.to(pixels.device).split(batch):
        with torch.no_grad():
            where = pixel_masks(some, grid, subject.trace.image.view.input_hw, tuple(pixels.shape[-2:]))
            states.append(match.state(remove(where)))
        yield begin + (end - begin) * min(1.0, len(states) * batch / len(masks))
    return states


def _scores(subject: Subject, match: Match, states: list) -> Tensor:
    """The phrase's match in each photo, as people read it: `photo`, float64."""
    with torch.no_grad():
        parts = [match.readable(match.score(state, [subject.phrase]))[:, 0] for state in states]
    return torch.cat(parts).double().cpu()
