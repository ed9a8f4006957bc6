"""Requests that are none: each is refused with a sentence, not with a server error.

Gradio answers what its own routes and components trip over (too few values, a path that was not uploaded, a key that is
not there, a NaN in a body that it can't even repeat) with status 500, or with an error without a word, and logs a
traceback for each. Here such requests are told from faults of the server: what crossviz itself fails at is still one.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from starlette.exceptions import HTTPException

from crossviz.web.doors import route_path
from crossviz.web.kept_file import is_full
from crossviz.web.own_files import OwnFiles

__all__ = ["HANDLERS", "Page", "Refusals"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]

NOT_UPLOADED = "A file in this request was not uploaded to this server: upload it (again)."
WRONG_VALUES = (
    "What was sent is not what this asks for: there are too few or too many values, or one is of the wrong kind "
    "(docs/api.md says what each endpoint takes)."
)
NO_REQUEST = "This request can't be understood: its address, or something in its body, is not as it must be."
NOT_FROM_HERE = "This event is the page's own, and there is nothing on the server that it asks."


class Page(OwnFiles):
    """Gradio's page, whose every refusal of what was sent is one sentence."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        """What was sent, as the event's function takes it; nothing of crossviz runs here.

        Raises:
            gr.Error: it is not what the function takes.
        """
        if block_fn.fn is None:
            raise gr.Error(NOT_FROM_HERE, print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **options)
        except gr.Error as error:
            raise gr.Error(" ".join(error.message.split())[:400], print_exception=False) from None
        except InvalidPathError:
            raise gr.Error(NOT_UPLOADED, print_exception=False) from None
        except Exception as error:
            log.info("The values of a request were refused (%s).", type(error).__name__)
            raise gr.Error(WRONG_VALUES, print_exception=False) from None


async def _not_as_declared(_: Request, error: Exception) -> JSONResponse:
    """Where the body is not as the route declares it: which part, but not its value, which may be no JSON."""
    places = [".".join(map(str, each["loc"])) for each in error.errors()[:3]]
    named = ", ".join(place.encode("utf-8", "replace").decode()[:60] for place in places)
    return JSONResponse({"detail": f"{NO_REQUEST} See {named}."}, 422)


async def _tripped_over(request: Request, error: Exception) -> JSONResponse:
    """What a route of Gradio's raised while it took the request apart."""
    if is_full(error):
        raise error  # no fault of the request's: `VisitGuard` says so
    log.warning("A request was refused: %s in %.60s.", type(error).__name__, _route(request))
    return JSONResponse({"detail": NO_REQUEST}, 400)


def _route(request: Request) -> str:
    """As Gradio writes it, without what a visitor put into its places."""
    return getattr(request.scope.get("route"), "path", "a route")


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    RequestValidationError: _not_as_declared,
    **dict.fromkeys(
        (FnIndexInferError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OSError), _tripped_over
    ),
}
"""For FastAPI: what answers to the errors that routes raise. Functions of crossviz run in the queue, not in a route."""


class Refusals:
    """ASGI middleware: what Gradio refuses is no fault of the server.

    An event that is run without the queue and refused with a sentence gets status 500 from Gradio, as any other error
    does; one without a sentence keeps it. A stream that nobody has asked for ends in an error after its beginning.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = route_path(scope["path"], scope.get("root_path", ""))
        run = path.startswith(("/gradio_api/run/", "/gradio_api/api/"))
        begun: list[Message] = []

        async def told(message: Message) -> None:
            if run and message["type"] == "http.response.start" and message["status"] == 500:
                begun.append(message)
                return
            if begun:
                start = begun.pop()
                refused = message.get("body", b"").startswith(b'{"error":"')
                await send({**start, "status": 422 if refused else 500})
            await send(message)

        try:
            await self._app(scope, receive, told)
        except RuntimeError as error:
            if not isinstance(error.__cause__, HTTPException):
                raise
            log.info("A stream was asked for that is not there.")  # it has begun: its status can't tell any more
            await send({"type": "http.response.body", "body": b""})
