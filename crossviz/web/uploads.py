"""Uploads that end early or find no room: nothing half-written stays."""

import contextlib
import functools
import os
from typing import Any

from gradio.route_utils import GradioMultiPartParser

__all__ = ["leave_nothing_half_written"]


def leave_nothing_half_written() -> None:
    """Delete what was written of an upload that fails in any way.

    Gradio does so only where the form is broken or too large, not where the disk is full or the client goes away.
    """
    parse = GradioMultiPartParser.parse
    if hasattr(parse, "__wrapped__"):
        return

    @functools.wraps(parse)
    async def parsed(self: GradioMultiPartParser) -> Any:
        try:
            return await parse(self)
        except BaseException:
            for file in self._files_to_close_on_error:
                with contextlib.suppress(OSError):
                    file.close()  # writes what it still holds, for which there may be no room
                with contextlib.suppress(OSError):
                    os.unlink(file.name)
            raise

    GradioMultiPartParser.parse = parsed  # type: ignore[method-assign]
