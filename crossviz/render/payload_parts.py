"""The parts of the viewer's payload that only some explanations have: hidden words, and attention in two steps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from crossviz.render.quantised import quantise, short
from crossviz.render.scale import shared_scale

if TYPE_CHECKING:
    from crossviz.explanation import Explanation
    from crossviz.results import AttentionRecord

__all__ = ["hidden", "two_steps"]

STEPS_ROOM = 200_000
"""Bytes that the first step's rows may take; fewer levels are used where they would take more."""


def hidden(explanation: "Explanation") -> dict[str, Any]:
    """The words that were hidden from the model, and what it took their tokens for, the likeliest first."""
    owner = {token: word.index for word in explanation.words for token in word.tokens}
    return {
        "words": list(explanation.hidden),
        "guesses": [
            {"word": owner[guess.token], "choices": [[text, short(share)] for text, share in guess.choices]}
            for guess in explanation.guesses
        ],
    }


def two_steps(explanation: "Explanation") -> dict[str, Any] | None:
    """Attention that is composed of two, from words to queries and from queries to patches; None where it is not.

    `words` holds `layer head word query`, each row quantised by itself; `queries` the mean over the heads of the second
    step, `query gh gw`, and `vmax` where their common scale ends, in multiples of chance.
    """
    found = _pair(explanation)
    if found is None:
        return None
    (title, first), (second_title, second) = found
    grid, tokens = explanation.grid, first.probs.double().numpy()
    rows = np.zeros((*tokens.shape[:2], len(explanation.words), tokens.shape[-1]))
    for word in explanation.words:
        if word.tokens:
            rows[:, :, word.index] = tokens[:, :, list(word.tokens)].mean(2)
    queries = second.probs.double().numpy().mean((0, 1))[:, : grid.num_patches]
    queries = queries.reshape(-1, grid.height, grid.width)
    return {
        "titles": [title, second_title],
        "layers": list(first.layers),
        "heads": first.num_heads,
        "count": len(queries),
        "words": quantise(rows[..., None, :], knee=1 / len(queries), room=STEPS_ROOM),
        "queries": quantise(queries, knee=1 / grid.num_patches),
        "vmax": short(shared_scale(queries, "probability").vmax),
    }


def _pair(explanation: "Explanation") -> "tuple[tuple[str, AttentionRecord], tuple[str, AttentionRecord]] | None":
    """The part whose queries are the caption's tokens, and the one whose queries are that one's keys."""
    for title, first in explanation.parts.items():
        if first.probs.shape[2] != len(explanation.caption.tokens):
            continue
        for other, second in explanation.parts.items():
            queries, keys = second.probs.shape[2:]
            if other != title and queries == first.probs.shape[3] and keys >= explanation.grid.num_patches:
                return (title, first), (other, second)
    return None
