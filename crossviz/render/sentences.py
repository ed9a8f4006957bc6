"""What a model's attention is, and what was hidden from it, said as sentences."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["HIDDEN", "attention_sentence", "hidden_sentence"]

HIDDEN = "hidden from the model"

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
