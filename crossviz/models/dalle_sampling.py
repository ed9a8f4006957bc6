"""Draws a picture's tokens one after the other from what the transformer expects.

Classifier-free guidance as in Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), on logits; the nucleus as
in Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crossviz.models.dalle_transformer import DalleTransformer
from crossviz.models.dalle_words import NOTHING

__all__ = ["Written", "write_tokens"]


@dataclass(frozen=True)
class Written:
    """One more token of each picture: `tokens` int64 `picture place` so far, `probs` `layer picture head word+1` of the
    caption's cross-attention as the last one was written, the null key last."""

    tokens: Tensor
    probs: Tensor


@torch.inference_mode()
def write_tokens(
    model: DalleTransformer,
    captions: Sequence[list[int]],
    seeds: Sequence[int],
    *,
    guidance: float,
    temperature: float,
    nucleus: float,
) -> Iterator[Written]:
    """Writes pictures side by side, one token of each at a time.

    A picture depends on its own caption and seed alone, up to rounding: who is drawn beside it does not matter.

    Args:
        captions: tokens of one caption for each picture.
        seeds: of each picture.
        guidance: 1 follows the caption as trained; more leads further away from pictures of no caption.
        temperature: 0 always takes the likeliest token.
        nucleus: of the likeliest tokens as many as make up this share are drawn from.
    """
    device, count = model.head.weight.device, len(captions)
    both = [*captions, *([NOTHING] * count if guidance != 1 else [])]
    words = torch.zeros(len(both), max(len(one) for one in both), dtype=torch.int64, device=device)
    for row, one in enumerate(both):
        words[row, : len(one)] = torch.tensor(one)
    text, mask = model.text(words)
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    cache, tokens = model.start(), torch.zeros(count, 0, dtype=torch.int64, device=device)
    for _ in range(model.config.grid**2):
        twice = tokens if guidance == 1 else tokens.repeat(2, 1)
        logits, probs = model.step(text, mask, twice, cache)
        if guidance != 1:
            with_caption, without = logits.chunk(2)
            logits = without + guidance * (with_caption - without)
        chances = torch.stack([torch.rand((), generator=draw) for draw in draws]).to(device)
        tokens = torch.cat([tokens, _pick(logits, temperature, nucleus, chances)[:, None]], 1)
        yield Written(tokens, probs[:, :count])


def _pick(logits: Tensor, temperature: float, nucleus: float, chances: Tensor) -> Tensor:
    """One token for each row of logits `row code`, by a number from 0 to 1 each."""
    if temperature == 0:
        return logits.argmax(-1)
    below = logits - logits.amax(-1, keepdim=True)  # or a tiny temperature makes infinity less infinity
    sure, order = (below / max(temperature, torch.finfo(logits.dtype).tiny)).softmax(-1).sort(-1, descending=True)
    before = sure.cumsum(-1) - sure
    sure = sure * (before < nucleus)  # the likeliest always stays
    reached = sure.cumsum(-1)
    place = (reached < chances[:, None] * reached[:, -1:]).sum(-1, keepdim=True).clamp_max(sure.shape[1] - 1)
    return order.gather(1, place)[:, 0]
