"""A program that asks a running crossviz through its API, and what it may be answered; for `benchmarks.faults`."""

import http.client
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Client", "Row", "ended", "files_below", "memory_mb", "photo", "wait_for"]

PATIENCE_S = 300
IDLE_S = 2.0
"""How long a connection may be idle; the server's own limit is 5 seconds."""


@dataclass(frozen=True)
class Row:
    """One fault, and whether all went as it should."""

    fault: str
    done: str
    expected: str
    seen: str
    ok: bool

    def __str__(self) -> str:
        cells = (self.fault, self.done, self.expected, self.seen, "ok" if self.ok else "**not ok**")
        return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"


@dataclass(frozen=True)
class Answer:
    """What came of a question."""

    status: int
    data: Any = None
    """What the endpoint gave, where it did."""
    error: str = ""
    """Its sentence, where it refused."""
    retry_after: str | None = None


class Client:
    """One connection, kept open.

    Args:
        port: of the server, on this computer.
    """

    def __init__(self, port: int) -> None:
        self._used = time.monotonic()
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def send(self, verb: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes, Any]:
        """Status, body and headers."""
        if time.monotonic() - self._used > IDLE_S:
            self.line.close()  # before the server does; opened anew by the request
        self.line.request(verb, f"/gradio_api/{path}", body, {"content-type": kind} if body is not None else {})
        answer = self.line.getresponse()
        found = answer.status, answer.read(), answer.headers
        self._used = time.monotonic()
        return found

    def upload(self, content: bytes, name: str = "p.jpg") -> tuple[int, str]:
        """Status, and the path on the server or why there is none."""
        head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--edge--\r\n"
        status, said, _ = self.send("POST", "upload", body, "multipart/form-data; boundary=edge")
        return status, json.loads(said)[0] if status == 200 else said.decode(errors="replace")

    def begin(self, endpoint: str, *data: Any) -> tuple[int, str, Any]:
        """Status, the event or the sentence, and headers."""
        body = json.dumps({"data": list(data)}).encode()
        status, said, headers = self.send("POST", f"call/{endpoint}", body, "application/json")
        told = json.loads(said)
        return status, told.get("event_id") or str(told.get("detail")), headers

    def ask(self, endpoint: str, *data: Any) -> Answer:
        """A question and its answer."""
        status, event, headers = self.begin(endpoint, *data)
        if status != 200:
            return Answer(status, error=event, retry_after=headers.get("retry-after"))
        status, said, _ = self.send("GET", f"call/{endpoint}/{event}")
        found = re.search(r"event: (complete|error)\ndata: (.*)", said.decode())
        if not found:
            return Answer(status, error=said.decode()[:200])
        told = json.loads(found[2])
        if found[1] == "complete":
            return Answer(status, told)
        return Answer(status, error=str((told or {}).get("error")))

    def close(self) -> None:
        self.line.close()


def photo(path: str) -> dict[str, Any]:
    """An uploaded photo as an endpoint takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def wait_for(true: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something becomes true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def files_below(folder: Path) -> set[str]:
    """All files but the examples and the lock, from the process's folder on."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "/examples/" not in name and not name.endswith("/lock")}


def memory_mb(process: int) -> float:
    """What a process holds in memory now, where Linux says it; else 0."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def ended(process: int) -> bool:
    """Whether a process of ours is gone."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
