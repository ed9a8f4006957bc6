"""Serving the page. Kept free of heavy imports, so that a port that is taken is said at once."""

import importlib
import importlib.util
import logging
import os
import socket
import tempfile
import time
from types import ModuleType
from typing import TYPE_CHECKING

from crossviz.errors import CrossvizError
from crossviz.version import __version__
from crossviz.web.cores import limit_threads
from crossviz.web.operations import logs
from crossviz.web.operations.all import Operations
from crossviz.web.operations.quiet_gradio import quieten
from crossviz.web.origins import Origins
from crossviz.web.own_folder import own_folder, remove_folder, stop_on_sigterm
from crossviz.web.server_settings import ServerSettings

if TYPE_CHECKING:
    import gradio as gr

    from crossviz.explanation import Explanation
    from crossviz.web.engine import Engine
    from crossviz.web.studio import Studio
    from crossviz.web.zero_gpu import Borrowed

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
    page, engine, _ = _modules(ServerSettings.of(), model, device, folders)
    engine.explainer(model)
    return page.build(engine, _opening(engine) if opening is None else opening, studio)


def serve(
    host: str | None = None,
    port: int | None = None,
    model: str | None = None,
    device: str | None = None,
    *,
    mcp: bool | None = None,
) -> None:
    """Serve the page, say so in one line when it is warm, and return when interrupted.

    What is None is as the environment says (`ServerSettings`, docs/deploy.md).

    Args:
        host: address to listen on. Only where none but this computer's own names lead to it (CROSSVIZ_HOSTS), with no
            proxy before it and no list of models, may models be named by folders.
        port: port to listen on.
        model: the model that is loaded at the start.
        device: as for `Explainer`.
        mcp: whether the API is offered to MCP clients, too.

    Raises:
        CrossvizError: the port, the model or the MCP server can't be had, or a setting in the environment will not do.
    """
    started = time.perf_counter()
    undo = stop_on_sigterm()
    settings = ServerSettings.of()
    if settings.threads is None:  # empty, or a share of a core: before PyTorch, which would take all of the computer's
        os.environ.pop("OMP_NUM_THREADS", None)
    host, port = host or settings.host, settings.port if port is None else port
    model, device = model or settings.model, device or settings.device
    mcp = settings.mcp if mcp is None else mcp
    check_port(host, port)
    if settings.metrics_port is not None:
        if settings.metrics_port == port:
            raise CrossvizError(f"CROSSVIZ_METRICS_PORT is the page's own port {port}: give the metrics another.")
        check_port(settings.metrics_host, settings.metrics_port)
    if mcp:
        check_mcp()
    logs.configure(settings)
    # They have handlers of their own, which write whole texts and addresses; what fails is raised as well.
    for library in ("HF_HUB", "TRANSFORMERS", "DIFFUSERS"):
        os.environ[f"{library}_VERBOSITY"] = "critical"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # A proxy on this computer asks from it, too: where one is set up, who asks may be anyone.
    alone = Origins.of(host, settings).private and not settings.root_path and not settings.models
    page, engine, borrowed = _modules(settings, model, device, alone)
    tempfile.tempdir = str(own_folder())  # what libraries write for a moment lies there, too
    quieten()
    limit_threads()
    blocks = page.build(engine, _opening(engine))
    with Operations(engine, blocks, settings) as operations:
        address = page.launch(blocks, host, port, mcp=mcp, **operations.middleware())
        logs.take_over_uvicorn()
        quieten()  # what was imported by the launch
        engine.warm()
        engine.borrowed = borrowed  # not before: at the start nobody is there who could ask for a GPU
        # What the page can be served without, and visitors soon want.
        importlib.import_module("crossviz.render.compare")
        seconds = time.perf_counter() - started
        place = engine.explainer(model).device
        print(f"crossviz is ready at {address} ({model} on {place}, warm in {seconds:.1f} s)", flush=True)
        logs.event("ready", logging.DEBUG, **engine.about(), seconds=round(seconds, 1), version=__version__)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
            remove_folder()
            tempfile.tempdir = None
            undo()


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


def _modules(
    settings: ServerSettings, model: str, device: str | None, folders: bool
) -> "tuple[ModuleType, Engine, Borrowed | None]":
    """The page's module, an engine, and what lends its questions out on ZeroGPU; importing them takes seconds, so this
    file does it when asked to serve.

    Raises:
        CrossvizError: a model that visitors are to choose from is not known, or no GPU can be borrowed on ZeroGPU.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    own_folder()  # before Gradio asks where its files are to be
    # After each answer Gradio would sum up the last 10,000 for a page of statistics that is closed here.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    from crossviz.web.gradio_import import import_gradio

    import_gradio()
    from crossviz.web.zero_gpu import borrow

    borrowed = borrow()
    from crossviz.web import page
    from crossviz.web.engine import Engine
    from crossviz.web.visits import current_visit, still_waits

    if borrowed is not None:
        device = "cpu"  # this process has none of the GPUs that are lent
    here = {"visit": current_visit, "waits": still_waits}
    engine = Engine(model, device, folders=folders, settings=settings, **here)
    engine.offered.check()
    return page, engine, borrowed


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
