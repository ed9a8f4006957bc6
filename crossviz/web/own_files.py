"""Files that a visitor names: only what was uploaded to this server, and nothing is ever fetched for anyone."""

import os
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_upload_folder

from crossviz.errors import PhotoError

__all__ = ["MOST_FILES", "NOT_FETCHED", "OwnFiles", "own_path", "real_path"]

NOT_FETCHED = (
    "This server fetches nothing from other addresses: send the photo itself (in Python by "
    "gradio_client.handle_file with a path on your computer)."
)
_NONE = "There is no such uploaded photo on this server: upload it (again)."
_HANDED_OUT = "/gradio_api/file="
_MOST_PATH = 1024
"""Characters of a path: each of its parts is looked up, while everyone waits."""
MOST_FILES = 32
"""Files that a question names at most."""


def own_path(name: Any) -> str:
    """The path of an uploaded file, by its path or by the address under which this server hands it out.

    Raises:
        PhotoError: it is somewhere else, or there is none.
    """
    path = _among_own(name)
    if not os.path.isfile(path):
        raise PhotoError(_NONE)
    return path


def _among_own(name: Any) -> str:
    """The same, whether there is still such a file or not."""
    text = name if isinstance(name, str) else ""
    if text.lower().startswith(("http:", "https:")):
        # Not urlsplit, which raises for addresses that are none: what counts is what stands behind our own mark.
        text = unquote(text.partition("?")[0].partition(_HANDED_OUT)[2])
        if not text:
            raise PhotoError(NOT_FETCHED)
    path = real_path(text, os.path.realpath(get_upload_folder()))
    if path is None:
        raise PhotoError(_NONE)
    return path


def real_path(name: str, folder: str) -> str | None:
    """The real path of what lies in a folder, links followed; None for what lies elsewhere, which is not looked up.

    Args:
        name: a path that a client sent.
        folder: its own real path.
    """
    text = name.replace("\0", "").encode("utf-8", "replace").decode()
    home = folder + os.sep
    if len(text) > _MOST_PATH or not os.path.normpath(text).startswith(home):
        return None
    path = os.path.realpath(text)
    return path if path.startswith(home) else None


class OwnFiles(gr.Blocks):
    """Blocks whose events take no file but those that were uploaded here.

    Gradio looks at what is marked as a file only: it fetches the address in one, for any component, and a photo that
    lacks the mark is read from wherever its path leads.
    """

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """As `gr.Blocks` does it, with every file that a client names looked at before."""
        try:
            if sum(map(_files, inputs)) > MOST_FILES:
                raise PhotoError(f"A question names {MOST_FILES} files at most.")
            looked_at = [_own_only(value) for value in inputs]
        except PhotoError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return await super().preprocess_data(block_fn, looked_at, state, explicit_call)


def _files(value: Any) -> int:
    """How many files a client named."""
    if isinstance(value, dict) and value.get("path") is not None:
        return 1
    if isinstance(value, dict | list):
        return sum(map(_files, value.values() if isinstance(value, dict) else value))
    return 0


def _own_only(value: Any) -> Any:
    """What a client sent, its files by their real paths and with no address but `data:`.

    Raises:
        PhotoError: a file lies elsewhere.
    """
    if isinstance(value, list):
        return [_own_only(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.get("path") is None:
        return {key: _own_only(entry) for key, entry in value.items()}
    url = value.get("url")
    inline = isinstance(url, str) and url.startswith("data:")
    return {**value, "path": _among_own(value["path"]), "url": url if inline else None, "is_stream": False}
