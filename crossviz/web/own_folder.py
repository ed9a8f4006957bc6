"""The one folder that this process writes to: nobody else's, gone when the server stops, swept when it was killed.

Gradio keeps what is uploaded and what is handed out in a folder of the whole computer. Here it is a folder of this
process, with a lock that the system lets go when the process ends, however it ends: the next start tells by it which
folders nobody needs any more.
"""

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType

from crossviz.errors import CrossvizError

__all__ = ["FILES", "own_folder", "remove_folder", "stop_on_sigterm", "sweep_folders"]

PREFIX, NEW = "crossviz-server-", ".crossviz-server-"
"""How the folders are called; and as long as they have no lock yet."""
FILES = "files"
"""The part of it that Gradio may hand out."""
_LOCK = "lock"
_UNFINISHED_S = 3600
CLEARING_S = 5.0
"""Seconds after SIGTERM in which another one changes nothing."""
_locks: list[int] = []
_made: list[tuple[int, str | None]] = []
"""The process that made the folder, and what `GRADIO_TEMP_DIR` was until then."""


@cache
def own_folder() -> Path:
    """The folder, made when first asked for, below `GRADIO_TEMP_DIR` or the system's folder for temporary files.

    From then on `GRADIO_TEMP_DIR` names its `FILES`.

    Raises:
        CrossvizError: it can't be made.
    """
    home = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    if home.name == FILES and home.parent.name.startswith(PREFIX):
        home = home.parent.parent  # started by such a process: beside its folder, not among its files
    try:
        home.mkdir(parents=True, exist_ok=True)
        sweep_folders(home)
        made = Path(tempfile.mkdtemp(prefix=NEW, dir=home))  # for this user alone
        _lock(made)
        folder = made.rename(home / made.name.replace(NEW, PREFIX, 1))  # the lock stays with it
        (folder / FILES).mkdir()
    except OSError as error:
        raise CrossvizError(
            f"The folder for temporary files, {str(home)[:200]}, can't be written to ({error.strerror}): make room "
            "there, or name another by GRADIO_TEMP_DIR."
        ) from None
    _made[:] = [(os.getpid(), os.environ.get("GRADIO_TEMP_DIR"))]
    os.environ["GRADIO_TEMP_DIR"] = str(folder / FILES)
    atexit.register(remove_folder)
    return folder


def remove_folder() -> None:
    """Delete what this process wrote, and let the next who asks have a new folder."""
    if not own_folder.cache_info().currsize or _made[0][0] != os.getpid():
        return  # none was made, or by the process that this one was forked from
    shutil.rmtree(own_folder(), ignore_errors=True)
    own_folder.cache_clear()
    os.environ.pop("GRADIO_TEMP_DIR", None)
    if _made[0][1] is not None:
        os.environ["GRADIO_TEMP_DIR"] = _made[0][1]
    while _locks:
        os.close(_locks.pop())


def sweep_folders(home: Path) -> list[str]:
    """Delete the folders of processes that are gone, and return their names. One whose lock is held is left alone."""
    swept = []
    for folder in home.glob(PREFIX + "*"):
        with contextlib.suppress(OSError, ImportError):
            if folder.is_symlink() or not _mine(folder):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                _hold(lock)  # raises where a process still holds it
                shutil.rmtree(folder, ignore_errors=True)
                swept.append(folder.name)
            finally:
                os.close(lock)
    for folder in home.glob(NEW + "*"):  # killed between two lines of `own_folder`
        with contextlib.suppress(OSError):
            if not folder.is_symlink() and _mine(folder) and time.time() - folder.stat().st_mtime > _UNFINISHED_S:
                shutil.rmtree(folder, ignore_errors=True)
    return swept


def stop_on_sigterm() -> Callable[[], object]:
    """Let SIGTERM, by which containers are stopped, end the server as Ctrl+C does, with nothing left behind. Only the
    main thread may; elsewhere nothing changes.

    Returns:
        What sets it back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    said = -CLEARING_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal said
        if time.monotonic() - said > CLEARING_S:  # not while it clears away
            said = time.monotonic()
            raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    return lambda: signal.signal(signal.SIGTERM, before)


def _lock(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder with an open file can't be renamed there, and nothing is swept
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    _hold(lock)
    _locks.append(lock)  # open as long as the process lives


def _hold(lock: int) -> None:
    """Lock a file.

    Raises:
        OSError: another process holds it, or the file system has no locks.
        ImportError: the system has none.
    """
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _mine(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
