"""How the work is cut: how many queries and keys a program takes at a time, with how many warps (pure)."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["DOT_LEAST", "Tile", "likeliest", "power_of_two", "tiles"]

DOT_LEAST = 16
"""The smallest side of a matrix that the GPU's matrix units take."""
_PROGRAMS = 132
"""As many as an H100 has multiprocessors: with fewer, some stand idle."""
_SHORT = 256
"""Keys up to which a row is held whole rather than cut."""
_REGISTERS = 65_536
"""Of 32 bits, that one multiprocessor of an NVIDIA GPU has."""
_SHARED_BYTES = 220_000
"""Of shared memory, that one program may have on an H100; where there is less, the tuner passes the tile over."""


class Tile(NamedTuple):
    """One way to cut the work."""

    queries: int
    """Rows that a program computes; a power of two."""
    keys: int
    """Columns that it has in hand at a time; a power of two."""
    whole: bool
    """Whether these are all columns, so that no score is computed twice."""
    warps: int
    stages: int
    """Blocks of keys that are being fetched while one is computed with."""
    registers: int | None = None
    """The most that a thread may have, so that more programs run side by side; None leaves it to the compiler."""


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, at least what the matrix units take."""
    return max(DOT_LEAST, 1 << (number - 1).bit_length())


def tiles(queries: int, keys: int, head_dim: int, bytes_each: int) -> list[Tile]:
    """The ways that are worth trying, the likeliest first.

    Args:
        queries: of one head.
        keys: of one head, without the null key; at least 1.
        head_dim: of one head.
        bytes_each: of a number: 2 or 4.

    A long row is cut; a short one is also held whole, if its float32 scores leave room in the registers. Float32 goes
    in smaller blocks, as its numbers take twice the room, and each product of them three.
    """
    rows, row, dim = power_of_two(queries), power_of_two(keys), power_of_two(head_dim)
    found, whole = [], []
    for block_q, warps in ((32, 4), (64, 4), (64, 8), (16, 4)):
        if block_q <= max(rows, DOT_LEAST) and block_q * (row + dim) <= _REGISTERS // 2:
            whole.append(Tile(block_q, row, True, warps, 1))
    for block_q, block_k, warps, stages, registers in (
        (128, 64, 8, 3, 128),
        (128, 64, 8, 3, None),
        (64, 64, 4, 3, None),
        (128, 128, 8, 2, None),
        (64, 128, 4, 3, None),
        (64, 32, 4, 4, None),
        (32, 64, 4, 3, None),
        (16, 64, 4, 3, None),
    ):
        if block_q <= rows and block_k < 2 * row:
            found.append(Tile(block_q, block_k, False, warps, stages, registers))
    found = whole + found if row <= _SHORT else found + whole
    # Keys and values in flight and the queries: what is too large for shared memory would be refused by the compiler.
    fitting = [
        tile
        for tile in found
        if (2 * tile.stages * tile.keys + tile.queries) * dim * bytes_each <= _SHARED_BYTES
        and (bytes_each == 2 or tile.queries * max(tile.keys, dim) <= 64 * 64 or tile.queries == DOT_LEAST)
    ]
    return fitting or [Tile(DOT_LEAST, DOT_LEAST, False, 4, 1)]


def likeliest(candidates: Sequence[Tile], queries: int, matrices: int) -> Tile:
    """The tile to take without trying: the first that gives all of the GPU work, else the one that gives most of it.

    Args:
        candidates: what `tiles` gives.
        queries: of one head.
        matrices: heads of the whole batch.
    """

    def programs(tile: Tile) -> int:
        return min(_PROGRAMS, matrices * -(-queries // tile.queries))

    return max(candidates, key=programs)  # of equals the first
