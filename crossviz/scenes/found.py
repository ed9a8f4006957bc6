"""What was found in a picture of a scene: plain records, with a mask for each thing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Found", "FoundScene"]


@dataclass(frozen=True, eq=False)
class Found:
    """One thing in a picture. `x` (to the right) and `y` (away from the viewer) are where it stands, in units of the
    floor; `mask` bool `height width` is what can be seen of it; `certainty`, from 0 to 1, that it is there."""

    shape: str
    colour: str
    size: str
    material: str
    x: float
    y: float
    mask: NDArray[np.bool_]
    certainty: float = 1.0


@dataclass(frozen=True, eq=False)
class FoundScene(Sequence[Found]):
    """The things in a picture, nearest to the viewer last, and the floor and the mood that it shows."""

    things: tuple[Found, ...]
    floor: str
    mood: str

    def __len__(self) -> int:
        return len(self.things)

    def __iter__(self) -> Iterator[Found]:
        return iter(self.things)

    def __getitem__(self, index):
        return self.things[index]
