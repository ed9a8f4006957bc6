"""A generator without weights, of which everything is known: each thing that the caption names is a coloured rectangle,
and exactly the places of the rectangle ask the thing's words.

It draws 144 places of 8 x 8 pixels one after another, in reading order. The words of the caption's group k own the
rectangle `RECTANGLES[k]`; every place inside asks the group's words `INSIDE` in all, evenly, and the first layer asks
its last word alone.
"""

import dataclasses
import threading
from collections.abc import Iterator

import factories
import numpy as np
import torch
from torch import Tensor

from crossviz.errors import CaptionError
from crossviz.generation import IMAGE_ASKS_TEXT, TEXT_ASKS_IMAGE, Generation, Progress, WordMaps
from crossviz.geometry import PatchGrid
from crossviz.models.generators import GeneratorInfo, Settings

__all__ = ["CAPTION", "COLOURS", "GRID", "INSIDE", "RECTANGLES", "PlantedGenerator", "Registry", "groups", "planted"]

GRID, CELL = 12, 8
INSIDE = 0.8
"""What a place of a rectangle gives to its group's words; the rest goes to none."""
LAYERS, HEADS = ("layer 1", "layer 2"), 2
RECTANGLES = ((2, 1, 6, 5), (5, 7, 11, 11), (0, 8, 3, 12))
"""Of the first, second and third group: top row, left column, end row, end column."""
COLOURS = {
    "red": (206, 62, 52),
    "green": (66, 150, 84),
    "blue": (62, 98, 190),
    "yellow": (226, 190, 70),
}
GROUND = (216, 208, 196)
THINGS = ("cube", "sphere", "ring")
CAPTION = "a red cube left of a blue sphere"
SENTENCE = "This model draws cubes, spheres and rings in red, green, blue or yellow; it does not know “{}”."


def groups(text: str) -> list[tuple[tuple[int, ...], str]]:
    """Each thing's words (indices of its colour and its noun) and its colour.

    Raises:
        CaptionError: the caption is empty or has a word that the model does not know.
    """
    words = [word.text.lower() for word in factories.caption(text).words] if text.strip() else []
    if not words:
        raise CaptionError("The caption is empty: describe what to draw, as in “a red cube”.")
    known = {*COLOURS, *THINGS, "a", "and", "left", "of", "on"}
    for word in words:
        if word not in known:
            raise CaptionError(SENTENCE.format(word))
    found = [
        ((at - 1, at) if at and words[at - 1] in COLOURS else (at,), words[at - 1] if at else "")
        for at, word in enumerate(words)
        if word in THINGS
    ]
    if not found or len(found) > len(RECTANGLES):
        raise CaptionError(f"The caption names {len(found)} things, and this model draws 1 to {len(RECTANGLES)}.")
    return [(own, colour if colour in COLOURS else "yellow") for own, colour in found]


def planted(text: str = CAPTION, seed: int = 0, *, trained: bool = True, **settings: object) -> Generation:
    """The generation that the planted model makes of a caption."""
    *_, last = PlantedGenerator(trained=trained).draw(text, Settings(seed=seed, **settings))
    return last


