"""What the scene model is trained on: captions as tokens, pictures as tokens, and which word means which place."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossviz.models.dalle_words import caption_tokens
from crossviz.scenes import vocabulary
from crossviz.scenes.reading import read
from crossviz.training.scene_data import SceneSet

__all__ = ["BACKGROUND", "KINDS", "Rows", "make_rows", "other_words", "place_groups", "place_kinds", "wrong_words"]

BACKGROUND = 9
"""The group of the words that say the floor and the light."""
KINDS = (
    vocabulary.SHAPES,
    vocabulary.COLOURS,
    vocabulary.SIZES,
    vocabulary.MATERIALS,
    vocabulary.FLOORS,
    vocabulary.MOODS,
)
"""What captions say: of things the first four, of the scene the last two."""
_GRID, _SHARE = 12, 0.35  # tokens along a side; of a place that a group's things take at the least


@dataclass(frozen=True, eq=False)
class Rows:
    """`words` int64 `row word`, padded with 0; `groups` int64 alike, the group that a word belongs to, -1 for none;
    `told` bool alike, whether a word says what is seen, by itself (a relation is between two);
    `places` int8 `row gh gw`, the group that a place shows, -1 for none; `image` int16 `row gh gw`; `said` int64
    `row group kind`, what the caption says of each group and, in the last row, of floor and light: a number of the
    kind's words, -1 where it leaves it open; `kinds` int8 `row gh gw kind`, of what each place shows the shape, colour,
    size and material, -1 where no thing is."""

    words: NDArray[np.int64]
    groups: NDArray[np.int64]
    told: NDArray[np.bool_]
    places: NDArray[np.int8]
    image: NDArray[np.int16]
    said: NDArray[np.int64]
    kinds: NDArray[np.int8]

    def mirrored(self, image: NDArray[np.int16]) -> "Rows":
        """The same scenes mirrored, whose tokens are given: left is right."""
        ids = {word: number for number, word in enumerate(vocabulary.tokens())}
        words = self.words.copy()
        words[self.words == ids["left"]], words[self.words == ids["right"]] = ids["right"], ids["left"]
        places, kinds = (np.ascontiguousarray(part[:, :, ::-1]) for part in (self.places, self.kinds))
        return replace(self, words=words, places=places, kinds=kinds, image=image)


def make_rows(data: SceneSet, image: NDArray[np.int16], max_words: int) -> Rows:
    """Rows of all scenes, whose pictures' tokens are given."""
    words = np.zeros((len(data.captions), max_words), np.int64)
    groups, told = np.full_like(words, -1), np.zeros(words.shape, bool)
    said = np.full((len(words), 4, len(KINDS)), -1, np.int64)
    for row, caption in enumerate(data.captions):
        ids = caption_tokens(caption)
        words[row, : len(ids)] = ids
        request = read(caption)
        for number, group in enumerate(request.groups):
            groups[row, list(group.words)] = number
            stated = (group.shape, group.colour, group.size, group.material)
            said[row, number, :4] = [_number(kind, word) for kind, word in zip(KINDS[:4], stated, strict=True)]
        said[row, -1, 4:] = _number(vocabulary.FLOORS, request.floor), _number(vocabulary.MOODS, request.mood)
        told[row, [word for word in request.telling() if word != request.relation_word]] = True
        if request.floor_word is not None:  # "on a", the colour, "floor"
            groups[row, request.floor_word - 2 : request.floor_word + 2] = BACKGROUND
        if request.mood_word is not None:
            groups[row, request.mood_word] = BACKGROUND
    places, kinds = place_groups(data.owner, data.things), place_kinds(data.owner, data.things)
    return Rows(words, groups, told, places, image, said, kinds)


def _number(kind: tuple[str, ...], word: str | None) -> int:
    return -1 if word is None else kind.index(word)


