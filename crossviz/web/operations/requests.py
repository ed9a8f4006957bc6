"""What is known of a request that was answered: enough to run a server, and nothing that tells who asked what."""

import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answered", "Watch", "route_of"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NO_ROUTE = "(none)"
"""Of a path that nothing answers: a thousand of them are one."""
REFUSED = "(refused)"
"""Of a request that was answered, or left, before it came to a route."""
BROKEN_OFF = 499
"""In the place of a status, where the client went before there was one."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One request, when all of its answer was sent."""

    method: str
    route: str
    """The template of its path, as "/gradio_api/file={path_or_url:path}": never the path."""
    status: int
    seconds: float
    bytes_in: int
    bytes_out: int
    error: str | None
    """The class of the exception that no handler caught."""


class Watch:
    """ASGI middleware that tells some sinks of each request. What a sink does must not take long, nor raise.

    Args:
        sinks: called with each request.
        routes: paths that are answered before the routes are looked at, as the health check's.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        sinks: Sequence[Callable[[Answered], None]],
        routes: Sequence[str] = (),
    ) -> None:
        self._app, self._sinks, self._routes = app, sinks, frozenset(routes)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, came, went, error = BROKEN_OFF, 0, 0, None
        path = scope["path"]

        async def counted_in() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            return message

        async def counted_out(message: Message) -> None:
            nonlocal status, went
            if message["type"] == "http.response.start":
                status = message["status"]
            went += len(message.get("body", b"")) if scope["method"] != "HEAD" else 0
            await send(message)

        try:
            await self._app(scope, counted_in, counted_out)
        except Exception as raised:
            error, status = type(raised).__name__, 500
            raise
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = path if path in self._routes else route_of(scope, status)
            told = Answered(method, route, status, time.perf_counter() - started, came, went, error)
            for sink in self._sinks:
                sink(told)


def route_of(scope: Message, status: int) -> str:
    """The template of the path that answered; what is not a route of the app's is one of a few words."""
    route = scope.get("route")
    if route is not None:
        return getattr(route, "path", NO_ROUTE)
    if "endpoint" in scope:  # an app that is mounted under a path
        return "(mounted)"
    return NO_ROUTE if status in (404, 405) else REFUSED
