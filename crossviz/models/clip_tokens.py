"""Tokens of open_clip's tokenizers with the characters of the caption that each one covers.

open_clip's tokenizers give ids only. Here the same ids are made once more, piece by piece, with their places in the
cleaned text, and carried back to the user's text; the ids are compared with the tokenizer's own before they are used.
"""

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossviz.align import align
from crossviz.errors import ModelError
from crossviz.words import Caption, Piece, check_caption, make_caption

__all__ = ["Tokenized", "tokenize"]

_SPECIAL_LITERAL = re.compile(r"<(?=(?:start|end)_of_text>)", re.IGNORECASE)


class _Fixed(dict[str, str]):
    """A tokenizer's memory of words, to which nothing that visitors write is added."""

    def __setitem__(self, key: str, value: str) -> None:
        pass


class Tokenized(NamedTuple):
    """A caption as a text tower reads it."""

    ids: Tensor  # 1 length, padded
    positions: tuple[int, ...]
    """For every token of the caption, its position in `ids`; padding is no token of the caption."""
    caption: Caption


def tokenize(tokenizer: Any, text: str, context_length: int | None = None) -> Tokenized:
    """Tokenize `text` as `tokenizer(text)` does, with spans.

    A special token typed by the user ("<end_of_text>") is read as the characters that it consists of: text is never
    markup.

    Args:
        tokenizer: open_clip's SimpleTokenizer, HFTokenizer with a fast tokenizer behind it, or SigLipTokenizer.
        text: the caption.
        context_length: length of the sequence; the tokenizer's own if None.

    Raises:
        CaptionError: there is no word in the caption, or it is too long to take at all.
        ModelError: the tokenizer's tokens can't be located in the text.
    """
    check_caption(text)
    length = int(context_length or tokenizer.context_length)
    if hasattr(tokenizer, "byte_encoder") and hasattr(tokenizer, "bpe"):
        return _byte_pair(tokenizer, text, length)
    if getattr(getattr(tokenizer, "tokenizer", None), "is_fast", False):
        return _fast(tokenizer, text, length)
    raise ModelError(
        f"The tokenizer of this model ({type(tokenizer).__name__}) does not say which characters a token covers: "
        "open_clip's own tokenizers and the fast ones of transformers do."
    )


def _byte_pair(tokenizer: Any, text: str, length: int) -> Tokenized:
    if type(getattr(tokenizer, "cache", None)) is dict:
        tokenizer.cache = _Fixed(tokenizer.cache)  # open_clip's would grow with every new word
    cleaned = tokenizer.clean_fn(text)
    safe = _SPECIAL_LITERAL.sub("< ", cleaned)
    spans = align(text, safe)
    content: list[Piece] = []
    for match in tokenizer.pat.finditer(safe):
        owners = [match.start() + i for i, char in enumerate(match.group()) for _ in char.encode()]  # byte -> character
        coded = "".join(tokenizer.byte_encoder[byte] for byte in match.group().encode())
        first = 0
        for piece in tokenizer.bpe(coded).split(" "):
            letters = piece.removesuffix("</w>")
            last = first + len(letters) - 1
            shown = bytes(tokenizer.byte_decoder[letter] for letter in letters).decode(errors="replace")
            content.append((tokenizer.encoder[piece], shown, spans[owners[first]][0], spans[owners[last]][1]))
            first = last + 1
    room = length - 2
    start = (tokenizer.sot_token_id, "<start_of_text>", None, None)
    end = (tokenizer.eot_token_id, "<end_of_text>", None, None)
    kept = [start, *content[:room], end]
    ids = torch.zeros(1, length, dtype=torch.long)
    ids[0, : len(kept)] = torch.tensor([piece[0] for piece in kept])
    if safe == cleaned and not torch.equal(ids, tokenizer(text, context_length=length)):
        raise ModelError(
            f"This model's {type(tokenizer).__name__} gives other tokens than its own pieces: it is set to drop "
            "tokens, or is of a version of open_clip that is not known here."
        )
    return Tokenized(ids, tuple(range(len(kept))), make_caption(text, kept, cut=content[room:]))


def _fast(tokenizer: Any, text: str, length: int) -> Tokenized:
    inner = tokenizer.tokenizer
    cleaned = _cleaned(tokenizer, text)
    spans = align(text, cleaned)
    encoded = inner(cleaned, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
    names = inner.convert_ids_to_tokens(encoded["input_ids"])
    content: list[Piece] = []
    for id_, name, (first, last) in zip(encoded["input_ids"], names, encoded["offset_mapping"], strict=True):
        covered = cleaned[first:last]
        first, last = first + len(covered) - len(covered.lstrip()), last - (len(covered) - len(covered.rstrip()))
        bare = first >= last or not name.strip("▁Ġ")  # a space by itself, which may claim the letter after it
        content.append(
            (id_, name, None, None) if bare else (id_, cleaned[first:last], spans[first][0], spans[last - 1][1])
        )
    ids = tokenizer([text], context_length=length)
    row = ids[0].tolist()
    special = {*inner.all_special_ids, 0} if getattr(tokenizer, "strip_sep_token", False) else {*inner.all_special_ids}
    pieces: list[Piece] = []
    positions: list[int] = []
    taken = 0
    for position, id_ in enumerate(row):
        if taken < len(content) and id_ == content[taken][0]:
            pieces.append(content[taken])
            taken += 1
        elif id_ == inner.pad_token_id and taken == len(content):
            continue
        elif id_ in special:
            pieces.append((id_, inner.convert_ids_to_tokens(id_), None, None))
        else:
            raise ModelError(
                f"Token {position} of this model's {type(tokenizer).__name__} ({id_}) can't be found in the "
                "caption: its tokenizer changes the text in a way that is not known here."
            )
        positions.append(position)
    return Tokenized(ids, tuple(positions), make_caption(text, pieces, cut=content[taken:]))


def _cleaned(tokenizer: Any, text: str) -> str:
    if hasattr(tokenizer, "clean_fn"):
        return tokenizer.clean_fn(text)
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return canonicalize_text(basic_clean(text))
