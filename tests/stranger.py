"""What a stranger sends to the app, without a browser and without any client's good manners."""

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "FILE",
    "Reply",
    "answer_of",
    "ask",
    "call",
    "canary",
    "dependencies",
    "multipart",
    "raw",
    "request",
    "said",
    "upload",
]

FILE = {"meta": {"_type": "gradio.FileData"}}
_visits = count(1)


class Reply:
    """Status, headers (the last of several by one name; `all_headers` has them all) and body."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.body = status, body
        self.all_headers = [(name.lower(), value) for name, value in headers]
        self.headers = dict(self.all_headers)


def request(
    app: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, timeout: float = 60
) -> Reply:
    """One request on a connection of its own; the path goes out as it is. Of a stream, what came until the timeout."""
    connection = http.client.HTTPConnection(urlsplit(app).netloc, timeout=timeout)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True, skip_host="host" in (headers or {}))
        given = dict(headers or {})
        if isinstance(body, bytes) and "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(body)))
        for name, value in given.items():
            connection.putheader(name, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # the server has answered before it had the whole body
            connection.endheaders(body)
        answer = connection.getresponse()
        body = b""
        with suppress(TimeoutError):
            while part := answer.read1(65536):
                body += part
        return Reply(answer.status, answer.getheaders(), body)
    finally:
        connection.close()


def raw(app: str, data: bytes, *, more: Iterable[bytes] = (), timeout: float = 60) -> bytes:
    """All that comes back on a connection until the server closes it."""
    parts = urlsplit(app)
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as connection:
        came = b""
        with suppress(ConnectionError):
            connection.sendall(data)
            for piece in more:
                connection.sendall(piece)
            while part := connection.recv(65536):
                came += part
        return came


def multipart(parts: list[tuple[str, str | None, bytes]], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """A body of parts (field, file name or None, content), and its headers."""
    body = b""
    for field, name, content in parts:
        shown = "" if name is None else f'; filename="{name}"'
        body += f'--{boundary}\r\ncontent-disposition: form-data; name="{field}"{shown}\r\n\r\n'.encode()
        body += content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def upload(app: str, data: bytes, name: str = "photo.png") -> str:
    """The path under which the server keeps a file."""
    body, headers = multipart([("files", name, data)])
    reply = request(app, "POST", "/gradio_api/upload", body, headers)
    assert reply.status == 200, reply.body
    (path,) = json.loads(reply.body)
    return path


@cache
def dependencies(app: str) -> dict[str, int]:
    """The page's events by name, also those that are not for programs."""
    config = json.loads(request(app, "GET", "/config").body)
    return {event["api_name"]: event["id"] for event in config["dependencies"]}


def ask(app: str, event: str, data: list[Any], event_data: Any = None) -> dict[str, Any]:
    """What the server answers at the end to an event of the page."""
    visit = f"stranger{next(_visits)}"
    sent = {"data": data, "event_data": event_data, "fn_index": dependencies(app)[event], "session_hash": visit}
    reply = request(
        app, "POST", "/gradio_api/queue/join", json.dumps(sent).encode(), {"content-type": "application/json"}
    )
    assert reply.status == 200, reply.body
    stream = request(app, "GET", f"/gradio_api/queue/data?session_hash={visit}").body.decode()
    messages = [json.loads(line[5:]) for line in stream.split("\n") if line.startswith("data:")]
    (done,) = [message for message in messages if message["msg"] == "process_completed"]
    return done


def said(done: dict[str, Any]) -> str:
    """All that an answer says, as one text: the values it fills in, or its error."""
    return json.dumps(done["output"], ensure_ascii=False)


def call(app: str, name: str, data: list[Any]) -> str:
    """All that comes back from an endpoint of the API, as text."""
    headers = {"content-type": "application/json"}
    reply = request(app, "POST", f"/gradio_api/call/{name}", json.dumps({"data": data}).encode(), headers)
    assert reply.status == 200, reply.body
    event = json.loads(reply.body)["event_id"]
    return request(app, "GET", f"/gradio_api/call/{name}/{event}").body.decode()


def answer_of(text: str) -> Any:
    """The value that an endpoint of the API gave."""
    assert "event: complete" in text, text
    return json.loads(text.rpartition("data: ")[2])[0]


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that nobody should ask, and the paths that it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if "redirect" in self.path else 200)
            self.send_header("location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
