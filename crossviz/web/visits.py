"""Who is on the page, and which files are whose: they are deleted when the last visit that needs them is over.

A visit is known by Gradio's `session_hash`. It goes on as long as the page holds its line to the server open (Gradio's
heartbeat); one without such a line, a program's, goes on for some minutes after its last question.
"""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from gradio.context import LocalContext

from crossviz.web.examples import EXAMPLES
from crossviz.web.own_files import MOST_FILES, real_path
from crossviz.web.own_folder import FILES, own_folder
from crossviz.web.owners import Owners

__all__ = ["AWAY_S", "GRACE_S", "MOST_NAME", "Visits", "current_visit", "still_waits", "the_visits"]

AWAY_S = 600.0
"""How long a visit without a line goes on after its last question, and what is in no visit is kept after it was used
last: long enough to fetch an answer's file."""
GRACE_S = 3.0
"""How long the line may be interrupted."""
MOST_VISITS = 10_000
"""Visits that are remembered at a time: there are far fewer connections, so no page is forgotten."""
MOST_NAME = 64
"""Characters of a visit's number: Gradio's have 11, those of its Python client 36."""
_PART = re.compile(r"tmp\w{8}")
"""How Gradio calls what is still being uploaded, which `uploads.py` deletes where nothing becomes of it."""


@dataclass
class _Visit:
    heard: float
    lines: int = 0
    streams: int = 0
    hung_up: bool = False


