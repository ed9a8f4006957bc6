"""How well a photo matches a phrase, for models with one embedding per photo and one per text: their cosine."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from crossviz.trace import Match
from crossviz.words import Phrase

__all__ = ["PROMPT", "clip_match"]

PROMPT = "a photo of a {}"
"""What a phrase is put into, as CLIP (Radford et al., 2021, section 3.1.4) does with the names of classes."""
BATCH = 8
"""Photos that go through the image tower together."""


def clip_match(module: nn.Module, embed_texts: Callable[[list[str]], Tensor]) -> Match:
    """The cosine of the photo's unit embedding, which is the state, and that of each phrase in `PROMPT`.

    Args:
        module: a model of open_clip's.
        embed_texts: texts to unit vectors `text embed`.
    """
    known: dict[str, Tensor] = {}  # phrases of the caption; the same photo is scored many times

    @torch.no_grad()
    def state(pixels: Tensor) -> Tensor:
        return torch.cat([module.encode_image(part, normalize=True) for part in pixels.split(BATCH)])

    def score(state: Tensor, phrases: Sequence[Phrase]) -> Tensor:
        if not phrases:
            return state.new_zeros(len(state), 0)
        missing = list(dict.fromkeys(phrase.text for phrase in phrases if phrase.text not in known))
        if missing:
            found = embed_texts([PROMPT.format(text) for text in missing]).detach()
            known.update(zip(missing, found, strict=True))
        texts = torch.stack([known[phrase.text] for phrase in phrases]).to(state)
        return state @ texts.T  # batch phrase

    return Match(
        unit="cosine similarity",
        sentence=f'Cosine of the photo\'s embedding and that of the words as "{PROMPT.format("...")}".',
        state=state,
        score=score,
        readable=lambda scores: scores,
        readable_unit="cosine similarity",
    )
