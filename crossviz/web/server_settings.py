"""How much a server does at once and keeps, set by environment variables; docs/many-users.md has them in one table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from crossviz.errors import CrossvizError

__all__ = ["ServerSettings"]

PREFIX = "CROSSVIZ_"
MOST_ON_CPU = 8
MOST_ON_GPU = 16
_RANGES = {"cache_mb": (0, 1 << 20), "batch": (1, 64), "at_once": (1, 40), "queue": (1, 4096)}


@dataclass(frozen=True)
class ServerSettings:
    """Each is set by a variable of its name in capitals, with CROSSVIZ_ before it.

    Raises:
        CrossvizError: a value is out of its range.
    """

    cache_mb: int = 512
    """MiB of encoded photos that are kept, 0 to 1048576."""
    batch: int | None = None
    """Photos that go through a model together at most, 1 to 64; None for what suits the device."""
    at_once: int | None = None
    """Questions that are worked on at once, 1 to 40; the others wait in the queue. None for what suits the cores."""
    queue: int = 64
    """Questions that may wait, 1 to 4096; the next is refused."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (least, most) = getattr(self, field.name), _RANGES[field.name]
            if value is not None and not (type(value) is int and least <= value <= most):
                raise _wrong(field.name, value)

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings that environment variables name.

        Raises:
            CrossvizError: a value is no whole number, or out of its range.
        """
        given = {}
        for field in fields(cls):
            text = environ.get(PREFIX + field.name.upper(), "").strip()
            if text and not (text.isascii() and text.isdigit()):
                raise _wrong(field.name, text)
            if text:
                given[field.name] = int(text)
        return cls(**given)

    def places(self, cores: int) -> int:
        """How many questions are worked on at once.

        Two for each core, from 4 to 16: enough to fill a pass while the last one runs. With more, who only changes a
        caption is served sooner, and who has a new photo later.

        Args:
            cores: that this process may use.
        """
        return min(16, max(4, 2 * cores)) if self.at_once is None else self.at_once

    def together(self, device: str, threads: int) -> int:
        """How many photos go through a model together at most.

        On a CPU as many as PyTorch has threads, up to 8: what one photo leaves of them idle is used, and more only make
        the first wait for the last.

        Args:
            device: where the model computes.
            threads: PyTorch's threads on a CPU.
        """
        if self.batch is not None:
            return self.batch
        return min(threads, MOST_ON_CPU) if device == "cpu" else MOST_ON_GPU


def _wrong(name: str, value: object) -> CrossvizError:
    least, most = _RANGES[name]
    return CrossvizError(f"{PREFIX}{name.upper()} is a whole number from {least} to {most}, not '{str(value)[:40]}'.")
