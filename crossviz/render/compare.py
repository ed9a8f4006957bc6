"""One figure for one photo and caption in several models: a row per word, a column per model, one scale for all.

The scale is in multiples of chance: a probability times the number of patches of the model's own grid, so that 1 is
what every patch would get from a word that looks everywhere alike, however fine the grid; and it is logarithmic. Maps
in another unit can't be put on it: such a column is drawn on a scale of its own, with its own bar, and says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from crossviz.errors import RenderError
from crossviz.render import colour
from crossviz.render.compare_sheet import Sheet, Span, on_common
from crossviz.render.failed import Failed
from crossviz.render.scale import Scale
from crossviz.words import whole_caption

if TYPE_CHECKING:
    from crossviz.explanation import Explanation
    from crossviz.words import Caption

__all__ = ["MOST_MODELS", "MOST_WORDS", "compare", "main_words"]

MOST_MODELS = 6
MOST_WORDS = 8
"""Words that are shown unless some are asked for."""

_FUNCTION_WORDS = """
a an the this that these those some any each every no not and or but nor so if as than then of in on at by to for from
with without into onto over under above below behind beside between near up down out off about across along around
through is are was were be been being am has have had do does did it its he she they them his her their him we you i
there here who whom which what while where when
"""
_FUNCTION = frozenset(_FUNCTION_WORDS.split())


def main_words(caption: "Caption", most: int = MOST_WORDS) -> list[Span]:
    """The spans of the words that are worth comparing: those that are no function words, in reading order, the first
    `most`; of a caption without such words, its first words."""
    content = [word for word in caption.words if word.text.lower() not in _FUNCTION]
    return [(word.start, word.end) for word in (content or caption.words)[:most]]


def compare(
    explanations: "Sequence[Explanation | Failed]",
    words: Sequence[int | str | Span] | None = None,
    *,
    smooth: bool = True,
    opacity: float = colour.OPACITY,
    cmap: str | None = None,
) -> Figure:
    """Draw several models' maps of one photo and one caption beside each other.

    Args:
        explanations: one per column; a `Failed` where a model gave none, whose column then says why.
        words: what to show, each by index, text or span; the caption's first content words if None, 8 at most.
        smooth: bilinear between the centres of the patches, or the patches themselves.
        opacity: of the strongest heat, 0 to 1.
        cmap: colour map of the common scale; columns with signed maps have their own.

    Returns:
        A matplotlib Figure; every map keeps its model's own grid.

    Raises:
        RenderError: no explanation, too many, or not all of one photo and caption.
        SelectionError: the caption has no such word.
    """
    made = [entry for entry in explanations if not isinstance(entry, Failed)]
    _check(made, len(explanations))
    caption, photo = made[0].caption, made[0].photo.image()
    if words is None:
        spans = main_words(caption)
    else:
        whole = whole_caption(caption.text)  # a word that one model cut off is still a row: others may have read it
        phrases = [whole.select(word) for word in ([words] if isinstance(words, str) else words)]
        spans = [(phrase.start, phrase.end) for phrase in phrases]
    scales = _scales(made)
    common = next((scale for scale in scales if on_common(scale)), None)
    sheet = Sheet(photo, caption.text, [caption.text[start:end] for start, end in spans], explanations, made)
    columns = iter(zip(made, scales, strict=True))
    for place, entry in enumerate(explanations):
        sheet.head(place, entry)
        if isinstance(entry, Failed):
            sheet.failed(place, entry)
            continue
        explanation, scale = next(columns)
        name = colour.check_cmap(None if scale.signed else cmap, signed=scale.signed)
        for row, span in enumerate(spans):
            sheet.cell(place, row, explanation, span, scale, (smooth, opacity, name))
        if not on_common(scale):
            sheet.own_bar(place, scale, name, opacity)
    sheet.foot(common, colour.check_cmap(cmap), opacity)
    return sheet.figure


def _check(made: "Sequence[Explanation]", count: int) -> None:
    if not made:
        raise RenderError("There is nothing to compare: no model gave an explanation.")
    if count > MOST_MODELS:
        raise RenderError(f"At most {MOST_MODELS} models fit beside each other, but there are {count}.")
    first = made[0]
    for other in made[1:]:
        if other.photo != first.photo or other.caption.text != first.caption.text:
            raise RenderError(
                f"{first.provenance.model} and {other.provenance.model} explain different photos or captions: compare "
                "explanations of one photo and one caption."
            )


def _scales(made: "Sequence[Explanation]") -> list[Scale]:
    """Each explanation's scale; those in probabilities all end at the highest multiple of chance of any of them, and
    are logarithmic: one model's sharp maps would leave the others' dark."""
    scales = [explanation.scale for explanation in made]
    top = max((scale.vmax for scale in scales if on_common(scale)), default=0.0)
    return [replace(scale, vmax=top, log=True) if on_common(scale) else scale for scale in scales]
