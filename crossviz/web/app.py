"""Serving the page. Kept free of heavy imports, so that a port that is taken is said at once."""

import importlib
import importlib.util
import os
import socket
import time
from types import ModuleType
from typing import TYPE_CHECKING

from crossviz.errors import CrossvizError
from crossviz.web.cores import limit_threads
from crossviz.web.origins import Origins, check_root_path
from crossviz.web.server_settings import ServerSettings

if TYPE_CHECKING:
    import gradio as gr

    from crossviz.explanation import Explanation
    from crossviz.web.engine import Engine
    from crossviz.web.studio import Studio

__all__ = ["build", "serve"]

DEFAULT_MODEL = "crossviz-mini"
DEFAULT_PORT = 7860


def build(
    model: str = DEFAULT_MODEL,
    device: str | None = None,
    *,
    folders: bool = False,
    opening: "Explanation | None" = None,
    studio: "Studio | None" = None,
) -> "gr.Blocks":
    """The page as `gr.Blocks`, its first example (or `opening`) explained already; see `crossviz.web.page.build`."""
    page, engine = _modules(model, device, folders)
    engine.explainer(model)
    return page.build(engine, _opening(engine) if opening is None else opening, studio)


def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    model: str = DEFAULT_MODEL,
    device: str | None = None,
    *,
    mcp: bool = False,
) -> None:
    """Serve the page, say so in one line when it is warm, and return when interrupted.

    Args:
        host: address to listen on. Only where none but this computer's own names lead to it (CROSSVIZ_HOSTS) may
            models be named by folders.
        port: port to listen on.
        model: the model that is loaded at the start.
        device: as for `Explainer`.
        mcp: whether the API is offered to MCP clients, too.

    Raises:
        CrossvizError: the port, the model or the MCP server can't be had, or a setting in the environment will not do.
    """
    started = time.perf_counter()
    check_port(host, port)
    if mcp:
        check_mcp()
    check_root_path()
    page, engine = _modules(model, device, Origins.of(host).private)
    limit_threads()
    blocks = page.build(engine, _opening(engine))
    address = page.launch(blocks, host, port, mcp=mcp)
    engine.warm()
    importlib.import_module("crossviz.render.compare")  # what the page can be served without, and visitors soon want
    seconds = time.perf_counter() - started
    place = engine.explainer(model).device
    print(f"crossviz is ready at {address} ({model} on {place}, warm in {seconds:.1f} s)", flush=True)
    try:
        blocks.block_thread()
    finally:
        blocks.close()


def check_mcp() -> None:
    """Says what is missing for an MCP server before anything takes time.

    Raises:
        CrossvizError: the package `mcp` is not installed.
    """
    if importlib.util.find_spec("mcp") is None:
        raise CrossvizError(
            "The MCP server needs the package mcp: pip install crossviz[mcp] (in a checkout "
            ".venv/bin/pip install -r requirements-mcp.txt), or start without it."
        )


def _modules(model: str, device: str | None, folders: bool) -> "tuple[ModuleType, Engine]":
    """The page's module and an engine; importing them takes seconds, so this file does it when asked to serve.

    Raises:
        CrossvizError: an environment variable of `ServerSettings` has a value that will not do.
    """
    settings = ServerSettings.of()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # After each answer Gradio would sum up the last 10,000 for a page of statistics that is closed here.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    from crossviz.web.gradio_import import import_gradio

    import_gradio()
    from crossviz.web import page
    from crossviz.web.engine import Engine

    return page, Engine(model, device, folders=folders, settings=settings)


def _opening(engine: "Engine") -> "Explanation":
    from crossviz.web.opening import opening

    return opening(engine)


def check_port(host: str, port: int) -> None:
    """Says what is wrong with a port before Gradio tries it.

    Raises:
        CrossvizError: it is taken, reserved or no port, or the host is no address of this computer.
    """
    if not 0 < port < 65536:
        raise CrossvizError(f"The port must lie between 1 and 65535, not {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise CrossvizError(f"'{host}' is no address of this computer: try 127.0.0.1 or 0.0.0.0.") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise CrossvizError(f"Port {port} is reserved: choose one above 1023, as --port 7861.") from error
        except OSError as error:
            raise CrossvizError(
                f"Port {port} of {host} can't be used ({error.strerror}): stop what runs there, or choose another, "
                f"as --port {port + 1} (make run PORT={port + 1})."
            ) from error
