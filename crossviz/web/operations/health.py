"""`GET /health`: a real explanation of a tiny built-in photo by the model of the start. `GET /live`: a word.

At most one such explanation is made at a time, whoever asks meanwhile waits for it, and what came of it holds for some
seconds: asking a thousand times a second makes the server work no more than asking now and then. The explanation stands
in the same line as visitors' photos, so that a line that moves no longer is seen, and nothing of it is kept.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from crossviz.errors import CrossvizError
from crossviz.version import __version__
from crossviz.web.operations.logs import event
from crossviz.web.operations.requests import Message, Receive, Send

__all__ = ["HEALTH", "LIVE", "Health", "HealthRoutes"]

HEALTH, LIVE = "/health", "/live"
FRESH_S = 5.0
"""How long a result holds."""
TIMEOUT = "timeout"
"""The reason where the explanation takes too long."""
Result = tuple[int, dict[str, Any]]
"""Status, and what the answer tells."""


class Health:
    """What was last found out about whether the server explains.

    Args:
        probe: makes the explanation, or raises; called in a thread of its own.
        about: what is told beside it: the model, and where it computes.
        limit: seconds that the explanation may take.
    """

    def __init__(self, probe: Callable[[], object], about: Callable[[], dict[str, str]], limit: float) -> None:
        self._probe, self._about, self._limit = probe, about, limit
        self._running: Future[Result] | None = None
        self._last: Result | None = None
        self._begun = self._ended = 0.0

    async def result(self) -> Result:
        """What is known now, or in a moment. To be asked in one event loop only."""
        now = time.monotonic()
        if self._running is not None and self._running.done():
            self._last, self._running = self._running.result(), None
        if self._running is None:
            if self._last is not None and now - self._ended < FRESH_S:
                return self._last
            begun: Future[Result] = Future()
            begun.set_running_or_notify_cancel()  # a client that leaves must not cancel it for the others
            try:
                threading.Thread(target=self._run, args=(begun,), name="crossviz-health", daemon=True).start()
            except RuntimeError as error:  # there are no more threads to be had; who asks next tries again
                return _failed(type(error).__name__)
            self._begun, self._running = now, begun
        running, left = self._running, self._begun + self._limit - now
        if left > 0:
            await asyncio.wait([asyncio.wrap_future(running)], timeout=left)
        return running.result() if running.done() else _failed(TIMEOUT)

    def _run(self, future: "Future[Result]") -> None:
        started = time.perf_counter()
        try:
            self._probe()
            seconds = time.perf_counter() - started
            told = {"status": "ok", **self._about(), "seconds": round(seconds, 3), "version": __version__}
            found = (200, told) if seconds <= self._limit else _failed(TIMEOUT)
        except Exception as error:
            if not isinstance(error, CrossvizError):
                logging.getLogger(__name__).error("The health check failed in an unknown way.", exc_info=error)
            found = _failed(type(error).__name__)
        self._ended = time.monotonic()
        if found[0] != 200:
            event("unhealthy", logging.WARNING, reason=found[1]["reason"])
        future.set_result(found)


class HealthRoutes:
    """ASGI middleware that answers `/health` and `/live`.

    Args:
        health: answers the first.
        prefix: what a proxy puts before the path and leaves there, as "/crossviz".
    """

    def __init__(self, app: Callable[..., Awaitable[None]], health: Health, prefix: str = "") -> None:
        self._app, self._health, self._prefix = app, health, prefix

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(self._prefix) if scope["type"] == "http" else ""
        if path not in (HEALTH, LIVE):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, scope, 405, {"status": "failed", "reason": "method"})
        elif path == LIVE:
            await _answer(send, scope, 200, {"status": "ok"})
        else:
            await _answer(send, scope, *await self._health.result())


def _failed(reason: str) -> Result:
    return 503, {"status": "failed", "reason": reason, "version": __version__}


async def _answer(send: Send, scope: Message, status: int, told: dict[str, Any]) -> None:
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
