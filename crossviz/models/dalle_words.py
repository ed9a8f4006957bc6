"""Captions as the scene model's tokens."""

from crossviz.scenes import vocabulary
from crossviz.scenes.vocabulary import meanings
from crossviz.words import Caption, make_caption, split_words

__all__ = ["END", "NOTHING", "caption_tokens", "caption_words"]

END = vocabulary.tokens().index("[end]")
NOTHING = [END]
"""The empty caption, which classifier-free guidance leads away from."""


def caption_tokens(text: str) -> list[int]:
    """One token a word, and the end. Every word must be known (`crossviz.scenes.reading.read` says which are not)."""
    numbers = {word: number for number, word in enumerate(vocabulary.tokens())}
    return [*(numbers[meanings()[text[start:end].lower()]] for start, end in split_words(text)), END]


def caption_words(text: str) -> Caption:
    """The caption's words with their tokens."""
    names = vocabulary.tokens()
    spans = [*split_words(text), (None, None)]
    return make_caption(text, [(n, names[n], *span) for n, span in zip(caption_tokens(text), spans, strict=True)])
