"""The outermost of the server: which requests are let in at all, and what every answer tells browsers to refuse.

What is let in: the addresses of `doors.py`, under the names of `origins.py`, from the page itself or from programs.
"""

import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from gradio.utils import get_upload_folder

from crossviz.web.doors import MCP, OPEN, methods_of, route_path
from crossviz.web.headers import Header, file_headers, page_headers
from crossviz.web.origins import Origins
from crossviz.web.own_files import real_path

__all__ = ["Guard", "guard_first", "refuse"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_ADDRESS_BYTES = 8192
"""Longest address of a request, with its query: the page's own are below 300."""
MAX_HEAD_BYTES = 32768
"""Largest head of a request."""
_FILE = "/gradio_api/file="
_KEPT = "deep_link"
_NOT_PASSED_ON = {
    # What a stranger would move the page's own addresses with; a proxy passes the name on as `Host`.
    b"x-forwarded-host",
    b"x-gradio-server",
    # Whole files are handed out: parts are asked for by players only.
    b"range",
    b"if-range",
    b"cookie",  # the app has none
}
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8")]
OWN_FILES = "This server hands out its own files only."
NOTHING_HERE = "There is nothing here."


class Guard:
    """ASGI middleware, to be the first of all.

    Args:
        origins: names that are answered to, and who else may show the page or ask it.
        mcp: whether there is an MCP server.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], origins: Origins, mcp: bool = False) -> None:
        self._app = app
        self._origins = origins
        self._doors = methods_of({**OPEN, **MCP} if mcp else OPEN)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Of a whole address the path counts; a slash at its end would keep all routes from being found.
        root = scope["root_path"] = urlsplit(scope.get("root_path", "")).path.rstrip("/")
        path = route_path(scope["path"], root)
        answering = _Answer(send, page_headers(self._origins, path), path.startswith(_FILE))
        refusal = self._refusal(scope, path or "/")
        if refusal is not None:
            await refuse(answering.send, *refusal)
            return
        if not path:  # the sub-path without its slash, to which the page's own addresses are relative
            query = b"?" + scope["query_string"] if scope["query_string"] else b""
            headers = [(b"location", root.encode() + b"/" + query), (b"content-length", b"0")]
            await answering.send({"type": "http.response.start", "status": 307, "headers": headers})
            await answering.send({"type": "http.response.body", "body": b""})
            return
        scope["headers"] = [header for header in scope["headers"] if self._passed_on(*header)]
        scope["query_string"] = _query(scope["query_string"], path.rstrip("/") == "/gradio_api/info")
        try:
            await self._app(scope, receive, answering.send)
        except RecursionError:  # whoever reads a body may be the first to find that it is nested without end
            if answering.started:
                raise
            await refuse(answering.send, 400, "What was sent is nested too deeply.")
        except Exception:
            if not answering.started:
                await refuse(answering.send, 500, "Something went wrong that should not have, and it has been logged.")
            raise

    def _refusal(self, scope: Message, path: str) -> tuple[int, str] | None:
        """Status and reason if a request is not let in."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._origins.answers_to(host):
            return 421, f"This server is not {host[:80]!r}: who runs it can let it answer to that in CROSSVIZ_HOSTS."
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
            return 414, f"An address has {MAX_ADDRESS_BYTES} bytes at most."
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
            return 431, f"The headers have {MAX_HEAD_BYTES} bytes at most."
        methods = next((methods for door, methods in self._doors if door.fullmatch(path)), None)
        if path.startswith(_FILE) and not _is_own(path.removeprefix(_FILE)):
            return 403, OWN_FILES
        if methods is None:
            return 404, NOTHING_HERE
        asks_first = scope["method"] == "OPTIONS" and self._lets_ask(headers)
        if scope["method"] not in methods and not asks_first:
            return 405, f"Only {', '.join(sorted(methods))}."
        # Browsers say where a request comes from. A link from elsewhere is fine; what is sent from elsewhere is not.
        # Over plain http (and Safari before 16.4) they do not, but they name the origin of what they send.
        site = headers.get(b"sec-fetch-site")
        elsewhere = _elsewhere(headers) if site is None else site in (b"cross-site", b"same-site")
        foreign = elsewhere and not self._lets_ask(headers)
        if foreign and scope["method"] not in ("GET", "HEAD"):
            return 403, "This server is asked by its own page, or by programs: other pages in CROSSVIZ_ALLOW_ORIGINS."
        return None

    def _lets_ask(self, headers: dict[bytes, bytes]) -> bool:
        return self._origins.lets_ask(headers[b"origin"].decode("latin-1")) if b"origin" in headers else False

    def _passed_on(self, name: bytes, value: bytes) -> bool:
        if name == b"origin":  # Gradio would let every origin that it hears of read the answer
            return self._origins.lets_ask(value.decode("latin-1"))
        if name == b"x-forwarded-proto":
            return {each.strip() for each in value.split(b",")} <= {b"http", b"https"}  # the first counts
        return name not in _NOT_PASSED_ON


class _Answer:
    """Sends an answer with the headers that are due."""

    def __init__(self, send: Send, headers: list[Header], is_file: bool) -> None:
        self._send, self._headers, self._is_file = send, headers, is_file
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = [(name.lower(), value) for name, value in message["headers"]]
            message["headers"] = self._with_ours(given, message["status"])
        await self._send(message)

    def _with_ours(self, given: list[Header], status: int) -> list[Header]:
        if self._is_file and status == 200:
            return file_headers(given)
        given = [header for header in given if header[0] not in (b"access-control-allow-credentials", b"set-cookie")]
        present = {name for name, _ in given}
        if (b"content-type", b"text/event-stream; charset=utf-8") in given:
            given.append((b"x-accel-buffering", b"no"))  # nginx hands on what it gets at once
        return [*given, *(header for header in self._headers if header[0] not in present)]


def _elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Whether the origin of what is sent has another name than the server was asked by, whatever the ports."""
    if b"origin" not in headers:
        return False
    named = [headers.get(b"host", b""), *headers.get(b"x-forwarded-host", b"").split(b",")]
    ours = {re.sub(rb":\d*$", b"", name.strip().lower()) for name in named}
    return re.sub(rb":\d*$", b"", headers[b"origin"].partition(b"://")[2].lower()) not in ours - {b""}


def _query(query: bytes, is_info: bool) -> bytes:
    """What is handed on of a query: no kept state is asked for (Gradio before 6.31 took an uploaded file for one)."""
    parts = [part for part in query.split(b"&") if unquote_plus(part.partition(b"=")[0].decode("latin-1")) != _KEPT]
    if is_info and b"page=" not in query:
        # Gradio keeps its answer to the first who asks without a page, with the server's name as that one gave it.
        parts.append(b"page=")
    return b"&".join(filter(None, parts))


def _is_own(name: str) -> bool:
    """Whether a path, as it stands in an address, is that of an uploaded file or of one that was made for a visitor."""
    if "\0" in name or not os.path.isabs(name):
        return False
    path = real_path(name, os.path.realpath(get_upload_folder()))
    return path is not None and os.path.isfile(path)


def guard_first(own: int) -> Callable[[Any], Any]:
    """A lifespan for the app: brings its own middleware, which come last in the list, before those that Gradio adds.

    Args:
        own: how many there are.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        # Gradio's compression and its answers to other origins would come first, and would not be guarded.
        app.user_middleware[:] = [*app.user_middleware[-own:], *app.user_middleware[:-own]]
        app.middleware_stack = app.build_middleware_stack()
        yield

    return lifespan


async def refuse(send: Send, status: int, reason: str, *, close: bool = False) -> None:
    """Answer with a status and one sentence; with `close`, what is still sent is not taken."""
    headers = [*_PLAIN, (b"connection", b"close")] if close else list(_PLAIN)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
