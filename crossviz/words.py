"""Words of a caption: what counts as one, where it stands, which of the model's tokens make it up.

Everything is keyed by character span, never by text: the second "dog" is another word than the first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from crossviz.align import align
from crossviz.errors import AmbiguousTextError, CaptionError, SelectionError

__all__ = [
    "MAX_CAPTION_CHARS",
    "UNKNOWN",
    "Caption",
    "Phrase",
    "Piece",
    "Token",
    "Word",
    "align",
    "check_caption",
    "make_caption",
    "split_words",
    "unknown_sentence",
    "whole_caption",
]

MAX_CAPTION_CHARS = 5000
_MAX_LISTED = 24  # words named in an error message

UNKNOWN = "[UNK]"
"""The text of a token that stands for characters that the tokenizer does not know, one token for all of them. Nothing
that a user types becomes it: what looks like a special token is read as the characters it consists of."""

Piece = tuple[int, str, int | None, int | None]
"""What a tokenizer's adapter says of one token: id, text, start, end in the caption; no span for special tokens."""

_APOSTROPHES = "'’ʼ＇"
_HYPHENS = "-‐‑"
# An emoji is what Unicode draws as a picture, with its skin tone, variation selector, tags and joined pictures; a
# flag of two letters; a keycap. Pictographs below U+2600 (©, ™, ‼) count only with the selector that draws them.
_WORD = regex.compile(
    r"""
      (?P<emoji>
        \p{Regional_Indicator}{2}
      | [0-9\#*]\uFE0F?\u20E3
      | (?: (?:\p{Emoji_Presentation} | [\p{Extended_Pictographic}&&[\u2600-\U0001FFFF]])
          | \p{Extended_Pictographic}(?=\uFE0F) )
        [\p{M}\p{Emoji_Modifier}\U000E0020-\U000E007F]*
        (?: \u200D \p{Extended_Pictographic} [\p{M}\p{Emoji_Modifier}\U000E0020-\U000E007F]* )*
      )
    | (?P<cjk> [[\p{Han}\p{Hiragana}\p{Katakana}]&&[\p{L}\p{N}]] [\p{M}\u30FC\uFF70\uFF9E\uFF9F]* )
    | (?P<run> RUN (?: (?: [APOSTROPHES] | [HYPHENS] | [\u00AD\u200C\u200D\u2060\u05F3\u05F4\u00B7]+ ) RUN )* )
    """.replace("RUN", r"(?:[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]\p{M}*)+")
    .replace("APOSTROPHES", _APOSTROPHES)
    .replace("HYPHENS", _HYPHENS.replace("-", r"\-")),
    regex.VERBOSE | regex.VERSION1,
)
_SAME = str.maketrans({**dict.fromkeys(_APOSTROPHES, "'"), **dict.fromkeys(_HYPHENS, "-")})


