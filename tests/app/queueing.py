"""Questions to the running app's queue, and pages that hold their line open, without a browser."""

import http.client
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from stranger import FILE, Reply, dependencies, request, upload

from crossviz.web.visits import the_visits

__all__ = ["JSON", "PATIENCE_S", "answers", "join", "nothing", "open_pages", "picture", "question", "read", "wait_for"]

PATIENCE_S = 20
JSON = {"content-type": "application/json"}


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "It never came true."
        time.sleep(0.02)


@contextmanager
def open_pages(app: str) -> Iterator[Callable[[str], None]]:
    """`opened(visit)`: a page of that visit whose line to the server is open until the end."""
    lines = []

    def opened(visit: str) -> None:
        lines.append(http.client.HTTPConnection(urlsplit(app).netloc, timeout=PATIENCE_S))
        lines[-1].request("GET", f"/gradio_api/heartbeat/{visit}")
        lines[-1].getresponse()
        wait_for(lambda: the_visits().open(visit))

    yield opened
    for line in lines:
        line.close()


def picture() -> bytes:
    """A photo that nobody sent before, and that has to be worked on."""
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 256, (40, 60, 3), np.uint8)).save(png, "PNG")
    return png.getvalue()


def question(app: str) -> list:
    """What an explanation is asked with."""
    return [{"path": upload(app, picture()), **FILE}, "a dog and a cat", "", ""]


def join(app: str, visit: str, event: str | int, data: list, event_data: object = None) -> Reply:
    """An event of a visit's page, by its name or its number."""
    number = dependencies(app)[event] if isinstance(event, str) else event
    body = {"data": data, "fn_index": number, "session_hash": visit, "event_data": event_data}
    return request(app, "POST", "/gradio_api/queue/join", json.dumps(body).encode(), JSON)


def nothing(served, visit: str) -> Reply:
    """A question with a tiny answer: there is nothing on the server that it asks."""
    return join(served.url, visit, next(number for number, fn in served.fns.items() if fn.fn is None), [])


def read(app: str, visit: str) -> list[dict]:
    """What a visit's stream says until it ends."""
    text = request(app, "GET", f"/gradio_api/queue/data?session_hash={visit}").body.decode()
    return [json.loads(line[5:]) for line in text.split("\n") if line.startswith("data:")]


def answers(app: str, visit: str) -> list[bool]:
    """Of each answer in a visit's stream, whether it is one."""
    return [told["success"] for told in read(app, visit) if told["msg"] == "process_completed"]
