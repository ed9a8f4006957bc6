"""What the scene model is trained for beside the next token: that attention finds what the words mean."""

import torch
from torch import Tensor

from crossviz.training.dalle_rows import BACKGROUND, KINDS

__all__ = [
    "places_find_words",
    "places_know_words",
    "shown_words",
    "words_find_places",
    "words_know_where",
    "words_write_things",
]

_LEAST = 1e-4


def places_find_words(probs: Tensor, groups: Tensor, places: Tensor, heads: int) -> Tensor:
    """A place that shows a thing looks at the words that ask for it; any other at the rest of the caption or nothing.

    Args:
        probs: the writer's, `layer batch head place word+1`. Of its layers the first and the last stay free, and so
            do the heads from the number `heads` on.
        groups: `batch word`, the group of each word, -1 for none.
        places: `batch place`, the group of each place, -1 for none.
    """
    mine = probs[1:-1, :, :heads].mean(2)  # layer batch place word+1
    right = (groups[:, None] == places[..., None]) & (places[..., None] >= 0)  # batch place word
    elsewhere = ((groups < 0) | (groups == BACKGROUND))[:, None] & (places[..., None] < 0)
    right = torch.cat([right | elsewhere, places[..., None] < 0], -1)  # the null key is right for the background
    asked = right.any(-1)
    # A thing's places are few beside the background's: both count alike.
    weight = torch.where(places >= 0, 1.0, 0.25) * asked
    found = (mine * right).sum(-1).clamp_min(_LEAST).log()
    return -(found * weight).sum() / (weight.sum().clamp_min(1.0) * len(mine))


def words_write_things(probs: Tensor, groups: Tensor, places: Tensor) -> Tensor:
    """Of what all places give to a word that asks for a thing, the thing's places give most, in the mean over all
    layers and heads: the map that is shown first.

    Args:
        probs: the writer's, `layer batch head place word+1`.
        groups, places: as for `places_find_words`.
    """
    chart = probs[..., :-1].mean((0, 2))  # batch place word
    right = (groups[:, None] == places[..., None]) & (places[..., None] >= 0)  # batch place word
    asked = right.any(1)
    inside = (chart * right).sum(1) / chart.sum(1).clamp_min(_LEAST)
    return -(inside.clamp_min(_LEAST).log() * asked).sum() / asked.sum().clamp_min(1)


def places_know_words(logits: Tensor, said: Tensor) -> Tensor:
    """The words of each place are read off it: before it is written, what the caption says of it (which saves the
    next token's loss less than a tenth of a nat: by that alone captions would be read late); or what it shows.

    Args:
        logits: `batch place word`, the words of `KINDS` one kind after the other.
        said: `batch place kind`, -1 where there is nothing to know.
    """
    parts = logits.split([len(kind) for kind in KINDS], -1)
    losses = [
        torch.nn.functional.cross_entropy(part.transpose(1, 2), said[..., kind], ignore_index=-1, reduction="none")
        for kind, part in enumerate(parts)
    ]
    # A thing's places are few beside the background's: as for `places_find_words`.
    weights = [0.25 if kind >= 4 else 1.0 for kind in range(len(KINDS))]
    asked = sum(weight * (said[..., kind] >= 0).sum() for kind, weight in enumerate(weights))
    return sum(w * loss.sum() for w, loss in zip(weights, losses, strict=True)) / asked.clamp_min(1.0)


def words_find_places(probs: Tensor, groups: Tensor, places: Tensor) -> Tensor:
    """The words that ask for a thing look at the places that show it.

    Args:
        probs: the reader's, `layer batch head word place+1`.
    """
    right = (groups[..., None] == places[:, None]) & (groups[..., None] >= 0)  # batch word place
    asked = right.any(-1)
    found = (probs[..., :-1].mean(2) * right).sum(-1).clamp_min(_LEAST).log()  # layer batch word
    return -(found * asked).sum() / (asked.sum().clamp_min(1) * len(found))


def words_know_where(found: Tensor, groups: Tensor, places: Tensor, grid: int) -> Tensor:
    """The words that ask for a thing know where it is.

    Args:
        found: `batch word 2`, row and column of the middle of the word's things, from 0 to 1.
        groups, places: as for `places_find_words`.
        grid: places along a side.
    """
    mine = ((groups[..., None] == places[:, None]) & (groups[..., None] >= 0)).float()  # batch word place
    count = mine.sum(-1, keepdim=True)
    numbers = torch.arange(grid * grid, device=found.device)
    middles = torch.stack([numbers // grid, numbers % grid], -1).float() / (grid - 1)  # place 2
    right = mine @ middles / count.clamp_min(1)
    return ((found - right).abs() * (count > 0)).sum() / (count > 0).sum().clamp_min(1)


def shown_words(logits: Tensor, shown: Tensor, asked: Tensor) -> Tensor:
    """Whether the picture shows each word that it is asked of, `batch word`."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, shown, reduction="none")
    return (loss * asked).sum() / asked.sum().clamp_min(1)
