"""Asks a running app as programs and as the page do, and keeps what came back word for word."""

import http.client
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Client"]

PATIENCE_S = 60.0
"""No answer within it is a hang."""


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP's status, the body, and of an event whether it is a result and what it holds."""

    status: int
    body: str
    result: Any = None
    error: str | None = None


class Client:
    """One connection to a server on this computer, for one thread."""

    def __init__(self, port: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any request.

        Raises:
            OSError: no answer in time, or the connection was closed.
        """
        for attempt in (1, 2):
            try:
                self._line.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
                answer = self._line.getresponse()
                return Answer(answer.status, answer.read().decode("utf-8", "replace"))
            except TimeoutError:
                self._line.close()
                raise
            except (http.client.HTTPException, OSError) as error:
                self._line.close()  # the server may close a connection that it keeps open; opened anew once
                if attempt == 2:
                    raise OSError(repr(error)) from error
        raise AssertionError

    def begin(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """A request whose answer may never end: its status and what comes at once, on a connection of its own."""
        line = http.client.HTTPConnection("127.0.0.1", self._line.port, timeout=PATIENCE_S)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            ends = answer.getheader("content-length") is not None
            return Answer(answer.status, answer.read().decode("utf-8", "replace") if ends else "")
        finally:
            line.close()

    def post(self, path: str, value: Any) -> Answer:
        """JSON to an address. Lone surrogates and NaN are sent as Python writes them."""
        return self.send("POST", path, value if isinstance(value, bytes) else json.dumps(value).encode())

    def upload(self, data: bytes, name: str = "photo.jpg") -> str:
        """Upload a file; its path on the server."""
        edge = secrets.token_hex(16)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        answer = self.send(
            "POST", "/gradio_api/upload", body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
        )
        if answer.status != 200:
            raise OSError(f"The upload was refused ({answer.status}): {answer.body:.200}")
        return json.loads(answer.body)[0]

    def call(self, name: str, data: Any) -> Answer:
        """Ask an endpoint of the API, as docs/api.md says."""
        asked = self.post(f"/gradio_api/call/{name}", {"data": data})
        if asked.status != 200:
            return asked
        told = self.send("GET", f"/gradio_api/call/{name}/{json.loads(asked.body)['event_id']}")
        event, value = "", None
        for line in told.body.splitlines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: ") and event in ("complete", "error"):
                value = json.loads(line[6:])
        if event == "complete":
            return Answer(told.status, told.body, result=value)
        said = value.get("error") if isinstance(value, dict) else value
        return Answer(told.status, told.body, error=str(said))

    def page_event(self, fn: int, data: list[Any], event_data: Any, session: str) -> Answer:
        """Trigger an event of the page."""
        asked = self.post(
            "/gradio_api/queue/join",
            {"fn_index": fn, "data": data, "event_data": event_data, "session_hash": session, "trigger_id": None},
        )
        if asked.status != 200:
            return asked
        told = self.send("GET", f"/gradio_api/queue/data?session_hash={session}")
        for line in told.body.splitlines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                output = message["output"]
                if message["success"]:
                    return Answer(told.status, told.body, result=output.get("data"))
                return Answer(told.status, told.body, error=str(output.get("error")))
        return Answer(told.status, told.body, error="no end of the event was told")
