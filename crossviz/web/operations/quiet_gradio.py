"""Lets Gradio's own reports of what went wrong go through the log.

Gradio writes some of them with `print` and `traceback.print_exc`, which show an exception's message, and with it what a
visitor sent. There is no setting for that, so in the modules that serve requests these two names are replaced; a test
tells when one of them no longer asks for them by these names.
"""

import logging
import sys
import traceback
from types import SimpleNamespace
from typing import Any

from crossviz.web.operations.logs import event, frames

__all__ = ["MODULES", "quieten"]

MODULES = ("gradio.queueing", "gradio.routes", "gradio.route_utils", "gradio.processing_utils", "gradio.mcp")


def quieten() -> None:
    """Replace both names in those modules of Gradio's that are imported; `gradio.mcp` is when an MCP server starts."""
    for name in MODULES:
        module: Any = sys.modules.get(name)
        if module is None:
            continue
        module.print = _print
        if hasattr(module, "traceback"):
            module.traceback = _Traceback(**vars(traceback))


class _Traceback(SimpleNamespace):
    def __init__(self, **names: Any) -> None:
        super().__init__(**{**names, "print_exc": _print_exc})


def _print(*_: object, **__: object) -> None:
    frame = sys._getframe(1)
    event("gradio", logging.WARNING, at=f"{frame.f_globals.get('__name__')}:{frame.f_lineno}")


def _print_exc(*_: object, **__: object) -> None:
    kind, _error, trace = sys.exc_info()
    event("gradio", logging.ERROR, error=kind.__name__ if kind else None, came_through=frames(trace))
