"""How much a request may bring, and how slowly: what the server ends before, or while, a handler reads it.

Gradio limits each uploaded file (`max_file_size`) but no other body, waits for a body for ever, and opens a file for
each of up to a thousand parts of an upload.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from crossviz.photo import MAX_BYTES
from crossviz.web.doors import route_path
from crossviz.web.guard import refuse

__all__ = ["MAX_JSON_BYTES", "MAX_LISTS", "MAX_PARTS", "MAX_TEXTS", "MAX_UPLOAD_BYTES", "Limits"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_JSON_BYTES = 1 << 20
"""Largest body of a request that is not an upload. The page's own are below 10 kB."""
MAX_LISTS = 900
"""Lists and mappings in such a body: Gradio goes through each while everyone waits. The page's own are below 100."""
MAX_TEXTS = 50_000
"""Texts in it, of which an MCP message of its full size could have millions."""
MAX_UPLOAD_BYTES = MAX_BYTES + (1 << 20)
"""Largest upload: the photo limit and the frame around it."""
MAX_MCP_BYTES = MAX_BYTES * 4 // 3 + (1 << 20)
"""Largest message of an MCP client, which may hold a photo as base64."""
MAX_PARTS = 16
"""Most parts of an upload. The page sends one file at a time."""
PAUSE_SECONDS = 20.0
"""Longest that nothing may come of a body that was begun."""
SLOWEST = 16384
"""Bytes a second that a body must come with, once it takes longer than a pause may: 64 MB have 68 minutes at most."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A text in JSON, or all that is left where it has no end."""


class Limits:
    """ASGI middleware that ends requests whose body is too large, too slow, or of too many parts.

    Args:
        mcp: whether there is an MCP server, whose messages may hold photos.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], mcp: bool = False) -> None:
        self._app = app
        self._mcp = mcp

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = route_path(scope["path"], scope.get("root_path", ""))
        upload = path == "/gradio_api/upload"
        limit = MAX_UPLOAD_BYTES if upload else MAX_JSON_BYTES
        if self._mcp and path.startswith("/gradio_api/mcp"):
            limit = MAX_MCP_BYTES
        headers = dict(reversed(scope["headers"]))  # of several by one name the first, as handlers read them
        declared = headers.get(b"content-length", b"0")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            await refuse(send, 415, "Bodies are taken as they are, not compressed.")
            return
        if not declared.isdigit() or int(declared) > limit:
            await refuse(send, 413, _too_large(limit))
            return
        _, options = parse_options_header(headers.get(b"content-type", b"") if upload else b"")
        boundary = options.get(b"boundary")
        body = _Body(receive, limit, boundary and b"--" + boundary, holds_lists=not upload)
        answer = _Answer(send, body)
        try:
            await self._app(scope, body.receive, answer.send)
        except _Refused:
            pass
        except ClientDisconnect:  # nobody is there to be answered, and nothing went wrong here
            log.info("A client went away before its request was complete.")
            return
        if body.refusal is not None and not answer.started:
            await refuse(send, *body.refusal, close=True)


class _Refused(Exception):
    pass


class _Body:
    """What a handler receives, counted and timed."""

    def __init__(self, receive: Receive, limit: int, delimiter: bytes | None, holds_lists: bool) -> None:
        self._receive, self._limit, self._delimiter = receive, limit, delimiter
        self._json: list[bytes] | None = [] if holds_lists else None
        self.refusal: tuple[int, str] | None = None
        self._received, self._parts, self._rest = 0, 0, b""
        self._begun = time.monotonic()
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the news that the client has left
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), PAUSE_SECONDS)
        except TimeoutError:
            raise self._refused(408, f"Nothing came for {PAUSE_SECONDS:.0f} seconds.") from None
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        data = message.get("body", b"")
        self._received += len(data)
        if self._received > self._limit:
            raise self._refused(413, _too_large(self._limit))
        elapsed = time.monotonic() - self._begun
        if not self._complete and elapsed > PAUSE_SECONDS and self._received < SLOWEST * elapsed:
            raise self._refused(408, f"The request came with less than {SLOWEST} bytes a second.")
        if self._delimiter is not None and self._counted(data) > MAX_PARTS + 1:  # one more ends the last part
            raise self._refused(413, f"An upload has {MAX_PARTS} parts at most.")
        if self._json is not None:
            self._json.append(data)
            if self._complete:
                self._look_at(b"".join(self._json))
        return message

    def _look_at(self, body: bytes) -> None:
        if b"\0" in body:  # JSON in UTF-16, say, whose texts can't be told from the rest so quickly
            raise self._refused(415, "A body is JSON in UTF-8.")
        if body.count(b'"') > 2 * MAX_TEXTS:
            raise self._refused(413, f"A request has {MAX_TEXTS} texts at most.")
        bare = _TEXT.sub(b"", body)
        if bare.count(b"[") + bare.count(b"{") > MAX_LISTS:
            raise self._refused(413, f"A request has {MAX_LISTS} lists and mappings at most.")

    def _refused(self, status: int, reason: str) -> _Refused:
        self.refusal = (status, reason)
        return _Refused(reason)

    def _counted(self, data: bytes) -> int:
        """How many delimiters came so far, also where one came in two pieces."""
        seen = self._rest + data
        self._parts += seen.count(self._delimiter)
        _, _, after = seen.rpartition(self._delimiter)
        self._rest = after[-len(self._delimiter) + 1 :]
        return self._parts


class _Answer:
    """What a handler answers, unless it is to a body that it did not get."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body = send, body
        self.started = False

    async def send(self, message: Message) -> None:
        if self._body.refusal is not None and not self.started:
            return
        self.started = True
        await self._send(message)


def _too_large(limit: int) -> str:
    return f"The request is larger than {limit} bytes."
