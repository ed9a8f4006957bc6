"""Clients of a running crossviz, as docs/api.md describes them: upload a photo, ask, read the answer.

Each is a thread with one connection that it keeps open; it does nothing else, so that many of them cost little.
"""

import http.client
import io
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["SCENARIOS", "Client", "Record", "drive", "jain"]

SCENARIOS: dict[str, float] = {"new photo": 1.0, "another caption": 0.0, "30 % new photos": 0.3}
"""The share of requests with a photo that the server has not seen; the others ask the client's own photo again."""
PATIENCE_S = 300
_numbers = itertools.count()
_WORDS = ("dog", "cat", "cup", "rocket", "helmet", "table", "face", "camera", "hand", "flag", "suit", "spoon")


@dataclass
class Record:
    """What one client met with while it was measured."""

    seconds: list[float] = field(default_factory=list)
    """Of every request that was answered, from its first byte to its answer."""
    in_time: int = 0
    """Those that were answered within the time window."""
    refused: int = 0
    """The queue was full."""
    failed: int = 0
    """Any other answer than an explanation."""
    told: str = ""
    """What the last of those said."""


class Client:
    """Asks one request after the other.

    Args:
        port: of the server, on this computer.
        base: the photo that every new one differs from in a small patch.
        share_new: the share of requests with a new photo.
        seed: of which are new, and of what is asked.
    """

    def __init__(self, port: int, base: np.ndarray, share_new: float, seed: int) -> None:
        self._port, self._base, self._share = port, base, share_new
        self._rng = random.Random(seed)
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._path = ""
        self.record = Record()

    def begin(self) -> None:
        """Have the server read this client's own photo."""
        self._path = self._upload(self._photo())
        self._explain()
        self._line.close()  # the others may take so long that the server would close it

    def ask(self, until: float) -> None:
        """One request, put down in the record.

        Args:
            until: when the window ends, on `time.perf_counter`.
        """
        photo = self._photo() if self._rng.random() < self._share else None  # made before the clock starts
        started = time.perf_counter()
        try:
            if photo is not None:
                self._path = self._upload(photo)
            status = self._explain()
        except (OSError, http.client.HTTPException) as error:
            self._line.close()  # opened anew by the next request
            status, self.record.told = 0, repr(error)
        ended = time.perf_counter()
        if status == 200:
            self.record.seconds.append(ended - started)
            self.record.in_time += ended <= until
        elif status == 503:
            self.record.refused += 1
            time.sleep(0.1)
        else:
            self.record.failed += 1
            time.sleep(0.1)

    def close(self) -> None:
        self._line.close()

    def _photo(self) -> bytes:
        """A JPEG that no request sent before."""
        rng = np.random.default_rng(next(_numbers))
        pixels = self._base.copy()
        top, left = (int(rng.integers(0, side // 16)) * 16 for side in pixels.shape[:2])
        pixels[top : top + 16, left : left + 16] = rng.integers(0, 256, (4, 4, 3)).repeat(4, 0).repeat(4, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def _upload(self, photo: bytes) -> str:
        edge = "crossviz-load"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="p.jpg"\r\n\r\n'
        body = head.encode() + photo + f"\r\n--{edge}--\r\n".encode()
        status, answer = self._send("POST", "upload", body, f"multipart/form-data; boundary={edge}")
        if status != 200:
            raise http.client.HTTPException(f"upload: {status}")
        return json.loads(answer)[0]

    def _explain(self) -> int:
        """Ask about the photo; 200 for an explanation, 500 for an error that the server says, else HTTP's status."""
        caption = f"a {self._rng.choice(_WORDS)} and a {self._rng.choice(_WORDS)}, number {self._rng.randrange(10**6)}"
        photo: dict[str, Any] = {"path": self._path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [photo, caption, "", ""]}).encode()
        status, answer = self._send("POST", "call/explain", body, "application/json")
        if status != 200:
            return status
        status, answer = self._send("GET", f"call/explain/{json.loads(answer)['event_id']}")
        if status == 200 and b"event: complete" not in answer:
            self.record.told = answer.decode(errors="replace")
            return 500
        return status

    def _send(self, verb: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        headers = {"content-type": kind} if body is not None else {}
        self._line.request(verb, f"/gradio_api/{path}", body, headers)
        answer = self._line.getresponse()
        return answer.status, answer.read()


def drive(
    port: int, photo: Path, share_new: float, count: int, seconds: float, gauge: Callable[[], float]
) -> tuple[list[Record], float]:
    """Let clients ask for a while, all from the same moment on; each finishes what it began.

    Args:
        port: of the server, on this computer.
        photo: what new photos are made of.
        share_new: the share of requests with a new photo.
        count: of clients.
        seconds: the time window.
        gauge: read at the beginning of the window, and when the last client has its last answer.

    Returns:
        Every client's record, and by how much the gauge went up.
    """
    base = np.asarray(Image.open(photo).convert("RGB"))
    clients = [Client(port, base, share_new, seed) for seed in range(count)]
    window: list[float] = []
    start = threading.Barrier(count, action=lambda: window.extend((time.perf_counter() + seconds, gauge())))
    broken: list[BaseException] = []

    def run(client: Client) -> None:
        try:
            client.begin()
            start.wait()
            while time.perf_counter() < window[0]:
                client.ask(window[0])
        except BaseException as error:
            broken.append(error)
            start.abort()
        finally:
            client.close()

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return [client.record for client in clients], gauge() - window[1]


def jain(counts: list[int]) -> float:
    """Jain's index of fairness: 1 where all got the same, 1/n where one got everything."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 1.0
