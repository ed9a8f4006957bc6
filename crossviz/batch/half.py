"""Maps in half precision: plain values where those fit, else with a power of two beside them."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "TOLERANCE", "from_half", "to_half"]

TOLERANCE = 2.0**-11
"""Of a value, the most that it is off after `from_half`, where it is above `FLOOR` times the scale."""
FLOOR = 2.0**-14
"""Below it, halves lie 2**-24 apart."""
_LEAST, _MOST = 2.0**-10, 2.0**15


def to_half(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], float]:
    """Values as halves, and what those are to be multiplied by: 1 where the largest is between 1/1024 and 32768.

    Half precision ends at 65504 and is coarse below 6e-5, and gradients come in any size; a power of two brings the
    largest value to about 1 and loses nothing.
    """
    largest = float(np.abs(values).max(initial=0.0))
    plain = largest == 0 or _LEAST <= largest <= _MOST
    scale = 1.0 if plain else 2.0 ** math.frexp(largest)[1]
    return (values / np.float32(scale)).astype(np.float16), scale


def from_half(values: NDArray[np.float16], scale: float) -> NDArray[np.float32]:
    """The inverse of `to_half`, up to its tolerance: float32."""
    return values.astype(np.float32) * np.float32(scale)
