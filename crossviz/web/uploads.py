"""Uploads: nothing half-written stays of one, however it ends."""

import contextlib
import functools
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from gradio.route_utils import GradioMultiPartParser

__all__ = ["note_parts", "nothing_half_written"]

_written: ContextVar[list[Any] | None] = ContextVar("_written", default=None)
"""The files into which the request of this context is written as long as it comes."""


def note_parts() -> None:
    """Let Gradio's reader of uploads say which files it writes: those of which nothing becomes are its own to delete
    only where the form is broken or too large, not where the disk is full, the client goes away, or a name is none."""
    parse = GradioMultiPartParser.parse
    if hasattr(parse, "__wrapped__"):
        return

    @functools.wraps(parse)
    async def noted(self: GradioMultiPartParser) -> Any:
        written = _written.get()
        if written is not None:
            self._files_to_close_on_error = written
        return await parse(self)

    GradioMultiPartParser.parse = noted  # type: ignore[method-assign]


@contextlib.contextmanager
def nothing_half_written() -> Iterator[None]:
    """Delete, when the request that is answered meanwhile is over, what it wrote and nobody has moved to its place."""
    files: list[Any] = []
    before = _written.set(files)
    try:
        yield
    finally:
        _written.reset(before)
        for file in files:
            with contextlib.suppress(OSError):
                file.close()  # writes what it still holds, for which there may be no room
            with contextlib.suppress(OSError):
                os.unlink(file.name)
