"""All that whoever runs a server sees of it, put around a page as the settings say."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from crossviz.errors import CrossvizError
from crossviz.web.operations import logs
from crossviz.web.operations.health import HEALTH, LIVE, Health, HealthRoutes
from crossviz.web.operations.questions import ANSWERED, FAILED, Question, observe
from crossviz.web.operations.requests import Answered, Watch
from crossviz.web.server_settings import ServerSettings

if TYPE_CHECKING:
    import gradio as gr

    from crossviz.web.engine import Engine
    from crossviz.web.operations.metrics import Metrics

__all__ = ["Operations"]


class Operations:
    """Logs, health and metrics of one server; a context manager, which ends what it began.

    Args:
        engine: answers what visitors ask.
        page: complete, not yet launched.
        settings: what is wanted.
    """

    def __init__(self, engine: "Engine", page: "gr.Blocks", settings: ServerSettings) -> None:
        self._settings, self._ends = settings, []
        prefix = urlsplit(settings.root_path).path.rstrip("/")
        self._health = (Health(partial(_probe, engine, page), engine.about, settings.health_seconds), prefix)
        self._paths = [path for start in {"", prefix} for path in (start + HEALTH, start + LIVE)]
        requests: list[Callable[[Answered], None]] = []
        questions: list[Callable[[Question], None]] = []
        if settings.log != "off":
            requests.append(request_line)
            questions.append(question_line)
        self._metrics = None
        if settings.metrics_port is not None:
            self._metrics = _metrics()(engine, page)
            engine.on_pass = self._metrics.passed
            requests.append(self._metrics.request)
            questions.append(self._metrics.question)
        self._requests = requests
        if questions:
            observe(page, questions)

    def middleware(self) -> dict[str, list[tuple[Any, ...]]]:
        """ASGI middlewares as Starlette takes them, by where `crossviz.web.page.launch` puts them."""
        health, prefix = self._health
        watch = (Watch, (), {"sinks": self._requests, "routes": self._paths})
        return {
            "watching": [watch] if self._requests else [],
            "routes": [(HealthRoutes, (), {"health": health, "prefix": prefix})],
        }

    def __enter__(self) -> Self:
        if self._metrics is not None:
            self._ends.append(self._metrics.serve(self._settings.metrics_host, self._settings.metrics_port))
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end()


class StoppedError(CrossvizError):
    """Gradio's queue takes no question any more, until the server is started anew."""


def _probe(engine: "Engine", page: "gr.Blocks") -> None:
    """Explain the tiny photo, where questions come through.

    Raises:
        StoppedError: they don't.
    """
    if page._queue.stopped:
        raise StoppedError("The queue of questions has stopped: start the server again.")
    engine.probe()


def _metrics() -> "type[Metrics]":
    """Imported here, as it is seldom wanted.

    Raises:
        CrossvizError: the package that it needs is not installed.
    """
    try:
        from crossviz.web.operations.metrics import Metrics
    except ImportError as error:
        raise CrossvizError(
            "CROSSVIZ_METRICS_PORT needs the package prometheus_client: pip install prometheus_client, or unset it."
        ) from error
    return Metrics


def request_line(told: Answered) -> None:
    """Write a line of a request: of those that were answered well only where every request is wanted."""
    level = logging.DEBUG if told.status < 400 else logging.INFO if told.status < 500 else logging.ERROR
    logs.event(
        "request",
        level,
        method=told.method,
        route=told.route,
        status=told.status,
        ms=round(told.seconds * 1000, 1),
        bytes_in=told.bytes_in,
        bytes_out=told.bytes_out,
        error=told.error,
    )


def question_line(told: Question) -> None:
    """Write a line of a question: of those that no model worked on only where every request is wanted."""
    small = told.model is None and told.outcome == ANSWERED
    logs.event(
        "question",
        logging.ERROR if told.outcome == FAILED else logging.DEBUG if small else logging.INFO,
        question=told.name,
        outcome=told.outcome,
        model=told.model,
        method=told.method,
        ms=round(told.seconds * 1000, 1),
        waited_ms=None if told.waited is None else round(told.waited * 1000, 1),
        error=told.error,
    )
