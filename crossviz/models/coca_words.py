"""How probable a caption's words are to CoCa's decoder, given the photo and the words before them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.trace import Match
from crossviz.words import Caption, Phrase

__all__ = ["SENTENCE", "caption_match", "token_log_probs"]

SENTENCE = (
    "The mean log-probability that the model gives to the words' tokens when it writes the caption: given the photo "
    "and the words before them."
)
BATCH = 8
"""Photos that go through a tower together."""


def token_log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """The log-probability of each token given those before it, `batch token`; 0 for the first, which is given.

    Args:
        logits: `batch token vocabulary`; those of a token say what comes after it.
        ids: `token`.
    """
    following = ids[1:].expand(len(logits), -1)[..., None]
    found = F.log_softmax(logits[:, :-1].float(), dim=-1).gather(-1, following)[..., 0]
    return F.pad(found, (1, 0))


def caption_match(module: nn.Module, states: Tensor, caption: Caption) -> Match:
    """How probable each phrase is in its caption; the state of photos is what the decoder looks at, `batch query dim`.

    Args:
        module: open_clip's CoCa.
        states: the caption's tokens after the text tower, `token width`.
        caption: the phrases' caption.
    """
    ids = torch.tensor([token.id for token in caption.tokens], device=states.device)

    @torch.no_grad()
    def state(pixels: Tensor) -> Tensor:
        return torch.cat([module._encode_image(part)[1] for part in pixels.split(BATCH)])

    def score(state: Tensor, phrases: Sequence[Phrase]) -> Tensor:
        places = [caption.tokens_of(phrase) for phrase in phrases]
        if not places:
            return state.new_zeros(len(state), 0)
        parts = []
        for some in state.split(BATCH):
            logits = module.text_decoder(some, states.detach().expand(len(some), -1, -1))
            log_probs = token_log_probs(logits, ids)
            parts.append(torch.stack([log_probs[:, place].mean(1) for place in places], 1))
        return torch.cat(parts)  # batch phrase

    return Match(
        unit="log-probability",
        sentence=SENTENCE,
        state=state,
        score=score,
        readable=lambda scores: scores,
        readable_unit="log-probability per token",
    )
