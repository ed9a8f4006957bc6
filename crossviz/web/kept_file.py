"""Files that are handed out: written whole or not at all, and kept as long as the visit that asked for them."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from gradio.processing_utils import hash_bytes

from crossviz.errors import CrossvizError
from crossviz.web.visits import current_visit, the_visits

__all__ = ["NO_ROOM", "is_full", "kept_file", "no_room"]

NO_ROOM = "The server has no room for this file just now: try again in some minutes. Your photo and caption are kept."


def kept_file(data: bytes, name: str) -> str:
    """Write a file where Gradio hands files out, under a hash of its content, which nobody else knows.

    Args:
        name: the file's own name.

    Returns:
        Its path.

    Raises:
        CrossvizError: there is no room.
    """
    visits = the_visits()
    folder = visits.folder / hash_bytes(data)
    path = folder / Path(name).name
    part = visits.folder / f"part-{secrets.token_hex(8)}"
    with no_room():
        try:
            part.write_bytes(data)
            folder.mkdir(exist_ok=True)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    visits.keep(folder.name, current_visit())
    return str(path)


def is_full(error: Exception) -> bool:
    """Whether it is how the system says that there is no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """What the system says of a full disk, as a sentence."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise CrossvizError(NO_ROOM) from error
