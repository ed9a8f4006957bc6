"""An explanation's maps told in sentences, for those who don't see them."""

from typing import TYPE_CHECKING

from crossviz.render.contour import contour_share, half_mass
from crossviz.render.overlay import contour_is_shown
from crossviz.render.places import places
from crossviz.render.scale import ABSENT_NULL_MASS
from crossviz.render.sentences import map_sentence

if TYPE_CHECKING:
    from crossviz.explanation import Explanation
    from crossviz.words import Phrase

__all__ = ["alternative", "told"]

_MOST = 6  # sentences of a picture's text: it is read out in one go


def told(explanation: "Explanation", phrase: "Phrase", layer: int | str | None, head: int | None, share: float) -> str:
    """One map as `Explanation.sentence` tells it.

    Raises:
        SelectionError: no such layer or head.
        RenderError: no such share.
    """
    ex, chart = explanation, explanation.map
    share = contour_share(float(share))
    values = chart.select(phrase.words, layer, head).numpy()
    return map_sentence(
        phrase.text,
        places(values, ex.view, share=share),
        half_mass(values, share=share),
        None if chart.null_mass is None else chart.select_null(phrase.words, layer, head),
        shown=contour_is_shown(values, ex.scale, share=share),
        probability=ex.unit == "probability",
        reads=chart.text_dependent,
        looked=chart.direction.startswith("query: image, key: text"),
    )


def alternative(explanation: "Explanation") -> str:
    """The text of a picture of all words: the caption, and where its phrases look; single words where it has none."""
    ex = explanation
    start = f"Where each word looks: {' '.join(ex.caption.text.split())}"
    phrases = ex.noun_phrases or [ex.caption.phrase(word=word.index) for word in ex.words if word.tokens]
    if ex.map.null_mass is not None:
        phrases = [p for p in phrases if ex.map.select_null(p.words) <= ABSENT_NULL_MASS]
    return " ".join(
        [
            start if start.endswith((".", "!", "?")) else f"{start}.",
            *(told(ex, phrase, None, None, 0.5) for phrase in phrases[:_MOST]),
        ]
    )
