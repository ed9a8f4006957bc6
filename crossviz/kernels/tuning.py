"""Which tile is fastest, found by trying them: once for a size, then remembered as long as the process lives."""

import threading
from collections.abc import Callable, Hashable, Sequence

from triton.compiler.errors import CompileTimeAssertionFailure
from triton.runtime.errors import OutOfResources, PTXASError
from triton.testing import do_bench

from crossviz.kernels.tiles import Tile

__all__ = ["chosen"]

_found: dict[Hashable, Tile] = {}
_lock = threading.Lock()


def chosen(
    size: Hashable,
    candidates: Sequence[Tile],
    start: Callable[[Tile], None],
    timed: Callable[[Callable[[], None]], float] = do_bench,
) -> Tile:
    """The fastest of the candidates, or the first if none runs.

    Args:
        size: what the answer depends on.
        candidates: at least one.
        start: starts the program with a tile; may be called many times.
        timed: milliseconds that a call takes, with cold caches.
    """
    if size not in _found:
        with _lock:  # two threads that time at once would time each other
            if size not in _found:
                times = {tile: _time(tile, start, timed) for tile in candidates}
                _found[size] = min(times, key=times.__getitem__)
    return _found[size]


def _time(tile: Tile, start: Callable[[Tile], None], timed: Callable[[Callable[[], None]], float]) -> float:
    """Infinite for a tile that this GPU has no room for."""
    try:
        return timed(lambda: start(tile))
    except (OutOfResources, PTXASError, CompileTimeAssertionFailure):
        return float("inf")
