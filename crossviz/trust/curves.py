"""Deletion and insertion curves of one word, measured."""

import torch
from torch import Tensor

from crossviz.geometry import PatchGrid
from crossviz.trace import Match
from crossviz.trust.deletion import (
    LEVELS,
    Deletion,
    centre_order,
    map_order,
    masks_of,
    random_masks,
    random_orders,
)
from crossviz.trust.fills import Fill, filler, pixel_masks
from crossviz.trust.subject import Steps, Subject, remembered

__all__ = ["BATCH", "RANDOM_ORDERS", "delete"]

BATCH = 4
"""Photos in one pass of the model: more are slower on two cores, where they no longer fit its caches."""
RANDOM_ORDERS = 2


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
    own = masks_of(map_order(subject.values, rng), LEVELS)
    rest = len(own.flatten(0, 1)) / (len(shared) + len(own.flatten(0, 1)))

    def compute() -> Steps[list]:
        return _states(subject, match, shared, fill, (0.0, 1 - rest))

    kept = yield from remembered(trace, "deletion", (fill, seed), compute)
    mine = yield from _states(subject, match, own.flatten(0, 1), fill, (1 - rest, 1.0))
    scores, own_scores = _scores(subject, match, kept), _scores(subject, match, mine)
    count = centre.shape[0] * centre.shape[1]
    inner = torch.cat(
        [
            own_scores.view(2, 1, -1),
            scores[2 : 2 + count].view(2, 1, -1),
            to_curves(scores[2 + count :]),
        ],
        dim=1,
    )  # way order level
    whole, nothing = scores[0], scores[1]
    first = torch.stack([whole, nothing]).view(2, 1, 1).expand(2, inner.shape[1], 1)
    last = torch.stack([nothing, whole]).view(2, 1, 1).expand(2, inner.shape[1], 1)
    return Deletion(match.readable_unit, fill, LEVELS, torch.cat([first, inner, last], dim=2))


def _states(subject: Subject, match: Match, masks: Tensor, fill: Fill, part: tuple[float, float]) -> Steps[list]:
    """The model's states for a photo with patches removed, `mask patch`, in batches."""
    pixels = subject.trace.pixels
    grid: PatchGrid = subject.trace.image.grid
    begin, end = part
    with torch.no_grad():
        remove = filler(pixels, fill)
    states = []
    for some in masks.to(pixels.device).split(BATCH):
        with torch.no_grad():
            where = pixel_masks(some, grid, subject.trace.image.view.input_hw, tuple(pixels.shape[-2:]))
            states.append(match.state(remove(where)))
        yield begin + (end - begin) * min(1.0, len(states) * BATCH / len(masks))
    return states


def _scores(subject: Subject, match: Match, states: list) -> Tensor:
    """The phrase's match in each photo, as people read it: `photo`, float64."""
    with torch.no_grad():
        parts = [match.readable(match.score(state, [subject.phrase]))[:, 0] for state in states]
    return torch.cat(parts).double().cpu()
