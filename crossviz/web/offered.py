"""The models that visitors may choose: all that crossviz lists, or those that the operator named."""

import difflib
from collections.abc import Sequence

from crossviz.errors import CrossvizError
from crossviz.models import ModelInfo, families, models

__all__ = ["Offered"]


class Offered:
    """Which models a server lists, and which it loads when a visitor names them.

    Args:
        first: the model that is there from the start; always offered.
        names: those that may be chosen beside it; all that crossviz lists if there are none. Then a visitor may also
            name any model that a family knows.
    """

    def __init__(self, first: str, names: Sequence[str] = ()) -> None:
        self._first = first
        self._names = {first, *names} if names else None

    def check(self) -> None:
        """See that there are such models.

        Raises:
            CrossvizError: one of them is not known.
        """
        if self._names is not None:
            known = {info.name for info in models(everything=True)}
            strange = sorted(self._names - known - {self._first})  # the first may be a folder of the operator's
            if strange:
                close = difflib.get_close_matches(strange[0], known, n=3, cutoff=0.5)
                hint = f" did you mean {' or '.join(close)}?" if close else " crossviz.models(True) lists all."
                raise CrossvizError(f"CROSSVIZ_MODELS names {strange[0][:80]!r}, and there is no such model:{hint}")

    def infos(self) -> list[ModelInfo]:
        """Those that are listed."""
        if self._names is None:
            return models()
        return [info for info in models(everything=True) if info.name in self._names]

    def __contains__(self, name: str) -> bool:
        """Whether a visitor may have that model loaded."""
        if self._names is not None:
            return name in self._names
        return name.partition(":")[0] not in families() or name in {info.name for info in models(everything=True)}
