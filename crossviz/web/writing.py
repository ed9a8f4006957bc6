"""A caption that the model writes itself, explained while it grows."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from crossviz.errors import CaptionError
from crossviz.explainer import Explainer
from crossviz.explanation import Explanation
from crossviz.trace import EncodedImage
from crossviz.web.checks import in_one_thread

__all__ = ["Pace", "Written", "finished_words", "writing"]

PAUSE = 0.2
"""Seconds between two explanations of a growing caption, at least."""


@dataclass(frozen=True, slots=True)
class Written:
    """The caption so far, and where there was time for it the explanation of its finished words."""

    text: str
    explanation: Explanation | None = None
    done: bool = False


class Pace:
    """How often a growing caption is explained: never more than half of the time goes into it.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -float("inf")
        self._began = 0.0

    def begin(self) -> bool:
        """Whether there is time for an explanation now; if so, it has begun."""
        now = self._clock()
        if now < self._next:
            return False
        self._began = now
        return True

    def end(self) -> None:
        """The explanation that was begun is done."""
        now = self._clock()
        self._next = now + max(PAUSE, now - self._began)


def finished_words(text: str) -> str:
    """The text without the word that may still grow: what stands before its last white space; "" if nothing does."""
    words = text.rstrip() if text != text.rstrip() else text.rpartition(" ")[0].rstrip()
    return words if any(character.isalnum() for character in words) else ""


def writing(
    explainer: Explainer, image: EncodedImage, method: str | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Written]:
    """The model's caption as it grows; the last one is the whole, explained.

    Args:
        explainer: of a model that writes.
        image: from its `encode`.
        method: as for `Explainer.explain`.
        clock: of the pace.

    Raises:
        CaptionError: the model wrote no word.
        CrossvizError: as `Explainer.write` and `Explainer.explain`.
    """
    pace, text, explained = Pace(clock), "", ""
    with closing(in_one_thread(lambda: (so_far for so_far in explainer.write(image)))) as growing:
        for text in growing:
            words, found = finished_words(text), None
            if words and words != explained and pace.begin():
                found, explained = explainer.explain(image, words, method), words
            yield Written(text.strip(), found)
            if found is not None:
                pace.end()  # with the time that it took to show it
    text = text.strip()
    if not any(character.isalnum() for character in text):
        raise CaptionError(f"{explainer.info.name} wrote no words for this photo: write a caption yourself.")
    yield Written(text, explainer.explain(image, text, method), done=True)
