"""The colour scale of a generated picture's maps, and a map told as a sentence."""

from typing import TYPE_CHECKING

from crossviz.render.contour import half_mass
from crossviz.render.overlay import contour_is_shown
from crossviz.render.places import places
from crossviz.render.scale import CHANCE, Scale, shared_scale
from crossviz.render.sentences import map_sentence

if TYPE_CHECKING:
    from crossviz.generation import Generation, WordMaps
    from crossviz.words import Phrase

__all__ = ["ASKED_FLOOR", "chance_of", "generation_scale", "generation_sentence"]

ASKED_FLOOR = 2.0
"""Where places ask words, the scale reaches at least this multiple of chance: there are few words, so that far less is
possible than among places."""


def chance_of(maps: "WordMaps") -> float:
    """What a key gets where everything is asked alike: all words and none, or all places."""
    words, *grid = maps.values.shape[3:]
    return 1 / (words + 1) if _asks_text(maps) else 1 / (grid[0] * grid[1])


def generation_scale(maps: "WordMaps") -> Scale:
    """The one scale of all words, in multiples of chance (`chance_of`): it starts there, and ends at the largest value
    of any word's map, the mean over steps, layers and heads."""
    means = maps.values.mean((0, 1, 2)).numpy()  # word gh gw
    if not _asks_text(maps):
        return shared_scale(means, "probability")
    factor = 1 / chance_of(maps)
    return Scale("probability", CHANCE, max(float(means.max()) * factor, ASKED_FLOOR), factor=factor)


def generation_sentence(generation: "Generation", phrase: "Phrase", direction: str) -> str:
    """One map as `Generation.sentence` tells it."""
    maps = generation.maps(direction)
    values, scale = maps.select(phrase.words).numpy(), generation_scale(maps)
    looked = _asks_text(maps)
    return map_sentence(
        phrase.text,
        places(values, generation.view),
        half_mass(values),
        None if looked else float(maps.none[..., list(phrase.words)].mean()),
        shown=contour_is_shown(values, scale),
        looked=looked,
        wrote=looked,
    )


def _asks_text(maps: "WordMaps") -> bool:
    return maps.direction.startswith("query: image")