def place_groups(owner: NDArray[np.uint8], things: NDArray[np.float32]) -> NDArray[np.int8]:
    """The group whose things take most of each place, -1 where none takes enough: int8 `scene gh gw`."""
    groups = np.concatenate([np.full((len(things), 1), -1), things[:, :, 6]], 1).astype(np.int8)  # scene 1+thing
    return _most(groups, owner, 3)


def place_kinds(owner: NDArray[np.uint8], things: NDArray[np.float32]) -> NDArray[np.int8]:
    """Shape, colour, size and material of the thing that takes most of each place, -1 where none takes enough: int8
    `scene gh gw kind`."""
    numbers = np.tile(np.arange(-1, things.shape[1], dtype=np.int8), (len(things), 1))
    thing = _most(numbers, owner, things.shape[1])
    kinds = np.take_along_axis(things[:, None, :, :4], thing.clip(0)[:, :, :, None].reshape(len(thing), 1, -1, 1), 2)
    kinds = kinds.reshape(*thing.shape, 4).astype(np.int8)
    kinds[thing < 0] = -1
    return kinds


def _most(label_of: NDArray[np.int8], owner: NDArray[np.uint8], labels: int) -> NDArray[np.int8]:
    """The label that takes most of each place, -1 where none takes enough; `label_of` has one for each owner."""
    found = np.empty((len(owner), _GRID, _GRID), np.int8)
    for row in range(len(owner)):
        pixels = label_of[row][owner[row]]
        size = pixels.shape[0] // _GRID
        cells = pixels.reshape(_GRID, size, _GRID, size)
        shares = np.stack([(cells == label).mean((1, 3)) for label in range(labels)])
        found[row] = np.where(shares.max(0) >= _SHARE, shares.argmax(0), -1)
    return found


def _alternatives() -> dict[int, list[int]]:
    """Of every token that says what is seen, the others of its kind. A colour is an object's or a floor's."""
    ids = {word: number for number, word in enumerate(vocabulary.tokens())}
    kinds = (vocabulary.SHAPES, vocabulary.COLOURS, vocabulary.SIZES, vocabulary.MATERIALS, tuple(vocabulary.COUNTS))
    return {ids[word]: [ids[other] for other in kind if other != word] for kind in kinds for word in kind}


def other_words(words: NDArray[np.int64], groups: NDArray[np.int64], told: NDArray[np.bool_]) -> dict[int, list[int]]:
    """Of every word of a caption that is told by what a place shows, by its number, the tokens that would say something
    else."""
    ids = {word: number for number, word in enumerate(vocabulary.tokens())}
    known = _alternatives()
    floors, moods = [ids[word] for word in vocabulary.FLOORS], [ids[word] for word in vocabulary.MOODS]
    found: dict[int, list[int]] = {}
    for at in np.flatnonzero(told).tolist():
        token = int(words[at])
        if groups[at] == BACKGROUND:  # floor and mood share no word
            found[at] = [other for kind in (floors, moods) if token in kind for other in kind if other != token]
        else:
            found[at] = known[token]
    return found


def wrong_words(
    words: NDArray[np.int64], groups: NDArray[np.int64], told: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """One caption `word` with one or two words that the scene does not show in the place of those that it does, and 1
    where a word is shown, else 0."""
    words, shown, others = words.copy(), told.astype(np.float32), other_words(words, groups, told)
    chances = np.array([_chance(int(words[at])) for at in others])
    count = min(len(others), 1 + int(rng.random() < 0.3))
    for at in rng.choice(list(others), count, replace=False, p=chances / chances.sum()).tolist():
        words[at], shown[at] = others[at][int(rng.integers(len(others[at])))], 0
    return words, shown


def _chance(token: int) -> float:
    """How much likelier a word is to be the wrong one than a colour: what is hard to tell is asked more often."""
    hard = (*vocabulary.COUNTS, *vocabulary.SHAPES, *vocabulary.MOODS)
    return 2.0 if vocabulary.tokens()[token] in hard else 1.0
