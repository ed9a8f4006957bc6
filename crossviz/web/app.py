"""Serving the page. Kept free of heavy imports: Gradio and the model load at the same time."""

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from crossviz.errors import CrossvizError

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["build", "serve"]

DEFAULT_MODEL = "crossviz-mini"
DEFAULT_PORT = 7860
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def build(model: str = DEFAULT_MODEL, device: str | None = None, *, folders: bool = False) -> "gr.Blocks":
    """The page as `gr.Blocks`, its first example explained already; see `crossviz.web.page.build`."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from crossviz.web import page

    return page.build(model, device, folders=folders)


def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    model: str = DEFAULT_MODEL,
    device: str | None = None,
) -> None:
    """Serve the page, say so in one line when it is warm, and return when interrupted.

    Args:
        host: address to listen on. Only on this computer's own may models be named by folders.
        port: port to listen on.
        model: the model that is loaded at the start.
        device: as for `Explainer`.

    Raises:
        CrossvizError: the port or the model can't be had.
    """
    started = time.perf_counter()
    check_port(host, port)
    threading.Thread(target=_load_early, args=(model, device), daemon=True).start()
    page = build(model, device, folders=host in LOOPBACK)
    from crossviz.web.page import launch

    address = launch(page, host, port)
    place = _load(model, device)
    seconds = time.perf_counter() - started
    print(f"crossviz is ready at {address} ({model} on {place}, warm in {seconds:.1f} s)", flush=True)
    try:
        page.block_thread()
    finally:
        page.close()


def _load(model: str, device: str | None) -> str:
    """Loads a model, or finds it loaded; the device that it is on."""
    from crossviz.explainer import Explainer

    return Explainer(model, device).device


def _load_early(model: str, device: str | None) -> None:
    with contextlib.suppress(CrossvizError):  # `build` meets the same error and tells of it
        _load(model, device)


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
