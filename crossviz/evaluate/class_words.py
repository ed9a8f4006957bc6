"""By which word a class is asked, and which words are too alike to call one absent where the other is present."""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

__all__ = ["ClassWords", "words_of", "words_table"]

SECTIONS = ("ade20k", "coco", "voc")


@dataclass(frozen=True)
class ClassWords:
    """Words of every class of a set: the first is asked, the others are its synonyms and broader words."""

    words: Mapping[str, tuple[str, ...]]
    alike: Mapping[str, frozenset[str]]

    def close_to(self, names: Iterable[str]) -> frozenset[str]:
        """All words of these classes and all that are too alike to them."""
        own = {word for name in names for word in self.words[name]}
        return frozenset(own.union(*(self.alike.get(word, ()) for word in own)))


def words_of(classes: Iterable[str]) -> ClassWords:
    """The words of a set's classes: from `class_words.toml` where it knows them all, else their own names.

    A class may have several names, with a comma or a semicolon between them, and underscores for spaces.
    """
    classes = list(classes)
    names = {name: _names(name) for name in classes}
    for section in SECTIONS:
        table = words_table(section)
        if classes and all(own[0] in table for own in names.values()):
            return ClassWords({name: table[own[0]] for name, own in names.items()}, _alike())
    broader = _broader()
    words = {name: _with_broader(tuple(own), broader) for name, own in names.items()}
    return ClassWords(words, _alike())


def words_table(section: str) -> Mapping[str, tuple[str, ...]]:
    """The classes of a known set ("ade20k", "coco", "voc") with their words, in the set's own order."""
    broader = _broader()
    return {name: _with_broader(tuple(_split(text)), broader) for name, text in _raw()[section].items()}


def _with_broader(own: tuple[str, ...], broader: Mapping[str, list[str]]) -> tuple[str, ...]:
    return (*own, *(word for word in broader.get(own[0], ()) if word not in own))


@cache
def _raw() -> Mapping[str, Mapping]:
    with open(Path(__file__).with_name("class_words.toml"), "rb") as file:
        return MappingProxyType(tomllib.load(file))


@cache
def _broader() -> Mapping[str, list[str]]:
    broader: dict[str, list[str]] = defaultdict(list)
    for word, names in _raw()["broader"].items():
        for name in _split(names):
            broader[name].append(word)
    return dict(broader)


@cache
def _alike() -> Mapping[str, frozenset[str]]:
    alike: dict[str, set[str]] = defaultdict(set)
    for group in _raw()["alike"]["groups"]:
        members = _split(group)
        for member in members:
            alike[member].update(members)
    return {word: frozenset(others) for word, others in alike.items()}


def _names(text: str) -> list[str]:
    return _split(text.replace(";", ",").replace("_", " ")) or [text]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
