"""What the server refuses before any handler runs, and what it tells browsers to refuse.

Gradio limits uploads (`max_file_size`) but no other request body, hands out any public URL as if it were its own
(`/file=http...`, `/proxy=`), and sets no security headers.
"""

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from crossviz.photo import MAX_BYTES

__all__ = ["MAX_JSON_BYTES", "Limits"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_JSON_BYTES = 1 << 20
"""Largest body of a request that is not an upload. The page's own are below 10 kB."""
MAX_UPLOAD_BYTES = MAX_BYTES + (1 << 20)
"""Largest upload: the photo limit and the frame around it."""
MAX_MCP_BYTES = MAX_BYTES * 4 // 3 + (1 << 20)
"""Largest message of an MCP client, which may hold a photo as base64."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), microphone=()"),
    (
        b"content-security-policy",
        # Gradio's page needs inline scripts and eval. Nothing may be loaded from elsewhere, and nothing sent there.
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'",
    ),
]


class _TooLarge(Exception):
    pass


class Limits:
    """ASGI middleware: body limits, no proxying, security headers.

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
        path = scope["path"]
        if _is_proxy(path):
            await _refuse(send, 403, "This server hands out its own files only.")
            return
        limit = MAX_UPLOAD_BYTES if path.rstrip("/").endswith("/upload") else MAX_JSON_BYTES
        if self._mcp and path.startswith("/gradio_api/mcp"):
            limit = MAX_MCP_BYTES
        too_large = f"The request is larger than {limit} bytes."
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(send, 413, too_large)
            return

        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if received > limit and not started:
                return  # the handler's own answer to the body that it did not get
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in _HEADERS if h[0] not in present)]
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, counted, with_headers)
        if received > limit and not started:
            await _refuse(send, 413, too_large)


def _is_proxy(path: str) -> bool:
    """Whether a path asks for an address elsewhere."""
    _, _, target = path.partition("/file=")
    return "/proxy=" in path or target.lstrip("/").lower().startswith(("http:", "https:"))


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
