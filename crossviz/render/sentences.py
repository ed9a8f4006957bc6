"""What a model's attention is, said as a sentence."""

import re

__all__ = ["attention_sentence"]

_PAIR = re.compile(r"query: (?P<query>.+?), key: (?P<key>.+)", re.DOTALL)


def attention_sentence(attention: str) -> str:
    """ "query: text tokens, key: image patches" as a sentence that says from where to where; other texts as they are,
    with a full stop; "" stays."""
    text = attention.strip().rstrip(".")
    pair = _PAIR.fullmatch(text)
    if pair is not None:
        text = f"Its attention goes from {pair['query']} to {pair['key']}"
    return f"{text[:1].upper()}{text[1:]}." if text else ""