class PlantedGenerator:
    """As `GeneratorModel`.

    Args:
        trained: what the model says of its weights.
        gate: waited for before the second half of every picture is drawn, so that a test can look in between.
    """

    example = CAPTION
    examples = (CAPTION, "a yellow ring", "a green sphere and a red ring and a blue cube")
    defaults = Settings(seed=0, guidance=3.0, temperature=1.0)

    def __init__(self, *, trained: bool = True, gate: threading.Event | None = None) -> None:
        sentence = "Draws rectangles for cubes, spheres and rings; made for tests."
        self.info = GeneratorInfo("planted", "planted: rectangles", sentence, trained)
        self.gate = gate
        self.closed = 0
        """How many pictures were given up."""

    def draw(self, caption: str, settings: Settings) -> Iterator[Progress | Generation]:
        things = groups(caption)
        finished = _painted(things, settings.seed)
        frames, steps = [], []
        total = GRID * GRID
        try:
            for step in range(0, total + 1, 4):
                if self.gate is not None and step == total // 2:
                    self.gate.wait(60)
                frame = np.full_like(finished, 128)
                for place in range(step):
                    row, col = divmod(place, GRID)
                    at = np.s_[row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL]
                    frame[at] = finished[at]
                frames.append(frame)
                steps.append(step)
                if step:
                    yield Progress(step, total, torch.from_numpy(frame))
        except GeneratorExit:
            self.closed += 1
            raise
        yield self._generation(caption, settings, things, np.stack(frames), tuple(steps))

    def _generation(
        self, text: str, settings: Settings, things: list, frames: np.ndarray, steps: tuple[int, ...]
    ) -> Generation:
        caption = factories.caption(text)
        told = dataclasses.replace(
            self.defaults,
            seed=settings.seed,
            **{
                name: getattr(settings, name)
                for name in ("guidance", "temperature")
                if getattr(settings, name) is not None
            },
        )
        asked = settings.seed % 2 == 0
        provenance = dataclasses.replace(
            factories.provenance("cross_attention", trained=self.info.trained), model=self.info.name
        )
        return Generation(
            caption=caption,
            grid=PatchGrid(GRID, GRID),
            frames=torch.from_numpy(frames),
            frame_steps=steps,
            asks_text=_asks_text(things, len(caption.words)),
            asks_image=_asks_image(things, len(caption.words)),
            written=torch.arange(GRID * GRID).view(GRID, GRID),
            tokens=_tokens(things),
            settings={name: getattr(told, name) for name in ("seed", "guidance", "temperature")},
            verdict={
                "asked": asked,
                "found": f"{len(things)} rectangles",
                "faults": [] if asked else ["The second thing is too small."],
            },
            provenance=provenance,
            codebook=_codebook(things),
        )


class Registry:
    """What the page asks for generators, with the planted one in it."""

    def __init__(self, *models: PlantedGenerator) -> None:
        self.by_name = {model.info.name: model for model in models or (PlantedGenerator(),)}

    def generators(self) -> list[GeneratorInfo]:
        return [model.info for model in self.by_name.values()]

    def load_generator(self, name: str, device: str | None = None) -> PlantedGenerator:
        return self.by_name[name]


def _masks(things: list) -> list[np.ndarray]:
    masks = []
    for top, left, bottom, right in RECTANGLES[: len(things)]:
        mask = np.zeros((GRID, GRID), bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return masks


def _painted(things: list, seed: int) -> np.ndarray:
    """The ground's grey says which seed it was."""
    picture = np.full((GRID, GRID, 3), GROUND, np.uint8)
    picture[..., 2] = np.clip(GROUND[2] - 8 * (seed % 16), 0, 255)
    for (_, colour), mask in zip(things, _masks(things), strict=True):
        picture[mask] = COLOURS[colour]
    return np.kron(picture, np.ones((CELL, CELL, 1), np.uint8))


def _tokens(things: list) -> Tensor:
    """Entry 7 for the ground, 100 + group inside."""
    tokens = torch.full((GRID, GRID), 7)
    for number, mask in enumerate(_masks(things)):
        tokens[torch.from_numpy(mask)] = 100 + number
    return tokens


def _codebook(things: list) -> Tensor:
    colours = [GROUND, *(COLOURS[colour] for _, colour in things)]
    return torch.tensor(colours, dtype=torch.uint8)[:, None, None].expand(-1, CELL, CELL, -1)


def _asks_text(things: list, words: int) -> WordMaps:
    values = torch.zeros(1, len(LAYERS), HEADS, words, GRID, GRID)
    for (own, _), mask in zip(things, _masks(things), strict=True):
        inside = torch.from_numpy(mask)
        values[0, 0, :, own[-1], inside] = INSIDE
        for word in own:
            values[0, 1, :, word, inside] = INSIDE / len(own)
    return WordMaps(values, 1 - values.sum(3), LAYERS, IMAGE_ASKS_TEXT)


def _asks_image(things: list, words: int) -> WordMaps:
    """A thing's words look at its rectangle evenly; the others at nothing."""
    values = torch.zeros(1, len(LAYERS), HEADS, words, GRID, GRID)
    for (own, _), mask in zip(things, _masks(things), strict=True):
        for word in own:
            values[0, :, :, word, torch.from_numpy(mask)] = 0.9 / int(mask.sum())
    return WordMaps(values, 1 - values.sum((-2, -1)), LAYERS, TEXT_ASKS_IMAGE)
