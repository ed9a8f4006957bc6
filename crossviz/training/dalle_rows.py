"""What the scene model is trained on: captions as tokens, pictures as tokens, and which word means which place."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossviz.models.dalle_words import caption_tokens
from crossviz.scenes import vocabulary
from crossviz.scenes.reading import read
from crossviz.training.scene_data import SceneSet

__all__ = ["BACKGROUND", "KINDS", "Rows", "make_rows", "place_groups", "place_kinds", "telling_words", "wrong_words"]

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
_OPPOSITE = {"left": ["right"], "right": ["left"], "front": ["behind"], "behind": ["in", "front", "of"]}


@dataclass(frozen=True, eq=False)
class Rows:
    """`words` int64 `row word`, padded with 0; `groups` int64 alike, the group that a word belongs to, -1 for none;
    `told` bool alike, whether a word says what is seen;
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
        told[row, request.telling()] = True
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


def telling_words(words: NDArray[np.int64], groups: NDArray[np.int64], told: NDArray[np.bool_]) -> dict[int, list[int]]:
    """Of every word of a caption that says what is seen, by its place, the tokens that would say something else; none
    of a relation, which is turned round as a whole."""
    ids = {word: number for number, word in enumerate(vocabulary.tokens())}
    known = _alternatives()
    floors, moods = [ids[word] for word in vocabulary.FLOORS], [ids[word] for word in vocabulary.MOODS]
    found: dict[int, list[int]] = {}
    for at in np.flatnonzero(told).tolist():
        token = int(words[at])
        if groups[at] == BACKGROUND:  # floor and mood share no word
            found[at] = [other for kind in (floors, moods) if token in kind for other in kind if other != token]
        else:
            found[at] = known[token] if groups[at] >= 0 else []
    return found


def wrong_words(
    words: NDArray[np.int64], groups: NDArray[np.int64], told: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """One caption `word` with one or two words that the scene does not show in the place of those that it does.

    Returns:
        The words, their groups, 1 where a word is shown (else 0), and which words that is asked of.
    """
    words, groups, asked, options = words.copy(), groups.copy(), told.copy(), telling_words(words, groups, told)
    shown = asked.astype(np.float32)
    turned = None
    for at in rng.permutation(list(options))[: 1 + (rng.random() < 0.3)].tolist():
        if options[at]:
            words[at], shown[at] = options[at][int(rng.integers(len(options[at])))], 0
        else:
            turned = at
    if turned is not None:
        words, groups, shown, asked = _other_way(words, groups, shown, asked, turned)
    return words, groups, shown, asked


def _other_way(words, groups, shown, asked, at: int) -> tuple:
    """The caption with the relation at that word turned round."""
    ids = {word: number for number, word in enumerate(vocabulary.tokens())}
    word = vocabulary.tokens()[int(words[at])]
    start, end = (at - 1, at + 2) if word == "front" else (at, at + 1)
    new = [ids[other] for other in _OPPOSITE[word]]
    key = start + (1 if word == "behind" else 0)
    parts = []
    for array, middle in (
        (words, new),
        (groups, [-1] * len(new)),
        (shown, [0.0] * len(new)),
        (asked, [False] * len(new)),
    ):
        joined = np.concatenate([array[:start], np.array(middle, array.dtype), array[end:]])
        fill = np.array([0 if array is not groups else -1] * len(array), array.dtype)
        fill[: min(len(array), len(joined))] = joined[: len(array)]
        parts.append(fill)
    parts[3][key] = True
    return tuple(parts)
