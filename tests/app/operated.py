"""The app with all that an operator sees of it, in this process: its log lines are kept, its metrics are on a port."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gradio as gr
from watched import free_port

from crossviz.web import page as pages
from crossviz.web.engine import Engine
from crossviz.web.opening import opening
from crossviz.web.operations import logs
from crossviz.web.operations.all import Operations
from crossviz.web.operations.quiet_gradio import MODULES, quieten
from crossviz.web.server_settings import ServerSettings

__all__ = ["Operated", "logging_to", "operated"]


@dataclass(frozen=True)
class Operated:
    """A running app."""

    url: str
    engine: Engine
    page: gr.Blocks
    metrics: str
    written: io.StringIO

    def lines(self, since: int = 0) -> list[dict]:
        """Its log lines, from that character on."""
        return [json.loads(line) for line in self.written.getvalue()[since:].splitlines()]


@contextmanager
def logging_to(stream: io.StringIO, settings: ServerSettings) -> Iterator[None]:
    """The log as a server sets it up; afterwards everything is as it was."""
    root, own = logging.getLogger(), logging.getLogger(logs.OWN)
    handlers, levels = root.handlers[:], (root.level, own.level)
    hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook
    try:
        logs.configure(settings, stream)
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        warnings.showwarning, threading.excepthook, sys.unraisablehook = hooks


@contextmanager
def operated() -> Iterator[Operated]:
    """The app, launched as `crossviz serve` does it."""
    port, written = free_port(), io.StringIO()
    settings = ServerSettings(log="json", metrics_port=port, health_seconds=300)
    modules = {name: sys.modules[name] for name in MODULES if name in sys.modules}
    before = {name: vars(module).get("traceback") for name, module in modules.items()}
    engine = Engine("crossviz-mini", settings=settings)
    page = pages.build(engine, opening(engine))
    engine.explainer("")
    with logging_to(written, settings), Operations(engine, page, settings) as operations:
        quieten()
        try:
            url = pages.launch(page, "127.0.0.1", free_port(), **operations.middleware())
            logs.take_over_uvicorn()
            yield Operated(url, engine, page, f"http://127.0.0.1:{port}/metrics", written)
        finally:
            page.close(verbose=False)
            for name, module in modules.items():
                del module.print
                if before[name] is not None:
                    module.traceback = before[name]
