"""CoCa's own captions: greedy decoding, one token after the other, with the model's own tokenizer.

Always the likeliest next token, but none that would repeat three tokens in a row that are there already: small
captioners fall into loops.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["can_write", "repeating", "write"]

_BEFORE_MARK = re.compile(r"(?<=\w) (?=[.,!?;:'\u2019])")
NGRAM = 3


def can_write(tokenizer: Any) -> bool:
    """Whether a tokenizer turns tokens into text here: open_clip's byte-pair one does."""
    return all(hasattr(tokenizer, name) for name in ("decode", "byte_decoder", "sot_token_id", "eot_token_id"))


def write(module: nn.Module, tokenizer: Any, tokens: Tensor, longest: int) -> Iterator[str]:
    """The caption as it grows.

    Args:
        module: open_clip's CoCa.
        tokenizer: its tokenizer.
        tokens: what the decoder looks at, `query dim`.
        longest: most tokens, from 1 on; fewer where that, with its two ends, is more than the model reads.

    Yields:
        The text, each time with one more token.
    """
    ends = {tokenizer.eot_token_id, module.pad_id}
    most = min(longest, module.text.context_length - 2, module.text_decoder.context_length - 2)
    found: list[int] = []
    while len(found) < most:
        logits = _next(module, tokens, [tokenizer.sot_token_id, *found])
        barred = repeating(found) | {tokenizer.sot_token_id} | (set() if found else ends)  # a caption is not empty
        logits[list(barred)] = -torch.inf
        token = int(logits.argmax())
        if token in ends:
            return
        found.append(token)
        yield _text(tokenizer, found)


def repeating(tokens: Sequence[int]) -> set[int]:
    """The tokens with which the last three would be three that were there in a row before."""
    last = list(tokens[len(tokens) - NGRAM + 1 :])
    starts = range(len(tokens) - NGRAM + 1)
    return {tokens[i + NGRAM - 1] for i in starts if list(tokens[i : i + NGRAM - 1]) == last}


@torch.no_grad()
def _next(module: nn.Module, tokens: Tensor, ids: Sequence[int]) -> Tensor:
    """Logits of what comes after the ids, `vocabulary`."""
    states = module._encode_text(torch.tensor([ids], device=tokens.device))[1]
    return module.text_decoder(tokens[None], states)[0, -1].clone()


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """As people write it: no space before a mark; a character of which only some bytes are there yet is left out."""
    return _BEFORE_MARK.sub("", " ".join(tokenizer.decode(list(tokens)).split())).rstrip("\ufffd")
