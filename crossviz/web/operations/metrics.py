"""Figures of a running server in the format of Prometheus, on a port of their own.

The page's port is open to everyone, and what a server is asked is nobody else's business: so there are no metrics
there. Labels hold routes' templates and names from crossviz's lists, of which there are only so many.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from crossviz.version import __version__
from crossviz.web.operations.questions import Question
from crossviz.web.operations.requests import Answered

if TYPE_CHECKING:
    import gradio as gr

    from crossviz.web.engine import Engine

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PHOTOS = (1, 2, 4, 8, 16, 32, 64)
NONE = "none"
"""The label of what there is none of."""


class Metrics:
    """Counts what happens in one server.

    Args:
        engine, page: whose state is read whenever the metrics are asked for.
    """

    def __init__(self, engine: "Engine", page: "gr.Blocks") -> None:
        disable_created_metrics()  # else every counter comes with the time at which it began
        self.registry = registry = CollectorRegistry()

        def make(kind: Callable[..., Any], name: str, about: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"crossviz_{name}", about, labels, registry=registry, **more)

        route = ("method", "route", "status")
        self._requests = make(Counter, "http_requests", "Requests that were answered.", route)
        self._latency = make(
            Histogram, "http_request_seconds", "Until all of an answer was sent.", ("route",), buckets=SECONDS
        )
        self._bytes = make(Counter, "http_bytes", "Bytes of bodies.", ("direction",))
        self._questions = make(
            Counter, "questions", "Questions that were worked on.", ("question", "model", "method", "outcome")
        )
        self._seconds = make(
            Histogram, "question_seconds", "Work on a question, without the queue.", ("question",), buckets=SECONDS
        )
        self._waits = make(
            Histogram, "queue_wait_seconds", "A question's time in the queue.", ("question",), buckets=SECONDS
        )
        self._errors = make(Counter, "errors", "What went wrong, by the class of the error.", ("where", "error"))
        self._photos = make(Histogram, "pass_photos", "Photos that a pass of a model took.", buckets=PHOTOS)
        make(Gauge, "info", "The version.", ("version",)).labels(__version__).set(1)
        registry.register(_State(engine, page))
        ProcessCollector(registry=registry)  # memory, CPU and start of the process, where the system tells them

    def request(self, told: Answered) -> None:
        """Count a request."""
        self._requests.labels(told.method, told.route, str(told.status)).inc()
        self._latency.labels(told.route).observe(told.seconds)
        self._bytes.labels("in").inc(told.bytes_in)
        self._bytes.labels("out").inc(told.bytes_out)
        if told.error is not None:
            self._errors.labels("request", told.error).inc()

    def question(self, told: Question) -> None:
        """Count a question."""
        self._questions.labels(told.name, told.model or NONE, told.method or NONE, told.outcome).inc()
        self._seconds.labels(told.name).observe(told.seconds)
        if told.waited is not None:
            self._waits.labels(told.name).observe(told.waited)
        if told.error is not None:
            self._errors.labels("question", told.error).inc()

    def passed(self, photos: int) -> None:
        """Count a pass of a model's image tower."""
        self._photos.observe(photos)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer scrapers from a thread; what is returned ends it."""
        server, thread = start_http_server(port, host, self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close


class _State:
    """What is read off the server whenever it is asked for."""

    def __init__(self, engine: "Engine", page: "gr.Blocks") -> None:
        self._engine, self._page, self._since = engine, page, time.monotonic()

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        photos, queue = self._engine.photos, self._page._queue

        def gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"crossviz_{name}", about, value=value)

        yield gauge("uptime_seconds", "Since the metrics began.", time.monotonic() - self._since)
        yield gauge("queue_length", "Questions that wait.", len(queue))
        yield gauge("queue_limit", "Questions that may wait.", self._engine.settings.queue)
        yield gauge("photo_cache_bytes", "Memory of the encoded photos that are kept.", photos.total)
        yield gauge("photo_cache_limit_bytes", "Memory that they may take.", photos.most)
        yield gauge("photo_cache_photos", "Encoded photos that are kept.", len(photos))
        found = CounterMetricFamily(
            "crossviz_photo_cache_lookups", "Questions, by whether their photo was there.", labels=["found"]
        )
        found.add_metric(["yes"], photos.hits)
        found.add_metric(["no"], photos.misses)
        yield found
        yield gauge("models_loaded", "Models in memory.", len(self._engine.names_loaded()))
