"""How much one figure shows: each word takes time and memory, and whoever asks may name any number of them."""

from crossviz.errors import RenderError

__all__ = ["MOST_CAPTION_LINES", "MOST_PANELS", "check_room", "room_for"]

MOST_PANELS = 100
"""Words of one figure: more than a CLIP reads of a caption."""
MOST_PATCHES = MOST_PANELS * 64 * 64
"""Patches of all maps of one figure: each is drawn, and has a line around it at worst."""
MOST_CAPTION_LINES = 16
"""Lines of a caption above a figure; the last one then ends in an ellipsis."""


def room_for(patches: int) -> int:
    """How many words have room in one figure, whose maps have so many patches: 100, above 64 × 64 fewer."""
    return max(1, min(MOST_PANELS, MOST_PATCHES // patches))


def check_room(count: int, most: int = MOST_PANELS) -> None:
    """Says how many words may be chosen.

    Raises:
        RenderError: `count` is more than `most`.
    """
    if count > most:
        raise RenderError(
            f"{count} words are chosen, but there is room for {most}: choose fewer, or choose none and save "
            "all of them as .html, .json or .csv."
        )
