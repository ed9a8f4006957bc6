"""A caption as a text-to-image pipeline reads it: which of its text keys belong to which word."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossviz.align import align
from crossviz.errors import CaptionError
from crossviz.models.diffusion_kinds import PipelineKind, Text
from crossviz.words import UNKNOWN, Caption, Piece, check_caption, make_caption

__all__ = ["Reading", "lengths", "read_caption"]

TODO = "write what to draw"


class Reading(NamedTuple):
    """A caption, and what its words are among the keys."""

    prompt: str
    """What the pipeline is given: the caption, with what looks like a mark of the tokenizer pulled apart."""
    caption: Caption
    weights: Tensor
    """`key word`: which part of a key's attention is the word's. 1 over the words that share its token; all zeros for
    the marks before and after the caption, padding, and punctuation."""


class _Row(NamedTuple):
    """A text as one tokenizer gives it."""

    kept: list[Piece]  # with marks and padding, which have no span
    cut: list[Piece]


def lengths(pipe: Any, kind: PipelineKind) -> tuple[int, ...]:
    """How many keys each of the kind's texts has."""
    found = []
    for text in kind.texts:
        stated = [getattr(pipe, name).model_max_length for name in text.tokenizers if getattr(pipe, name) is not None]
        found.append(int(min([*stated, *([] if text.longest is None else [text.longest])])))
    return tuple(found)


def read_caption(pipe: Any, kind: PipelineKind, text: str) -> Reading:
    """Read a caption as the pipeline will.

    Where a pipeline has several texts (SD3: CLIP's tokens, then T5's), a word has keys in each; the caption's tokens
    are those of the first.

    Raises:
        CaptionError: there is no word in it, it is too long to take at all, or two towers whose states lie side by side
            would read different words at one place.
    """
    check_caption(text, TODO)
    tokenizers = [getattr(pipe, name) for each in kind.texts for name in each.tokenizers]
    prompt = _pulled_apart(text, [tokenizer for tokenizer in tokenizers if tokenizer is not None])
    first: Caption | None = None
    parts: list[Tensor] = []
    for each, length in zip(kind.texts, lengths(pipe, kind), strict=True):
        rows = [
            _row(tokenizer, text, prompt, each, length)
            for tokenizer in (getattr(pipe, name) for name in each.tokenizers)
            if tokenizer is not None
        ]
        if not rows:  # the tower was left out, and its keys are zeros
            parts.append(torch.zeros(length, len(make_caption(text, []).words)))
            continue
        _check_side_by_side(text, rows)
        caption = make_caption(text, rows[0].kept, cut=rows[0].cut)
        parts.append(_weights(caption))
        first = _without_padding(caption) if first is None else first
    assert first is not None  # a pipeline without tokenizers is not loaded
    return Reading(prompt, first, torch.cat(parts))


def _weights(caption: Caption) -> Tensor:
    weights = torch.zeros(len(caption.tokens), len(caption.words))
    for word in caption.words:
        weights[list(word.tokens), word.index] = 1
    return weights / weights.sum(1, keepdim=True).clamp_min(1)


def _without_padding(caption: Caption) -> Caption:
    """The caption up to the mark that ends it: padding is no token of the caption."""
    read = [token.index for token in caption.tokens if token.start is not None]
    kept = caption.tokens[: max(read, default=-1) + 2]
    return Caption(caption.text, kept, caption.words, caption.truncated, caption.cut_at)


def _pulled_apart(text: str, tokenizers: Sequence[Any]) -> str:
    """The text without marks of a tokenizer: a space comes behind the first letter of each, as text is never markup."""
    marks = {mark for tokenizer in tokenizers for mark in tokenizer.all_special_tokens if len(mark) > 1}
    if not marks:
        return text
    # In any case: a pipeline or its tokenizer may lower the text before it looks for them.
    found = re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)), re.IGNORECASE)
    while found.search(text):
        text = found.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


def _row(tokenizer: Any, text: str, prompt: str, about: Text, length: int) -> _Row:
    """The pieces that a tokenizer makes of the prompt, with their spans in the caption."""
    read = prompt.lower().strip() if about.lowered else prompt
    spans = align(text, read)
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "verbose": False}
    whole = tokenizer(read, truncation=False, **options)
    shown = tokenizer(read, padding="max_length", max_length=length, truncation=True, **options)
    kept = _pieces(tokenizer, read, spans, shown)
    everything = [piece for piece in _pieces(tokenizer, read, spans, whole) if piece[2] is not None]
    return _Row(kept, everything[sum(piece[2] is not None for piece in kept) :])


def _pieces(tokenizer: Any, read: str, spans: list[tuple[int, int]], found: Any) -> list[Piece]:
    names = tokenizer.convert_ids_to_tokens(found["input_ids"])
    pieces: list[Piece] = []
    for id_, name, (first, last), mark in zip(
        found["input_ids"], names, found["offset_mapping"], found["special_tokens_mask"], strict=True
    ):
        covered = read[first:last]
        first, last = first + len(covered) - len(covered.lstrip()), last - (len(covered) - len(covered.rstrip()))
        # T5 gives a space by itself where a word is spelled, and says that it covers the letter behind it.
        if mark or first >= last or not name.strip("▁Ġ"):
            pieces.append((id_, name, None, None))
        else:
            unknown = id_ == tokenizer.unk_token_id
            shown = UNKNOWN if unknown else read[first:last]
            pieces.append((id_, shown, spans[first][0], spans[last - 1][1]))
    return pieces


def _check_side_by_side(text: str, rows: Sequence[_Row]) -> None:
    """Two towers' states that lie side by side share their places, so each place must hold the same characters."""
    for row in rows[1:]:
        for one, other in zip(rows[0].kept, row.kept, strict=True):
            # A tokenizer may use a letter as padding ("!" in SDXL's second): then that letter is a mark to it alone.
            if one[2:] != other[2:] and (_marked(text, one) or _marked(text, other)):
                places = [piece[2:] for piece in (one, other) if piece[2] is not None]
                raise CaptionError(
                    f"The model's two text towers read '{text[places[0][0] : places[0][1]]:.40}' differently, so no "
                    "place of their states is one word's: leave that out."
                )


def _marked(text: str, piece: Piece) -> bool:
    """Whether a piece covers characters of a word."""
    return piece[2] is not None and any(char.isalnum() for char in text[piece[2] : piece[3]])