@dataclass(frozen=True, slots=True)
class Token:
    """A unit of the model's tokenizer.

    `index` is its position in the sequence that the model reads, `start` and `end` its span in the caption's text
    (of all the characters it holds bytes of), None for special tokens and padding.
    """

    index: int
    id: int
    text: str
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the caption.

    `tokens` are the positions, in the model's sequence, of the tokens that overlap it, and that the model read.
    `truncated` says that the model did not read all of it: some of its tokens were cut off at the context length, or
    it has none.
    """

    index: int
    text: str
    start: int
    end: int
    tokens: tuple[int, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """A run of words: the caption's text from the first one's start to the last one's end, and their indices."""

    text: str
    start: int
    end: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Caption:
    """The user's text, unchanged, with the model's tokens and the words that they make up.

    `truncated` says that the caption is longer than the model reads; `cut_at` is then the character at which the
    first token that was cut off begins, else None.
    """

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    truncated: bool = False
    cut_at: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "words", tuple(self.words))
        if not isinstance(self.text, str) or not (self.cut_at is None or _is_place(self.cut_at, len(self.text))):
            raise CaptionError("A caption is a text, and where it is cut off one of its characters.")
        if self.truncated != (self.cut_at is not None):
            raise CaptionError(
                f"truncated={self.truncated} does not go with cut_at={self.cut_at}: set both or neither."
            )
        for place, token in enumerate(self.tokens):
            if token.index != place:
                raise CaptionError(f"Token {place} of the caption says that it is token {token.index}.")
            if type(token.id) is not int or not isinstance(token.text, str):
                raise CaptionError(f"Token {place} of the caption must have a number and a text.")
            _check_span("Token", token.text, token.start, token.end, len(self.text))
        for place, word in enumerate(self.words):
            spanned = type(word.start) is type(word.end) is int and 0 <= word.start < word.end <= len(self.text)
            if word.index != place or not spanned or word.text != self.text[word.start : word.end]:
                span = f"{_short(word.start)} to {_short(word.end)}"
                raise CaptionError(f"Word {place} of the caption is not its characters {span}.")
            if type(word.truncated) is not bool:
                raise CaptionError(f"Word {place} of the caption must be read in whole or not: true or false.")
            if not all(_is_place(index, len(self.tokens) - 1) for index in word.tokens):
                raise CaptionError(f"Word {place} of the caption has tokens that are not in its sequence.")

    @property
    def token_counts(self) -> tuple[int, ...]:
        """How many tokens the model read of each word; 0 for a word that was cut off."""
        return tuple(len(word.tokens) for word in self.words)

    @property
    def unknown(self) -> tuple[int, ...]:
        """The words that the model does not know: it read the same token in the place of each, or of a part of it."""
        return tuple(w.index for w in self.words if any(self.tokens[token].text == UNKNOWN for token in w.tokens))

    def tokens_of(self, phrase: Phrase) -> list[int]:
        """The indices of a phrase's tokens, in order, each once.

        Raises:
            SelectionError: the model read none of them.
        """
        found = sorted({token for word in phrase.words for token in self.words[word].tokens})
        if not found:
            raise SelectionError(f"The model read no token of '{phrase.text:.60}': shorten the caption before it.")
        return found

    def phrase(
        self, text: str | None = None, *, span: tuple[int, int] | None = None, word: int | None = None
    ) -> Phrase:
        """Choose words by their text, by a character span, or by the index of one word; by exactly one of the three.

        Args:
            text: whole words as they stand in the caption; case, runs of white space and the shape of apostrophes
                and hyphens don't matter.
            span: start and end character in the caption; takes every word that overlaps it.
            word: index of a word; negative counts from the end.

        Returns:
            Phrase.

        Raises:
            AmbiguousTextError: when the text occurs more than once.
            SelectionError: when there is no such word, or the model read nothing of it.
        """
        if (text is not None) + (span is not None) + (word is not None) != 1:
            raise SelectionError(f"Give a text, a span or a word index, and only one of them. {self._listing()}")
        if text is not None:
            chosen = self._by_text(text)
        elif span is not None:
            chosen = self._by_span(span)
        else:
            chosen = self._by_index(word)
        phrase = self._phrase_of(chosen)
        if not any(self.words[index].tokens for index in chosen):
            raise SelectionError(
                f"The model did not read {_short(phrase.text)}: it lies beyond the length of caption that the model "
                "takes. Shorten the caption before it."
            )
        return phrase

    def select(self, selector: int | str | tuple[int, int]) -> Phrase:
        """`phrase` by what is given: a text, a span as a pair, or else the index of a word."""
        if isinstance(selector, str):
            return self.phrase(selector)
        if isinstance(selector, (tuple, list)):
            return self.phrase(span=tuple(selector))
        return self.phrase(word=selector)

    def _phrase_of(self, chosen: Sequence[int]) -> Phrase:
        start, end = self.words[chosen[0]].start, self.words[chosen[-1]].end
        return Phrase(self.text[start:end], start, end, tuple(chosen))

    def _by_index(self, word: int) -> list[int]:
        if isinstance(word, bool) or not hasattr(word, "__index__"):
            raise SelectionError(f"A word is chosen by an integer, but {_short(word)} was given. {self._listing()}")
        count = len(self.words)
        place = word.__index__()
        if not -count <= place < count:
            raise SelectionError(f"There is no word {place}: the caption has {count}. {self._listing()}")
        return [place % count]

    def _by_span(self, span: tuple[int, int]) -> list[int]:
        try:
            start, end = (bound.__index__() for bound in span)
        except (AttributeError, TypeError, ValueError):
            raise SelectionError(
                f"A span is two integers (start, end) in characters, but {_short(span)} was given."
            ) from None
        if not 0 <= start < end <= len(self.text):
            raise SelectionError(
                f"The span ({start}, {end}) is not in the caption, which has {len(self.text)} characters; "
                "start must lie before end, both counted from 0."
            )
        chosen = [word.index for word in self.words if word.start < end and start < word.end]
        if not chosen:
            raise SelectionError(f"No word lies in the span ({start}, {end}). {self._listing()}")
        return chosen

    def _by_text(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise SelectionError(f"A text to look for is a string, but {_short(text)} was given. {self._listing()}")
        spans = split_words(text)
        if not spans:
            raise SelectionError(f"There is no word in {_short(text)}. {self._listing()}")
        wanted = _normalised(text[spans[0][0] : spans[-1][1]])
        count = len(spans)
        found = []
        for first in range(len(self.words) - count + 1):
            start, end = self.words[first].start, self.words[first + count - 1].end
            if _normalised(self.text[start:end]) == wanted:
                found.append(list(range(first, first + count)))
        if not found:
            raise SelectionError(f"{_short(text)} is not in the caption as whole words. {self._listing()}")
        if len(found) > 1:
            places = [self._phrase_of(chosen) for chosen in found]
            listed = ", ".join(f"({p.start}, {p.end})" for p in places[:_MAX_LISTED])
            raise AmbiguousTextError(
                f"{_short(text)} occurs {len(found)} times in the caption, at {listed}: say which one, as "
                f"span=({places[0].start}, {places[0].end})."
            )
        return found[0]

    def _listing(self) -> str:
        listed = ", ".join(f"{word.index} {_short(word.text, 24)}" for word in self.words[:_MAX_LISTED])
        rest = len(self.words) - _MAX_LISTED
        return f"The caption's words are: {listed}{f' and {rest} more' if rest > 0 else ''}."

    def to_meta(self) -> dict:
        """The caption as plain JSON-able lists and values."""
        return {
            "text": self.text,
            "tokens": [[t.id, t.text, t.start, t.end] for t in self.tokens],
            "words": [[w.start, w.end, list(w.tokens), w.truncated] for w in self.words],
            "cut_at": self.cut_at,
        }

    @classmethod
    def from_meta(cls, meta: dict) -> Caption:
        """The inverse of `to_meta`.

        Raises:
            CaptionError: when the values don't make up a caption.
        """
        try:
            text = meta["text"]
            tokens = tuple(Token(index, *token) for index, token in enumerate(meta["tokens"]))
            words = tuple(
                Word(index, text[start:end], start, end, tuple(positions), truncated)
                for index, (start, end, positions, truncated) in enumerate(meta["words"])
            )
            return cls(text, tokens, words, meta["cut_at"] is not None, meta["cut_at"])
        except (KeyError, TypeError, ValueError) as error:
            raise CaptionError("The saved caption has parts missing or of the wrong kind.") from error


def check_caption(text: object, todo: str = "write what to look for in the photo") -> str:
    """Return `text` unchanged if it can be explained.

    Args:
        text: the caption.
        todo: what a caption is for, as the sentence ends where there is none.

    Raises:
        CaptionError: if it is not a string, empty or blank, longer than MAX_CAPTION_CHARS, not encodable, or holds
            no word.
    """
    if text is None:
        raise CaptionError(f"No caption was given: {todo}.")
    if not isinstance(text, str):
        raise CaptionError(f"The caption must be a string, but is of type {type(text).__name__}.")
    if not text:
        raise CaptionError(f"The caption is empty: {todo}.")
    if text.isspace():
        raise CaptionError(f"The caption holds only white space: {todo}.")
    if len(text) > MAX_CAPTION_CHARS:
        raise CaptionError(
            f"The caption has {len(text):,} characters, and at most {MAX_CAPTION_CHARS:,} are taken: shorten it."
        )
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise CaptionError("The caption holds half of a character (a lone surrogate): type it again.")
    if not split_words(text):
        raise CaptionError(f"There is no word in the caption {_short(text)}: {todo}.")
    return text


def split_words(text: str) -> list[tuple[int, int]]:
    """The spans of the words in `text`, in order, without overlap.

    A word is a maximal run of letters, marks and digits, with apostrophes, hyphens and joiners inside it ("don't",
    "T-shirt"); a single Chinese or Japanese character; or one emoji with all its parts. Punctuation is no word.
    Scripts without spaces other than these (Thai, Khmer) are not taken apart.
    """
    return [match.span() for match in _WORD.finditer(text)]


def make_caption(text: str, pieces: Sequence[Piece], *, cut: Sequence[Piece] = ()) -> Caption:
    """Assign a tokenizer's output to the words of a caption.

    A token belongs to every word whose characters it overlaps, so one that holds parts of two words counts for both.
    A word that lost a token at the context length is marked truncated even if its other tokens were read.

    Args:
        text: the caption as the user wrote it.
        pieces: (id, text, start, end) of every token that the model reads, in the order of its sequence, special
            tokens and padding included: their start and end are None.
        cut: the same for the tokens that the context length cut off.

    Returns:
        Caption; `tokens[i]` is `pieces[i]`.

    Raises:
        CaptionError: for a text that `check_caption` refuses, or a span outside it.
    """
    check_caption(text)
    tokens = tuple(Token(index, int(id_), piece, start, end) for index, (id_, piece, start, end) in enumerate(pieces))
    for _, piece, start, end in cut:
        _check_span("Token", piece, start, end, len(text))
    lost = [(start, end) for _, _, start, end in cut if start is not None]
    words = []
    for index, (start, end) in enumerate(split_words(text)):
        own = tuple(t.index for t in tokens if t.start is not None and t.start < end and start < t.end)
        truncated = not own or any(a < end and start < b for a, b in lost)
        words.append(Word(index, text[start:end], start, end, own, truncated))
    cut_at = min((start for start, _ in lost), default=None)
    return Caption(text, tokens, tuple(words), cut_at is not None, cut_at)


def whole_caption(text: str) -> Caption:
    """A caption in which every word counts as read: to choose words from where no model, or several, have read it.

    Raises:
        CaptionError: for a text that `check_caption` refuses.
    """
    check_caption(text)
    return make_caption(text, [(0, text[start:end], start, end) for start, end in split_words(text)])


def unknown_sentence(caption: Caption) -> str:
    """Which words the model does not know, and what it read in their place; "" where it knows them all."""
    texts = list(dict.fromkeys(caption.words[word].text for word in caption.unknown))
    if not texts:
        return ""
    named = ", ".join(_short(text) for text in texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")
    each = "its place" if len(texts) == 1 else "the place of each"
    return f"The model does not know {named}: it read {UNKNOWN} in {each}, and the map says nothing of the meaning."


def _check_span(what: str, text: str, start: int | None, end: int | None, length: int) -> None:
    if start is None and end is None:
        return
    if not (_is_place(start, length) and _is_place(end, length) and start <= end):
        span = f"({_short(start)}, {_short(end)})"
        raise CaptionError(f"{what} {_short(text)} has the span {span}, not in the caption's {length} characters.")


def _is_place(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _normalised(text: str) -> str:
    """For comparing what users type with what the caption holds."""
    text = unicodedata.normalize("NFC", text.translate(_SAME)).casefold()
    return " ".join(unicodedata.normalize("NFC", text).split())


def _short(value: object, limit: int = 60) -> str:
    """User input for a message: quoted, escaped, and cut to `limit` characters, or fewer where escapes make it long."""
    if isinstance(value, str) and len(value) > limit:
        value = value[: limit - 1] + "…"
    shown = repr(value)
    while isinstance(value, str) and len(shown) > 2 * limit + 3:  # ten characters stand for one that has no look
        value = value[: len(value) // 2] + "…"
        shown = repr(value)
    return shown if isinstance(value, str) or len(shown) <= limit else shown[: limit - 1] + "…"
