"""The real app in a process of its own, and what it holds: memory, open files, files it left."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz import ROOT

__all__ = ["Holds", "Server", "serving"]

CACHE_MB = 16
"""Of encoded photos. So small that it is full before anything is measured."""
KEPT_MB = 256
"""Of what pages show: the least that can be set, since it is no leak."""
_TROUBLE = re.compile(r"crossviz does not know|Exception in ASGI|Fatal Python error|\bERROR\b")


@dataclass(frozen=True)
class Holds:
    """What a server holds at a moment."""

    mb: float
    files: int
    """Open file descriptors."""
    left: int
    """Files in its folder for temporary ones, and those of uploads and answers that were not finished."""

    def __str__(self) -> str:
        return f"{self.mb:.0f} MB, {self.files} files open, {self.left} left"


@dataclass
class Server:
    """A running app."""

    port: int
    process: subprocess.Popen
    folder: Path
    _read: int = 0

    def holds(self) -> Holds:
        """What it holds now; zeros where it is not Linux."""
        home = Path(f"/proc/{self.process.pid}")
        if not home.exists():
            return Holds(0, 0, 0)
        lines = (home / "status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        left = [path for path in (self.folder / "tmp").rglob("*") if path.is_file()]
        left += [*(self.folder / "uploads").glob("*/files/tmp*"), *(self.folder / "uploads").glob("*/files/part-*")]
        return Holds(kilobytes / 1024, len([*(home / "fd").iterdir()]), len(left))

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def trouble(self) -> list[str]:
        """What it wrote since the last time this was asked that a server must not write: the last line of each kind of
        traceback with where it came from, and lines that say ERROR, each with its number."""
        text = (self.folder / "log").read_bytes()
        new, self._read = text[self._read :].decode("utf-8", "replace"), len(text)
        found: Counter[str] = Counter()
        place, inside = "", False
        for line in new.splitlines():
            if line.startswith("Traceback"):
                inside = True
            elif inside and line.startswith("  File"):
                place = " ".join(line.split())
            elif inside and line and not line.startswith(" "):
                found[f"{line[:160]} ({place})"] += 1
                inside = False
            elif not inside and _TROUBLE.search(line):
                found[line[:200]] += 1
        return [f"{count} times: {said}" for said, count in found.most_common()]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """The app, warm, with folders of its own that are gone afterwards.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="crossviz-fuzz-") as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (folder / "tmp").mkdir()
        own = {
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "TMPDIR": str(folder / "tmp"),
            "CROSSVIZ_CACHE_MB": str(CACHE_MB),
            "CROSSVIZ_KEPT_MB": str(KEPT_MB),
            "HF_HUB_OFFLINE": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "app.py"]
            app = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                if not any("is ready" in line for line in app.stdout):
                    said = (folder / "log").read_text("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"The app did not start: {said}")
                yield Server(port, app, folder)
            finally:
                app.terminate()
                try:
                    app.wait(20)
                except subprocess.TimeoutExpired:
                    app.kill()
                    app.wait()
