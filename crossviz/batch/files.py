"""Writing so that a stop at any moment leaves either the old state or the new one, and one writer at a time."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crossviz.errors import DatasetError

__all__ = ["locked", "place", "remove", "sync", "sync_folder", "write_whole"]


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock until the end; the system frees it when the process ends, however it ends.

    Raises:
        DatasetError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: there two runs must not be started into one folder
        yield
        return
    with file.open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"Another run is writing into {file.parent}: wait for it, stop it, or choose another folder."
            ) from None
        except OSError:  # a file system without locks, as some that are shared
            pass
        yield


def write_whole(file: Path, data: bytes, temporary: Path) -> None:
    """Write a file whole or not at all, by way of a temporary file on the same disk."""
    with temporary.open("wb") as opened:
        opened.write(data)
    sync(temporary)
    os.replace(temporary, file)
    sync_folder(file.parent)


def place(made: Path, where: Path, aside: Path) -> None:
    """Move a finished file or folder to where it belongs; what is there, of an earlier attempt, goes to `aside`."""
    number = 0
    while True:
        try:
            os.replace(made, where)
            break
        except OSError:
            if not where.is_dir() or number > 9:
                raise
        number += 1
        with contextlib.suppress(FileNotFoundError):  # one that does the same was faster
            os.rename(where, aside.with_name(f"{aside.name}-{number}"))
    sync_folder(where.parent)


def sync(path: Path) -> None:
    """Bring a file, or a folder with all in it, to the disk."""
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        if each.is_dir():
            sync_folder(each)
        else:
            _sync(each)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system lets one."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing where there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
