"""Maps as small numbers: levels that are even on the colour scale, predicted from their neighbours, deflated.

A map's values run from its own `low` to its `high`. With a knee, a value `v` lies at `w = sign(v - knee) * sqrt(|v -
knee|)`, since the root of the distance from where the colour scale starts is what that shows; without one at `w = v`.
The levels divide the way from `w(low)` to `w(high)` evenly: a step is as wide in colour for weak values as for strong.
"""

import base64
import zlib
from typing import Any

import numpy as np

__all__ = ["LEVELS", "dequantise", "knee_of", "quantise", "short"]

LEVELS = (256, 192, 128, 96, 64, 48, 32, 24)
"""How many levels there may be: as many as leave the data as small as it is to be, or the last."""


def quantise(maps: np.ndarray, *, knee: float | None = None, room: int | None = None) -> dict[str, Any]:
    """Maps as levels, each on its own range from its smallest to its largest value, which are exact to a float32.

    The round trip is off by at most half a step, `(w(high) - w(low)) / (2 * (levels - 1))` in `w`.

    Args:
        maps: finite values `... gh gw`.
        knee: the value that the colour scale starts at; None where it is even in the values themselves.
        room: bytes that the data may take before it is base64; fewer levels are used where it would take more.

    Returns:
        `data`, base64 of deflated bytes: the maps' `low` and `high` as float32 (little endian), then one byte per
        value in C order; the `count` of maps; `levels`; `knee`; and whether the bytes are `predicted`: each is then
        the difference to what its neighbours let expect, modulo `levels`.
    """
    values = np.asarray(maps, dtype=np.float64).reshape(-1, *maps.shape[-2:])
    ends = np.stack([values.min(axis=(1, 2)), values.max(axis=(1, 2))], axis=1).astype("<f4")
    low, high = _along(ends.astype(np.float64).T[:, :, None, None], knee)
    shares = np.clip((_along(values, knee) - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)

    def pack(levels: int) -> tuple[bytes, bool]:
        steps = np.floor((levels - 1) * shares + 0.5).astype(np.int16)
        difference = (steps - _expected(steps)) % levels
        tried = [(_deflate(ends.tobytes() + part.astype(np.uint8).tobytes()), part) for part in (steps, difference)]
        data, part = min(tried, key=lambda one: len(one[0]))
        return data, part is difference

    first, last = 0, len(LEVELS) - 1
    if room is None or ends.nbytes + values.size <= room:
        last = 0
    while first < last:
        middle = (first + last) // 2
        if len(pack(LEVELS[middle])[0]) <= room:
            last = middle
        else:
            first = middle + 1
    data, predicted = pack(LEVELS[first])
    return {
        "data": base64.b64encode(data).decode("ascii"),
        "count": len(values),
        "levels": LEVELS[first],
        "knee": knee,
        "predicted": predicted,
    }


def dequantise(block: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The values that the viewer works with: float64 of `shape`, which ends in gh, gw; the inverse of `quantise`."""
    data, count, levels = zlib.decompress(base64.b64decode(block["data"])), block["count"], block["levels"]
    ends = np.frombuffer(data, "<f4", 2 * count).astype(np.float64).reshape(count, 2).T[:, :, None, None]
    steps = np.frombuffer(data, np.uint8, offset=8 * count).astype(np.int16).reshape(count, *shape[-2:])
    if block["predicted"]:
        steps = steps.copy()
        for row in range(shape[-2]):
            for col in range(shape[-1]):
                corner = steps[:, max(0, row - 1) : row + 1, max(0, col - 1) : col + 1]
                steps[:, row, col] = (steps[:, row, col] + _expected(corner)[:, -1, -1]) % levels
    low, high = _along(ends, block["knee"])
    values = low + (high - low) / (levels - 1) * steps
    if block["knee"] is not None:
        values = block["knee"] + values * np.abs(values)
    return np.clip(values, *ends).reshape(shape)


def knee_of(unit: str, chance: float, *, signed: bool) -> float | None:
    """The value that a method's colour scale starts at; None where the scale is even in the values (signed maps)."""
    if signed:
        return None
    return chance if unit == "probability" else 0.0


def short(value: float) -> float:
    """Seven significant digits, all that a float32 has: half the characters in JSON."""
    return float(f"{float(value):.7g}")


def _along(values: np.ndarray, knee: float | None) -> np.ndarray:
    """Where values lie on the way that the levels divide evenly."""
    return values if knee is None else np.sign(values - knee) * np.sqrt(np.abs(values - knee))


def _expected(steps: np.ndarray) -> np.ndarray:
    """What the neighbours to the left and above let expect of each value of maps `map gh gw`, as in LOCO-I.

    The plane through them and the corner between them, kept between the two; along the edges the one neighbour that
    there is, and 0 for the first value.
    """
    expected = np.zeros_like(steps)
    expected[:, 0, 1:] = steps[:, 0, :-1]
    expected[:, 1:, 0] = steps[:, :-1, 0]
    left, above, corner = steps[:, 1:, :-1], steps[:, :-1, 1:], steps[:, :-1, :-1]
    expected[:, 1:, 1:] = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
    return expected


def _deflate(data: bytes) -> bytes:
    """The smaller of two ways: with repeats (maps that are alike), or without (nothing repeats: far quicker)."""
    ways = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY):
        packer = zlib.compressobj(4, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
        ways.append(packer.compress(data) + packer.flush())
    return min(ways, key=len)
