"""Masks of all classes in one picture: each pixel holds the number of its class."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossviz.errors import DatasetError

__all__ = ["NOTHING", "IndexMask"]

NOTHING = (0, 255)
"""Numbers that are no class in any set: other, background; void, crowd."""


@dataclass(frozen=True)
class IndexMask:
    """An index PNG, read anew whenever it is asked.

    Args:
        path: PNG of mode L, P or 16-bit grey, of the photo's size.
        numbers: the class of each number; 0, 255 and numbers without a class are no class.
    """

    path: Path
    numbers: Mapping[int, str]
    _names: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._names.update({name: number for number, name in self.numbers.items() if number not in NOTHING})

    def present(self) -> Collection[str]:
        """Names of the classes that have a pixel, by number.

        Raises:
            DatasetError: the file can't be read as an index mask.
        """
        found = np.unique(self._read()).tolist()
        return [self.numbers[n] for n in found if n in self.numbers and n not in NOTHING]

    def __call__(self, name: str) -> NDArray[np.bool_]:
        """The pixels of a class: `H W`.

        Raises:
            DatasetError: the file can't be read as an index mask.
        """
        return self._read() == self._names[name]

    def _read(self) -> NDArray:
        try:
            with Image.open(self.path) as image:
                mode, pixels = image.mode, np.asarray(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or "not a picture"
            raise DatasetError(f"The mask {self.path.name} can't be read ({reason}).") from None
        if pixels.ndim != 2 or mode not in ("L", "P", "I", "I;16", "I;16L", "I;16B"):
            raise DatasetError(
                f"The mask {self.path.name} is a picture of mode {mode}, and one number a pixel is expected "
                "(a PNG of mode L, P or 16-bit grey)."
            )
        return pixels
