"""Captions as ViLT reads them: the model's own word pieces, each with the characters that it covers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crossviz.errors import ModelError, SelectionError
from crossviz.models.clip_tokens import Tokenized
from crossviz.words import UNKNOWN, Piece, check_caption, make_caption

__all__ = ["Pieces"]


class Pieces:
    """A fast tokenizer of transformers' with [CLS] before and [SEP] after the text.

    Special tokens that the user typed ("[MASK]") are read as the characters that they consist of.

    Args:
        tokenizer: of transformers.
        longest: tokens that the model reads, both ends included; what is beyond is cut off.

    Raises:
        ModelError: the tokenizer does not say which characters a token covers.
    """

    def __init__(self, tokenizer: Any, longest: int) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                f"The tokenizer of this model ({type(tokenizer).__name__}) does not say which characters a token "
                "covers: the fast ones of transformers do."
            )
        self._own = tokenizer
        self._longest = longest

    @property
    def mask(self) -> int | None:
        """The id of the token that stands for a hidden one; None where there is none."""
        return self._own.mask_token_id

    def tokenize(self, text: str) -> Tokenized:
        """A caption with its tokens' spans; errors as `Model.tokenize`."""
        check_caption(text)
        pieces = self._pieces(text)
        room = self._longest - 2
        own = self._own
        ends = [(own.cls_token_id, own.cls_token, None, None), (own.sep_token_id, own.sep_token, None, None)]
        kept = [ends[0], *pieces[:room], ends[1]]
        ids = torch.tensor([[piece[0] for piece in kept]])
        return Tokenized(ids, tuple(range(len(kept))), make_caption(text, kept, cut=pieces[room:]))

    def ids(self, text: str, hidden: Sequence[tuple[int, int]] = ()) -> Tensor:
        """Any text, `1 token`, with masks for the tokens of some of its characters, given as starts and ends."""
        inner = [
            self.mask if any(first < end and start < last for start, end in hidden) else id_
            for id_, _, first, last in self._pieces(text)[: self._longest - 2]
        ]
        return torch.tensor([[self._own.cls_token_id, *inner, self._own.sep_token_id]])

    def hide(self, tokenized: Tokenized, words: Sequence[int]) -> Tokenized:
        """The text with masks in the place of some words' tokens; the caption stays as it is.

        Raises:
            SelectionError: the model read no token of one of them.
        """
        caption, ids = tokenized.caption, tokenized.ids.clone()
        for word in words:
            if not caption.words[word].tokens:
                raise SelectionError(
                    f"The model read no token of '{caption.words[word].text:.60}', so there is nothing to hide: "
                    "shorten the caption before it."
                )
            for token in caption.words[word].tokens:
                ids[0, tokenized.positions[token]] = self.mask
        return Tokenized(ids, tokenized.positions, caption)

    def hidden(self, tokenized: Tokenized) -> list[int]:
        """The tokens in whose place a mask stands."""
        row = tokenized.ids[0].tolist()
        return [token for token, position in enumerate(tokenized.positions) if row[position] == self.mask]

    def shown(self, id_: int) -> str:
        """A token for people; one that goes on with a word begins with an ellipsis."""
        name = self._own.convert_ids_to_tokens(id_)
        return f"…{name[2:]}" if name.startswith("##") and len(name) > 2 else name

    def _pieces(self, text: str) -> list[Piece]:
        found = self._own(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,  # transformers would warn of a long text, which is cut where it is read
        )
        unknown = self._own.unk_token_id
        return [
            (id_, UNKNOWN if id_ == unknown else text[first:last], first, last)
            for id_, (first, last) in zip(found["input_ids"], found["offset_mapping"], strict=True)
        ]
