"""Files that a visitor names: only what was uploaded to this server, and nothing is ever fetched for anyone."""

import os
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.blocks import Block
from gradio.utils import get_upload_folder

from crossviz.errors import PhotoError

__all__ = ["NOT_FETCHED", "own_file", "own_path"]

NOT_FETCHED = (
    "This server fetches nothing from other addresses: send the photo itself (in Python by "
    "gradio_client.handle_file with a path on your computer)."
)
_HANDED_OUT = "/gradio_api/file="


def own_path(name: Any) -> str:
    """The path of an uploaded file, by its path or by the address under which this server hands it out.

    Raises:
        PhotoError: it is somewhere else.
    """
    text = name if isinstance(name, str) else ""
    if text.lower().startswith(("http:", "https:")):
        # Not urlsplit, which raises for addresses that are none: what counts is what stands behind our own mark.
        text = unquote(text.partition("?")[0].partition(_HANDED_OUT)[2])
        if not text:
            raise PhotoError(NOT_FETCHED)
    path, home = os.path.realpath(text.replace("\0", "") or "."), os.path.realpath(get_upload_folder())
    if os.path.commonpath([path, home]) != home or not os.path.isfile(path):
        raise PhotoError("There is no such uploaded photo on this server: upload it (again).")
    return path


async def own_file(component: Block, name: Any) -> str | None:
    """In the place of a component's `async_move_resource_to_block_cache`, which would fetch an address."""
    if isinstance(name, str) and name.lower().startswith(("http:", "https:")):
        try:
            name = own_path(name)
        except PhotoError as error:
            raise gr.Error(str(error), print_exception=False) from None
    return await Block.async_move_resource_to_block_cache(component, name)
