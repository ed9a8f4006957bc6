"""What ViLT's heads say: how well photo and words belong together, and what stands in the place of hidden words."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.models.clip_tokens import Tokenized
from crossviz.models.vilt_parts import ViltModule, joint
from crossviz.models.vilt_tokens import Pieces
from crossviz.results import Guess
from crossviz.trace import Match
from crossviz.words import Phrase

__all__ = ["guesses", "match_by_matching", "match_by_words"]

State = dict[str, Tensor]
BATCH = 16
"""Photos in one pass."""


def match_by_matching(model: ViltModule, pieces: Pieces, tokenized: Tokenized) -> Match:
    """What the matching head says of a photo and the phrase by itself.

    Args:
        model: with that head.
        pieces: its tokenizer.
        tokenized: the caption; words that are hidden in it are so in the phrase by itself too.
    """
    masks = set(pieces.hidden(tokenized))
    hidden = [word for word in tokenized.caption.words if masks.intersection(word.tokens)]

    def score(state: State, phrases: Sequence[Phrase]) -> Tensor:
        def one(phrase: Phrase) -> Tensor:
            spans = [(word.start - phrase.start, word.end - phrase.start) for word in hidden]
            ids = pieces.ids(phrase.text, spans).to(state["patches"].device)
            return torch.cat([model.rank_output(joint(model, ids, some).pooled)[:, 0] for some in _batches(state)])

        return _by_phrase(state, phrases, one)

    return Match(
        unit="matching score",
        sentence="What the matching head says of the photo and the words by themselves: the log-odds that they belong "
        + ("together. Hidden words are masks there too." if hidden else "together."),
        state=lambda pixels: _state(model, pixels),
        score=score,
        readable=torch.sigmoid,
        readable_unit="share that belongs together",
    )


def match_by_words(model: ViltModule, pieces: Pieces, tokenized: Tokenized, text: Callable[[], Tensor]) -> Match:
    """The mean log-probability of the phrase's tokens when they are hidden in the caption.

    Args:
        model: with the masked-word head.
        pieces: its tokenizer.
        tokenized: the caption; where words of it are hidden already, they stay so, and nothing may read them: asked
            for is what the model itself guesses first.
        text: the caption's token states after the last norm, `token dim`; computed where words are hidden.
    """
    caption = tokenized.caption
    written = [token.id for token in caption.tokens]
    hidden = pieces.hidden(tokenized)
    if hidden:
        guessed = _at_masks(model, tokenized, hidden, text()).argmax(-1).tolist()
        for token, id_ in zip(hidden, guessed, strict=True):
            written[token] = id_

    def score(state: State, phrases: Sequence[Phrase]) -> Tensor:
        def one(phrase: Phrase) -> Tensor:
            tokens = caption.tokens_of(phrase)
            read = [word for word in phrase.words if caption.words[word].tokens]
            device = state["patches"].device
            ids = pieces.hide(tokenized, read).ids.to(device)
            places = [tokenized.positions[token] for token in tokens]
            answers = torch.tensor([written[token] for token in tokens], device=device)
            found = []
            for some in _batches(state):
                logs = F.log_softmax(model.mlm_score(joint(model, ids, some).text[:, places]), dim=-1)
                found.append(logs.gather(-1, answers.expand(len(some), -1)[..., None])[..., 0].mean(-1))
            return torch.cat(found)

        return _by_phrase(state, phrases, one)

    return Match(
        unit="log-probability",
        sentence="The mean log-probability of the words' tokens when they are hidden in the caption, given the photo."
        + (" Of a hidden word, that of what the model guesses in its place." if hidden else ""),
        state=lambda pixels: _state(model, pixels),
        score=score,
        readable=lambda scores: scores,
        readable_unit="log-probability per token",
    )


@torch.no_grad()
def guesses(
    model: ViltModule, pieces: Pieces, tokenized: Tokenized, text: Tensor
) -> Callable[[int], tuple[Guess, ...]]:
    """What gives the likeliest tokens for each hidden one.

    Args:
        model: with the masked-word head.
        pieces: its tokenizer.
        tokenized: the caption, with masks in it.
        text: its token states after the last norm, `token dim`.
    """
    hidden = pieces.hidden(tokenized)
    probs = torch.softmax(_at_masks(model, tokenized, hidden, text), dim=-1)

    def first(count: int) -> tuple[Guess, ...]:
        found = []
        for token, row in zip(hidden, probs, strict=True):
            best = row.topk(min(max(count, 1), len(row)))
            shown = [pieces.shown(id_) for id_ in best.indices.tolist()]
            found.append(Guess(token, tuple(zip(shown, best.values.tolist(), strict=True))))
        return tuple(found)

    return first


@torch.no_grad()
def _at_masks(model: ViltModule, tokenized: Tokenized, hidden: Sequence[int], text: Tensor) -> Tensor:
    """What the masked-word head says of the hidden tokens, `hidden vocabulary`; arguments as `guesses`."""
    return model.mlm_score(text[[tokenized.positions[token] for token in hidden]])


@torch.no_grad()
def _state(model: ViltModule, pixels: Tensor) -> State:
    return {"patches": model.photo(pixels).states}


def _batches(state: State) -> tuple[Tensor, ...]:
    return state["patches"].split(BATCH)


def _by_phrase(state: State, phrases: Sequence[Phrase], one: Callable[[Phrase], Tensor]) -> Tensor:
    if not phrases:
        return state["patches"].new_zeros(len(state["patches"]), 0)
    return torch.stack([one(phrase) for phrase in phrases], dim=1)  # batch phrase
