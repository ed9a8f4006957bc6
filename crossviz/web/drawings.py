"""The pictures that one visitor's page shows, kept on the server so that they are saved and explained whole."""

from collections.abc import Mapping
from typing import Any, Self

from crossviz.errors import CrossvizError
from crossviz.generation import Generation
from crossviz.web.memory import weight

__all__ = ["GONE", "Drawings"]

GONE = "The server no longer has this picture: draw it again with the same seed."


class Drawings:
    """Generations by the id of their payload.

    Args:
        by_id: those that there are.
    """

    def __init__(self, by_id: Mapping[str, Generation] | None = None) -> None:
        self._by_id = dict(by_id or {})
        self.weight = weight(self._by_id)
        """Their bytes in memory by address."""

    def with_one(self, key: str, generation: Generation) -> "Drawings":
        """These and one more."""
        return Drawings({**self._by_id, key: generation})

    def of(self, key: Any) -> Generation:
        """The generation that the page names.

        Raises:
            CrossvizError: it is not there.
        """
        found = self._by_id.get(key) if isinstance(key, str) else None
        if found is None:
            raise CrossvizError(GONE)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self._by_id)  # what is in it never changes
