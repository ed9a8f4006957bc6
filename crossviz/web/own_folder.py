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
_locks: list[int] = []


@cache
def own_folder() -> Path:
    """The folder, made when first asked for, below `GRADIO_TEMP_DIR` or the system's folder for temporary files.

    From then on `GRADIO_TEMP_DIR` names its `FILES`.

    Raises:
        CrossvizError: it can't be made.
    """
    home = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
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
    os.environ["GRADIO_TEMP_DIR"] = str(folder / FILES)
    atexit.register(remove_folder)
    return folder


def remove_folder() -> None:
    """Delete what this process wrote."""
    if own_folder.cache_info().currsize:
        shutil.rmtree(own_folder(), ignore_errors=True)


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


def stop_on_sigterm() -> None:
    """Let SIGTERM, by which containers are stopped, end the server as Ctrl+C does, with nothing left behind. Only the
    main thread may; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)


def _lock(folder: Path) -> None:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(ImportError):  # Windows: nothing is swept there either
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
