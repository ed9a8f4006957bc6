"""What stands before Gradio's routes: it sees who comes, asks and leaves, and refuses what there is no room for."""

import asyncio
import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, unquote

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.version import __version__
from crossviz.web.forget import Forgetting
from crossviz.web.kept_file import no_room
from crossviz.web.messages import keep_messages
from crossviz.web.states import hold_states
from crossviz.web.uploads import note_parts, nothing_half_written
from crossviz.web.visits import MOST_NAME, Visits
from crossviz.web.waiting import busy_sentence, measure_recent, wait_s

__all__ = ["SWEEP_S", "UNHEARD", "VisitGuard", "build_of"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SWEEP_S = 1.0
"""Seconds between two looks at who has left."""
UNHEARD = b"x-crossviz-unheard"
"""The header of an answer that tells a page to open its line again."""
PAGE = b"x-crossviz-page"
"""The header by which the page says that it is the page, of which build, and that it sends files again which the server
no longer has."""
ANOTHER = "The server was renewed while this page was open: copy your caption, then load the page again."
GONE = "There is no such photo on this server any more: add it again."
_JOIN, _DATA = "/queue/join", "/queue/data"
_CALL, _HEARTBEAT, _UPLOAD = "/gradio_api/call/", "/gradio_api/heartbeat/", "/gradio_api/upload"


class VisitGuard:
    """ASGI middleware.

    Args:
        page: whose questions are asked.
        visits: of this process.
        forgetting: what is done when a visit is over.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], page: gr.Blocks, visits: Visits, forgetting: Forgetting
    ) -> None:
        self._app, self._page, self._visits, self._forgetting = app, page, visits, forgetting
        self._build = build_of(page)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").rstrip("/")
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _HEARTBEAT in path:
            await self._line(path.rpartition("/")[2], scope, receive, send)
        elif path.endswith(_DATA):
            await self._stream(scope, receive, send)
        elif scope["method"] == "POST" and (path.endswith(_JOIN) or _CALL in path):
            await self._question(path, scope, receive, send)
        elif path.endswith(_UPLOAD):
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        """The whole life of the server."""
        note_parts()
        measure_recent(self._page)
        keep_messages(self._page, self._visits)
        hold_states(self._page, scope["app"], self._visits)
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self._app(scope, receive, send)
        finally:
            sweeping.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._forgetting.forget()
            except Exception:
                log.exception("What visitors left could not be cleared away; it is tried again.")

    async def _line(self, visit: str, scope: Message, receive: Receive, send: Send) -> None:
        """A page's line, open as long as the page is."""
        known = len(visit) <= MOST_NAME
        if known:
            self._visits.came(visit)
        try:
            await self._app(scope, receive, send)
        finally:
            if known:
                self._visits.left(visit)

    async def _stream(self, scope: Message, receive: Receive, send: Send) -> None:
        """The answers to a visit's questions, as they come."""
        visit = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[0]
        counted = self._visits.reads(visit, 1)
        try:
            await self._app(scope, receive, send)
        finally:
            if counted:
                self._visits.reads(visit, -1)

    async def _question(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        body, gone = await _read(receive)
        if gone:
            return
        said = _said(body)
        visit = said.get("session_hash") if path.endswith(_JOIN) else None
        heard = True
        if isinstance(visit, str) and len(visit) <= MOST_NAME:
            heard = self._visits.asked(visit)
            self._visits.uses(said, visit)
        else:
            self._visits.uses(said, None)

        build = dict(scope["headers"]).get(PAGE)
        if build is not None:
            if build.decode("latin-1") != self._build:
                await _answer(send, 410, {"detail": ANOTHER})
                return
            gone = list(dict.fromkeys(self._visits.gone(said.get("data"), said.get("event_data"))))
            if gone:
                await _answer(send, 409, {"detail": GONE, "gone": gone})
                return
        elif any(self._visits.gone(said.get("data"))):
            # Gradio would only say that there was an error; what reads the photo has a sentence for one that is gone.
            said["data"] = self._visits.without_gone(said["data"])
            body = json.dumps(said).encode()
            lengths = [header for header in scope["headers"] if header[0] != b"content-length"]
            scope = {**scope, "headers": [*lengths, (b"content-length", str(len(body)).encode())]}
        full = False

        async def told(message: Message) -> None:
            nonlocal full
            if message["type"] == "http.response.start":
                full = message["status"] == 503 and not self._page._queue.stopped
                if not heard:
                    message["headers"] = [*message["headers"], (UNHEARD, b"1")]
            if not full:
                await send(message)

        await self._app(scope, _again(body, receive), told)
        if full:
            queue = self._page._queue
            seconds = wait_s(queue, self._group(path, said))
            more = [] if seconds is None else [(b"retry-after", str(math.ceil(seconds)).encode())]
            await _answer(send, 503, {"detail": busy_sentence(len(queue), seconds)}, more)

    def _group(self, path: str, said: dict[str, Any]) -> str | None:
        """The `concurrency_id` of what is asked; None where there is no such thing."""
        fns = self._page.fns
        if path.endswith(_JOIN):
            fn = fns.get(said.get("fn_index")) if isinstance(said.get("fn_index"), int) else None
        else:
            name = unquote(path.partition(_CALL)[2])
            fn = next((fn for fn in fns.values() if fn.api_name == name), None)
        return None if fn is None else fn.concurrency_id

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            with no_room(), nothing_half_written():
                await self._app(scope, receive, noted)
        except CrossvizError as error:
            log.warning("An upload found no room on the disk.")
            if not started:
                await _answer(send, 507, {"detail": str(error)})


def build_of(page: gr.Blocks) -> str:
    """Which parts a page has and what they ask: a page that was opened before the server was started anew may ask it
    only if they are the same."""
    parts = [[number, len(fn.targets)] for number, fn in sorted(page.fns.items())]
    return hashlib.sha256(json.dumps([__version__, parts]).encode()).hexdigest()[:16]


async def _read(receive: Receive) -> tuple[bytes, bool]:
    """A whole body, whose size was limited before; and whether the client went away meanwhile."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", True
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts), False


def _said(body: bytes) -> dict[str, Any]:
    """A question; empty where it is none of ours, of which Gradio says what is wrong."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, as if it came now."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def once() -> Message:
        with contextlib.suppress(StopIteration):
            return next(messages)
        return await receive()

    return once


async def _answer(send: Send, status: int, said: dict[str, Any], more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
