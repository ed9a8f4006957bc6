"""The app in a process of its own, that notes where it connects to, and a reverse proxy before it."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from watched import free_port

__all__ = ["App", "proxy", "started"]

ROOT = Path(__file__).resolve().parents[2]
_GUARDED = """
import atexit, os, sys
told = open(sys.argv[1], "a", buffering=1)
OURS = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)
def note(event, args):
    if event == "socket.connect":
        address = args[1]
        if isinstance(address, tuple) and address[0] not in OURS:
            told.write(f"connect {address}\\n")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        name = args[0] if event != "socket.sendto" else args[1]
        name = name.decode() if isinstance(name, bytes) else name
        if name not in OURS and (not isinstance(name, tuple) or name[0] not in OURS):
            told.write(f"{event} {name}\\n")
sys.addaudithook(note)
told.write("watching\\n")
sys.argv[:] = ["app.py"]
sys.path.insert(0, os.getcwd())
import app
app.main()
"""


class App:
    """A running app.

    `url` is its own address; `elsewhere()` lists connections to other computers and look-ups of their names.
    """

    def __init__(self, port: int, process: subprocess.Popen, told: Path, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port, self.process, self._told, self.log_file = port, process, told, log

    def elsewhere(self) -> list[str]:
        first, *rest = self._told.read_text("utf-8").splitlines()
        assert first == "watching"
        return rest

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def resident(self) -> int:
        """Bytes of memory in use."""
        (size,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text("utf-8"))
        return int(size) << 10

    def peak(self) -> int:
        """Most bytes of memory in use at any time."""
        (size,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text("utf-8"))
        return int(size) << 10


@contextmanager
def started(**environment: str) -> Iterator[App]:
    """The app as `python app.py` starts it, warm."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="crossviz-app-") as folder:
        told, log = Path(folder) / "told.txt", Path(folder) / "log.txt"
        given = {**os.environ, "GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1", **environment}
        given.pop("HF_HUB_OFFLINE", None)  # as a visitor's own computer would start it
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _GUARDED, str(told)], cwd=ROOT, env=given, stdout=output, stderr=output
            )
        try:
            for _ in range(1200):
                if "is ready at" in log.read_text("utf-8", "replace"):
                    break
                assert process.poll() is None, log.read_text("utf-8", "replace")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            yield App(port, process, told, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


@contextmanager
def proxy(upstream: int, prefix: str, passing: list | None = None, **added: str) -> Iterator[str]:
    """The address of a reverse proxy that takes the prefix off, passes the host on, and adds headers.

    Args:
        passing: every path and the client's connection are added to it, so that a test can break one off.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        given = (upstream, prefix, added, [] if passing is None else passing)
        threading.Thread(target=_serve, args=(listening, *given), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}{prefix}"


def _serve(listening: socket.socket, *given) -> None:
    with suppress(OSError):  # closed: the test is over
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_pass_on, args=(client, *given), daemon=True).start()


def _pass_on(client: socket.socket, upstream: int, prefix: str, added: dict[str, str], passing: list) -> None:
    with closing(client), suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(65536)
            if not part:
                return
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        request, *headers = head.decode("latin-1").split("\r\n")
        method, path, version = request.split(" ")
        if not path.startswith(prefix + "/"):
            status = b"204 No Content" if path == "/favicon.ico" else b"404 Not Found"  # the host's own, not ours
            client.sendall(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        passing.append((path, client))
        kept = [header for header in headers if not header.lower().startswith("connection:")]
        kept += [f"{name.replace('_', '-')}: {value}" for name, value in {**added, "connection": "close"}.items()]
        sent = "\r\n".join([f"{method} {path[len(prefix) :]} {version}", *kept, "", ""])
        with socket.create_connection(("127.0.0.1", upstream)) as server:
            server.sendall(sent.encode("latin-1") + body)
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()
            _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
