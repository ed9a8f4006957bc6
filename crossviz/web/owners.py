"""What is kept for whom: things by key, and the visits that they are kept for (pure)."""

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Owners"]

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Use:
    used: float
    visits: set[str] = field(default_factory=set)


class Owners(Generic[Key]):
    """Who uses what, and since when nobody does.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[Key, _Use] = {}
        self._lock = threading.Lock()

    def use(self, key: Key, visit: str | None) -> None:
        """Something is used now, in a visit, or by one of whom no visit is known."""
        with self._lock:
            use = self._uses.setdefault(key, _Use(0.0))
            use.used = self._clock()
            if visit is not None:
                use.visits.add(visit)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._uses

    def found(self, keys: Iterable[Key]) -> None:
        """What is there: of what was never used the time begins to run now."""
        with self._lock:
            now = self._clock()
            for key in keys:
                self._uses.setdefault(key, _Use(now))

    def over(self, here: Callable[[str], bool], most: float) -> list[Key]:
        """What nobody needs any more, and forget it.

        That is what was kept for visits that are all over; and what was kept for none, and was not used for a while.

        Args:
            here: whether a visit goes on.
            most: seconds.
        """
        over, now = [], self._clock()
        with self._lock:
            for key, use in list(self._uses.items()):
                left = bool(use.visits)
                use.visits = {visit for visit in use.visits if here(visit)}
                if not use.visits and (left or now - use.used > most):
                    over.append(key)
                    del self._uses[key]
        return over
