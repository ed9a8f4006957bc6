"""Captions as the scene model's tokens."""

from crossviz.scenes.reading import word_spans
from crossviz.scenes.vocabulary import meanings, tokens

__all__ = ["END", "NOTHING", "caption_tokens"]

END = tokens().index("[end]")
NOTHING = [END]
"""The empty caption, which classifier-free guidance leads away from."""


def caption_tokens(text: str) -> list[int]:
    """One token a word, and the end. Every word must be known (`crossviz.scenes.reading.read` says which are not)."""
    numbers = {word: number for number, word in enumerate(tokens())}
    return [*(numbers[meanings()[text[start:end].lower()]] for start, end in word_spans(text)), END]