class Visits:
    """The visits of this process and their files.

    Args:
        folder: where the files are; what lies side by side in it is kept and deleted as a whole.
        clock: seconds that only go forward.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._clock = clock
        self._visits: dict[str, _Visit] = {}
        self._files: Owners[str] = Owners(clock)
        self._named: dict[str, float] = {}
        self._lock = threading.Lock()

    def came(self, visit: str) -> None:
        """A page opened its line."""
        with self._lock:
            known = self._known(visit)
            known.lines, known.hung_up = known.lines + 1, False

    def left(self, visit: str) -> None:
        """A line was closed, or lost."""
        with self._lock:
            known = self._visits.get(visit)
            if known is not None:
                known.lines = max(0, known.lines - 1)
                known.heard, known.hung_up = self._clock(), known.lines == 0

    def reads(self, visit: str, more: int) -> bool:
        """A stream of answers was opened (1), or ended (-1): as long as there is one, someone waits; returns whether
        there is such a visit."""
        with self._lock:
            known = self._visits.get(visit)
            if known is not None:
                known.streams, known.heard = max(0, known.streams + more), self._clock()
            return known is not None

    def asked(self, visit: str) -> bool:
        """A question came; returns whether the page has a line open."""
        with self._lock:
            known = self._known(visit)
            if not known.lines:
                known.heard, known.hung_up = self._clock(), False
            return known.lines > 0

    def _known(self, visit: str) -> _Visit:
        """To be called with the lock held. Of too many, the first without a page is forgotten."""
        if visit not in self._visits and len(self._visits) >= MOST_VISITS:
            idle = (name for name, each in self._visits.items() if not each.lines and not each.streams)
            self._visits.pop(next(idle, None), None)
        return self._visits.setdefault(visit, _Visit(self._clock()))

    def known(self, visit: str | None) -> str | None:
        """The visit if there was ever a sign of it, else None."""
        return visit if visit in self._visits else None

    def here(self, visit: str) -> bool:
        """Whether a visit goes on."""
        known = self._visits.get(visit)
        if known is None:
            return False
        if known.lines or known.streams:
            return True
        return self._clock() - known.heard < (GRACE_S if known.hung_up else AWAY_S)

    def open(self, visit: str) -> bool:
        """Whether a visit's page holds its line open, or lost it a moment ago."""
        known = self._visits.get(visit)
        return known is not None and (known.lines > 0 or (known.hung_up and self.here(visit)))

    def __len__(self) -> int:
        return sum(self.here(visit) for visit in list(self._visits))

    def uses(self, said: Any, visit: str | None) -> None:
        """A question names files: they are kept for its visit.

        Args:
            said: the question, as JSON.
        """
        for name in islice(dict.fromkeys(self._entries(said)), MOST_FILES):
            self.keep(name, visit)

    def keep(self, name: str, visit: str | None) -> None:
        """A file, or a folder of files, is used in a visit.

        Args:
            name: what lies in `folder`.
        """
        if os.path.exists(self.folder / name):  # no error for what can be no name
            self._named[name] = time.time()
            self._files.use(name, visit)

    def sweep(self) -> list[str]:
        """Forget the visits that are over, and delete the files that nobody needs; returns their paths."""
        with self._lock:
            # A visit that is over is remembered a while, so that what still goes on in it is not taken for nobody's.
            for visit, known in list(self._visits.items()):
                if not self.here(visit) and self._clock() - known.heard > 2 * AWAY_S:
                    del self._visits[visit]
        with contextlib.suppress(FileNotFoundError):
            names = [entry.name for entry in os.scandir(self.folder)]
            self._files.found(name for name in names if name != EXAMPLES and not _PART.fullmatch(name))
        deleted = []
        for name in self._files.over(self.here, AWAY_S):
            if name == EXAMPLES or name in self._files:  # named again meanwhile
                continue
            if _changed(self.folder / name) > self._named.pop(name, 0.0) > 0:
                self._files.use(name, None)  # sent again a moment ago, and not yet asked about
                continue
            deleted += _delete(self.folder / name)
        return deleted

    def gone(self, *said: Any) -> Iterator[str]:
        """The paths of files that are named and not there; whether there is one elsewhere on this computer is not said.

        Args:
            said: parts of a question, as JSON. Of more files than a question may name the first are looked at.
        """
        return islice(self._gone(*said), MOST_FILES)

    def _gone(self, *said: Any) -> Iterator[str]:
        for part in said:
            if isinstance(part, dict) and isinstance(part.get("path"), str):
                if part["path"].lower().startswith(("http:", "https:")):
                    continue  # nothing is fetched; what is said of it stands in `own_files`
                path = real_path(part["path"], str(self.folder))
                if path is None or not os.path.isfile(path):
                    yield part["path"]
            elif isinstance(part, dict | list):
                yield from self._gone(*(part.values() if isinstance(part, dict) else part))

    def without_gone(self, said: Any) -> Any:
        """A question in which every file that is not there is named as one that was in `folder` once."""
        if isinstance(said, dict):
            if isinstance(said.get("path"), str):
                return {**said, "path": str(self.folder / "gone")} if any(self.gone(said)) else said
            return {name: self.without_gone(part) for name, part in said.items()}
        return [self.without_gone(part) for part in said] if isinstance(said, list) else said

    def _entries(self, said: Any) -> Iterator[str]:
        """The first part of every path within the folder that stands anywhere in a value."""
        home = f"{self.folder}{os.sep}"
        if isinstance(said, str):
            _, found, rest = said.partition(home)
            name = rest.partition(os.sep)[0]
            if found and name not in ("", ".", ".."):
                yield name
        elif isinstance(said, dict | list):
            for part in said.values() if isinstance(said, dict) else said:
                yield from self._entries(part)


def the_visits() -> Visits:
    """The visits of this process."""
    return _visits_in(own_folder() / FILES)


@lru_cache(maxsize=1)
def _visits_in(folder: Path) -> Visits:
    return Visits(folder.resolve())


def current_visit() -> str | None:
    """The visit that is being answered in this thread; None for a program's question that belongs to none."""
    request = LocalContext.request.get(None)
    return the_visits().known(getattr(request, "session_hash", None))


def still_waits() -> bool:
    """Whether the one who asked what is being answered in this thread is still there for the answer."""
    page, event = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    found = None if page is None or event is None else page._queue.event_ids_to_events.get(event)
    return found is None or found.alive


def _changed(entry: Path) -> float:
    """When a file in a folder, or the file itself, was put there last."""
    try:
        return max((part.stat().st_ctime for part in (entry.iterdir() if entry.is_dir() else [entry])), default=0.0)
    except OSError:
        return 0.0


def _delete(entry: Path) -> list[str]:
    if entry.is_dir() and not entry.is_symlink():
        paths = [str(path) for path in entry.rglob("*")]
        shutil.rmtree(entry, ignore_errors=True)
        return paths
    entry.unlink(missing_ok=True)
    return [str(entry)]
