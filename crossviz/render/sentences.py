"""What a model's attention is, where a map lies, and what was hidden from the model, said as sentences."""

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from crossviz.render.contour import HalfMass
from crossviz.render.places import EVERYWHERE, SEVERAL
from crossviz.render.scale import ABSENT_NULL_MASS

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["HIDDEN", "NOTHING_NULL_MASS", "attention_sentence", "hidden_sentence", "map_sentence", "percent"]

HIDDEN = "hidden from the model"

NOTHING_NULL_MASS = 0.8
"""A word that gave at least this to the null key is said to have found nothing."""

# Of a kind of map the verb, what comes between it and a place, and what before "all over the picture".
_VERBS = {
    "looks": ("looks", "at", ""),
    "looked": ("is looked at", "from", "from "),
    "lies": ("lies", "at", ""),
    "wrote": ("wrote", "at", ""),
}
_PAIR = re.compile(r"query: (?P<query>.+?), key: (?P<key>.+)", re.DOTALL)


def attention_sentence(attention: str) -> str:
    """ "query: text tokens, key: image patches" as a sentence that says from where to where; other texts as they are,
    with a full stop; "" stays."""
    text = attention.strip().rstrip(".")
    pair = _PAIR.fullmatch(text)
    if pair is not None:
        text = f"Its attention goes from {pair['query']} to {pair['key']}"
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def hidden_sentence(explanation: "Explanation") -> str:
    """ "hidden: 'woman'; guessed: man 28%": the words that the model did not get to read, and what it took their tokens
    for; "" where it read them all."""
    if not explanation.hidden:
        return ""
    words = ", ".join(f"'{explanation.words[word].text}'" for word in explanation.hidden)
    best = [guess.choices[0] for guess in explanation.guesses if guess.choices]
    guessed = ", ".join(f"{text} {share:.0%}" for text, share in best)
    return f"hidden: {words}" + (f"; guessed: {guessed}" if guessed else "")


def map_sentence(
    name: str,
    where: tuple[str, ...],
    region: HalfMass,
    null_mass: float | None,
    *,
    shown: bool,
    probability: bool = True,
    reads: bool = True,
    looked: bool = False,
    wrote: bool = False,
) -> str:
    """ "‘frisbee’ looks mostly at the upper right, 46 % of its attention in 9 % of the picture."

    The viewer says the same (web/viewer/51_places.js).

    Args:
        name: the word or phrase.
        where: as `crossviz.render.places.places`.
        region: as `crossviz.render.contour.half_mass`.
        null_mass: None where the method has no null key.
        shown: whether the region's edge lies above the scale's start; otherwise no place is named.
        probability: whether the map says what is looked at.
        reads: False where the map is the same for every word.
        looked: whether the patches look at the word and not the word at them.
        wrote: whether they did so while they were drawn from it.
    """
    quoted = f"‘{name}’"
    if null_mass is not None and null_mass >= NOTHING_NULL_MASS:
        return f"{quoted} looked, and found nothing here (null {percent(null_mass)})."
    looks = probability and reads
    verb, at, far = _VERBS["lies" if not looks else "wrote" if wrote else "looked" if looked else "looks"]
    subject = "The map, the same for every word," if not reads else quoted if looks else f"The map of {quoted}"
    absent = null_mass is not None and null_mass > ABSENT_NULL_MASS
    doubt = f", and may not be here at all (null {percent(null_mass)})" if absent else ""
    if not shown or not where:
        return f"{subject} {verb} {far}nowhere in particular{doubt}."
    if len(where) > 1:
        place = f"{at} two places, {' and '.join(where)}"
    else:
        vague = {EVERYWHERE: f"{far}all over the picture", SEVERAL: f"{at} several places"}
        place = vague.get(where[0], f"mostly {at} {where[0]}")
    held = region.mass * (1 if null_mass is None else 1 - null_mass)
    what = "of it" if not looks else "of this attention" if looked else "of its attention"
    return f"{subject} {verb} {place}, {percent(held)} {what} in {percent(region.area)} of the picture{doubt}."


def percent(share: float) -> str:
    """0.9234 as "92 %", with a narrow no-break space; never rounds a little to nothing or almost all to all."""
    value = 100 * share
    if 0 < value < 0.1:
        text = "< 0.1"
    elif 0 < value < 1:
        text = str(Decimal(value).quantize(Decimal("0.1"), ROUND_HALF_UP))
    elif 99 < value < 100:
        text = "> 99"
    else:
        text = str(math.floor(value + 0.5))
    return f"{text} %"
