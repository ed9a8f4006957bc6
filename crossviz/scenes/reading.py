"""Reads a caption as what it asks for, or says why it can't be drawn."""

import difflib
from dataclasses import replace

from crossviz.errors import CaptionError
from crossviz.scenes import vocabulary
from crossviz.scenes.things import Group, Request
from crossviz.scenes.vocabulary import meanings
from crossviz.words import check_caption, split_words

__all__ = ["EXAMPLE", "MAX_THINGS", "MAX_WORDS", "can_draw", "read"]

EXAMPLE = "two small green spheres left of a large red cube on a blue floor"
MAX_THINGS, MAX_GROUPS, MAX_WORDS = 4, 3, 30
_RELATIONS = {
    ("left", "of"): "left",
    ("to", "a", "left", "of"): "left",
    ("on", "a", "left", "of"): "left",
    ("right", "of"): "right",
    ("to", "a", "right", "of"): "right",
    ("on", "a", "right", "of"): "right",
    ("in", "front", "of"): "front",
    ("behind",): "behind",
}


def can_draw() -> str:
    """What the model draws, as the part of a sentence."""
    return (
        f"scenes of one to {MAX_THINGS} {', '.join(s + 's' for s in vocabulary.SHAPES[:-1])} and "
        f"{vocabulary.SHAPES[-1]}s in {', '.join(vocabulary.COLOURS[:-1])} or {vocabulary.COLOURS[-1]}, "
        f"{' or '.join(vocabulary.SIZES)}, {' or '.join(vocabulary.MATERIALS)}, on a floor"
    )


def read(text: str) -> Request:
    """What a caption asks for.

    Raises:
        CaptionError: the caption is empty, has a word that the model does not know, or is not built as it can read.
            The message says which, what the model draws, and shows an example.
    """
    check_caption(text, f"describe what to draw, as in “{EXAMPLE}”")
    spoken = [text[start:end] for start, end in split_words(text)]
    if len(spoken) > MAX_WORDS:
        raise CaptionError(f"The caption has {len(spoken)} words, and this model reads {MAX_WORDS}: shorten it.")
    unknown = list(dict.fromkeys(word for word in spoken if word.lower() not in meanings()))
    if unknown:
        raise CaptionError(_not_known(unknown))
    reader = _Reader([meanings()[word.lower()] for word in spoken], [word.lower() for word in spoken])
    request = reader.request()
    total = sum(group.count for group in request.groups)
    if total > MAX_THINGS:
        raise CaptionError(
            f"The caption asks for {total} things, and this model draws up to {MAX_THINGS}: ask for fewer."
        )
    return request


def _not_known(unknown: list[str]) -> str:
    *others, last = [f"“{word[:40]}”" for word in unknown]
    quoted = f"{', '.join(others)} and {last}" if others else last
    close = difflib.get_close_matches(unknown[0].lower(), meanings(), n=1, cutoff=0.75)
    hint = f" Did you mean “{close[0]}”?" if close else ""
    return f"This model draws {can_draw()}; it does not know {quoted}.{hint} Try “{EXAMPLE}”."


class _Reader:
    """Goes through the words from the first to the last."""

    def __init__(self, words: list[str], spoken: list[str]) -> None:
        self.words, self.spoken, self.at = words, spoken, 0

    def request(self) -> Request:
        groups = [self._group()]
        relation = floor = mood = None  # their words' numbers
        while self.at < len(self.words):
            start, found = self.at, self._relation()
            if found is not None:
                if len(groups) > 1:
                    raise self._stuck("says where things lie, which this model reads between the first two only", start)
                relation = found
                groups.append(self._group())
            elif self._take("and"):
                if len(groups) == MAX_GROUPS:
                    raise self._stuck(f"begins a group too many: this model reads {MAX_GROUPS}", start)
                groups.append(self._group())
            elif mood is None and self._peek() in ("at", "by", "in") and self._peek(1) in vocabulary.MOODS:
                mood = self.at + 1
                self.at += 2
            elif self.words[self.at] == "on" and floor is None:
                floor = self._floor()
            else:
                raise self._stuck("can't follow there")
        said = [None if at is None else self.words[at] for at in (relation, floor, mood)]
        return Request(tuple(groups), *said, relation, floor, mood)

    def _peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""

    def _take(self, word: str) -> bool:
        found = self._peek() == word
        self.at += found
        return found

    def _relation(self) -> int | None:
        for words, relation in _RELATIONS.items():
            if tuple(self.words[self.at : self.at + len(words)]) == words:
                self.at += len(words)
                return self.at - len(words) + words.index(relation)
        return None

    def _group(self) -> Group:
        start = self.at
        if self._peek() not in vocabulary.COUNTS:
            if not self._peek():
                raise CaptionError(f"The caption ends before it says what to draw there. Try “{EXAMPLE}”.")
            raise self._stuck("stands where “a”, “two” or “three” is expected")
        group = Group(vocabulary.COUNTS[self.words[self.at]], "")
        self.at += 1
        kinds = {"size": vocabulary.SIZES, "colour": vocabulary.COLOURS, "material": vocabulary.MATERIALS}
        while self._peek() not in vocabulary.SHAPES:
            kind = next((name for name, words in kinds.items() if self._peek() in words), None)
            if kind is None:
                if not self._peek():
                    raise CaptionError(f"The caption ends before it names a thing. Try “{EXAMPLE}”.")
                raise self._stuck("stands where a thing is expected")
            if getattr(group, kind) is not None:
                raise self._stuck(f"is a second {kind} for one thing")
            group = replace(group, **{kind: self.words[self.at]})
            self.at += 1
        noun = self.at
        self.at += 1
        several = self.spoken[noun].endswith("s") and not self.spoken[noun].endswith("us")  # one torus
        if several != (group.count > 1):
            raise self._stuck("does not agree with the number before it", noun)
        return replace(group, shape=self.words[noun], words=tuple(range(start, self.at)))

    def _floor(self) -> int:
        words = self.words[self.at : self.at + 4]
        if len(words) == 4 and words[1] == "a" and words[2] in vocabulary.FLOORS and words[3] == "floor":
            self.at += 4
            return self.at - 2
        raise self._stuck(f"must be followed by “a … floor”, where … is {', '.join(vocabulary.FLOORS)}")

    def _stuck(self, why: str, at: int | None = None) -> CaptionError:
        word = self.spoken[self.at if at is None else at]
        return CaptionError(f"This model can't read the caption: “{word}” {why}. Try “{EXAMPLE}”.")
