"""One explained row out of a folder of results: as an explanation, without its photo and its attention record."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import BundleError, CrossvizError, MethodError, SelectionError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.words import Caption, Phrase, Token, Word

if TYPE_CHECKING:
    from crossviz.batch.reader import About

__all__ = ["BatchRow"]


@dataclass(frozen=True, eq=False)
class BatchRow:
    """Where each word of one row's caption looks in its photo. Maps are read from the disk when they are asked for.

    Words are chosen as in an explanation: by text, `span=` or `word=`. Maps are those of `Explainer.explain` in half
    precision: off by at most 2**-11 of a value, or 2**-25 where that is more (1 being the largest value's order).

    Attributes:
        key: the row's name in its source.
        position: its place in the source, from 0.
        photo: the photo's name or path, as the source gives it.
        photo_sha256: of its pixels, as `Photo.sha256`.
        caption: the caption with its tokens and words.
        view: from the photo to what the model saw.
        grid: the patches; prefix tokens are not kept.
        similarity: cosine of photo and caption; None where the model has none.
        trained: False for weights that were not trained: then nothing here means anything.
        about: what the maps are, and what made them.
    """

    key: str
    position: int
    photo: str
    photo_sha256: str
    caption: Caption
    view: ImageView
    grid: PatchGrid
    similarity: float | None
    trained: bool
    about: "About"
    _null: tuple[float | None, ...]
    _read: Callable[[], NDArray[np.float32]]
    _read_heads: Callable[[], NDArray[np.float32]]

    @classmethod
    def from_columns(
        cls,
        row: dict[str, Any],
        about: "About",
        read: Callable[[], NDArray[np.float32]],
        read_heads: Callable[[], NDArray[np.float32]],
    ) -> Self:
        """A row of the table.

        Raises:
            BundleError: its columns don't fit together.
        """
        try:
            text = row["caption"]
            tokens = tuple(Token(i, t["id"], t["text"], t["start"], t["end"]) for i, t in enumerate(row["tokens"]))
            words = tuple(
                Word(i, text[w["start"] : w["end"]], w["start"], w["end"], tuple(w["tokens"]), w["truncated"])
                for i, w in enumerate(row["words"])
            )
            height, width = map(int, row["grid"].split("x"))
            return cls(
                key=row["key"],
                position=row["position"],
                photo=row["photo"],
                photo_sha256=row["photo_sha256"],
                caption=Caption(text, tokens, words, row["cut_at"] is not None, row["cut_at"]),
                view=ImageView(
                    (row["width"], row["height"]), (row["input_height"], row["input_width"]), tuple(row["crop_xyxy"])
                ),
                grid=PatchGrid(height, width),
                similarity=row["similarity"],
                trained=row["trained"],
                about=about,
                _null=tuple(w["null_mass"] for w in row["words"]),
                _read=read,
                _read_heads=read_heads,
            )
        except CrossvizError as error:
            raise BundleError(f"A row of the table is damaged: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError("A row of the table is damaged: a column is missing or of the wrong kind.") from error

    @property
    def words(self) -> tuple[Word, ...]:
        """The caption's words, with character spans."""
        return self.caption.words

    @property
    def unit(self) -> str:
        """What a value of a map is, e.g. "probability"."""
        return self.about.unit

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """The maps of all words: float32 `word gh gw`, zeros for a word without tokens."""
        return self._read()

    @cached_property
    def per_head(self) -> NDArray[np.float32]:
        """The maps of single layers (`about.layers`) and heads: float32 `layer head word gh gw`.

        Raises:
            MethodError: they were not asked for.
        """
        if not self.about.heads:
            raise MethodError("Single layers and heads were not kept: run crossviz batch with --heads.")
        return np.moveaxis(self._read_heads(), 0, 2)

    def patch_map(
        self, text: str | None = None, *, span: tuple[int, int] | None = None, word: int | None = None
    ) -> NDArray[np.float32]:
        """The map of a word or phrase over patches, not normalised: float32 `gh gw`, in `unit`.

        Raises:
            SelectionError: no such word, or one that the model did not read.
        """
        return np.einsum("w,whx->hx", self._weights(self.caption.phrase(text, span=span, word=word)), self.values)

    def heatmap(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        smooth: bool = True,
    ) -> NDArray[np.float32]:
        """The same in the photo's own pixels: float32 `H W`; 0 where the model saw nothing. As `Explanation.heatmap`.

        Raises:
            SelectionError: as for `patch_map`.
        """
        return self.view.upsample(self.patch_map(text, span=span, word=word), smooth=smooth)

    def null_mass(
        self, text: str | None = None, *, span: tuple[int, int] | None = None, word: int | None = None
    ) -> float:
        """How much of the word's attention went to the null key, "nothing in this picture": 0 to 1.

        Raises:
            SelectionError: as for `patch_map`.
            MethodError: the method has no null key.
        """
        weights = self._weights(self.caption.phrase(text, span=span, word=word))
        if all(mass is None for mass in self._null):
            raise MethodError(f"The method {self.about.method} has no null key, so that no null mass can be told.")
        return float(sum(weight * (mass or 0.0) for weight, mass in zip(weights.tolist(), self._null, strict=True)))

    def _weights(self, phrase: Phrase) -> NDArray[np.float32]:
        """Each word's part in the mean over a phrase's tokens: `word`, sums to 1."""
        weights = np.zeros(len(self.words), np.float32)
        for word in phrase.words:
            weights[word] = len(self.words[word].tokens)
        if not weights.any():
            raise SelectionError("The model read no token of these words: they lie beyond the length that it takes.")
        return weights / weights.sum()
