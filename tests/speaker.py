"""A family for tests of what only some families do: crossviz-mini, which also writes captions and guesses words.

Its captions and guesses are fixed. Everything else is the embedded model's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from crossviz.errors import ModelUnavailableError
from crossviz.models import Model, ModelInfo, load_model
from crossviz.models.clip_tokens import Tokenized
from crossviz.results import Guess
from crossviz.trace import EncodedImage

__all__ = ["CAPTION", "GUESSES", "Absent", "Speaker"]

CAPTION = "a man with a camera on the grass"
GUESSES = (("dog", 0.5), ("man", 0.25), ("camera", 0.125), ("bird", 0.0625), ("tower", 0.03), ("sea", 0.001))
MASK = 5


class _Speaks:
    writes = True

    def lacks(self) -> Mapping[str, str]:
        return {name: why for name, why in super().lacks().items() if name != "guesses"}

    def captions(self, image: EncodedImage, longest: int) -> Iterator[str]:
        said = ""
        for word in CAPTION.split()[:longest]:
            said = f"{said} {word}".strip()
            yield said

    def hide(self, tokenized: Tokenized, words: Sequence[int]) -> Tokenized:
        ids = tokenized.ids.clone()
        for word in words:
            for token in tokenized.caption.words[word].tokens:
                ids[0, tokenized.positions[token]] = MASK
        return Tokenized(ids, tokenized.positions, tokenized.caption)

    def capabilities(self, image: EncodedImage, tokenized: Tokenized, text: Any) -> Mapping[str, Callable[[], Any]]:
        masked = [token for token, place in enumerate(tokenized.positions) if tokenized.ids[0, place] == MASK]
        offered = super().capabilities(image, tokenized, text)
        guess = lambda count: tuple(Guess(token, GUESSES[:count]) for token in masked)  # noqa: E731
        return {**offered, "guesses": lambda: guess}


class Speaker:
    """The family; `fails` makes every model of it fail to load."""

    name = "speaker"

    def infos(self, everything: bool) -> list[ModelInfo]:
        return [
            ModelInfo(
                "speaker",
                "speaker",
                "A model of the tests that writes captions and guesses words.",
                "query: text tokens, key: image patches and one null key",
                True,
            )
        ]

    def identity(self, name: str) -> tuple[str, str]:
        return "speaker", ""

    def load(self, name: str, device: torch.device) -> Model:
        mini = load_model("crossviz-mini", device)
        kind = type("SpeakingMini", (_Speaks, type(mini)), {})
        made = kind.__new__(kind)
        made.__dict__.update({name: part for name, part in vars(mini).items() if name not in ("key", "weights_sha256")})
        [made.info] = self.infos(False)
        return made


class Absent:
    """A family whose one model needs a package that is not there."""

    name = "absent"
    reason = "it needs the package transformers, which is not installed: pip install crossviz[transformers]."

    def infos(self, everything: bool) -> list[ModelInfo]:
        sentence = "A model of the tests that can't be loaded."
        return [ModelInfo("absent:one", "absent:one", sentence, "query: text, key: image", True, False, self.reason)]

    def identity(self, name: str) -> tuple[str, str]:
        return name, ""

    def load(self, name: str, device: torch.device) -> Model:
        raise ModelUnavailableError(f"{name} can't be loaded: {self.reason}")
