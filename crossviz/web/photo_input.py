"""A photo input that opens nothing; `own_files.py` sees to whose file it is."""

import base64
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData

from crossviz.web.scripted import Quiet

__all__ = ["PhotoInput"]


class PhotoInput(gr.Image, metaclass=Quiet):
    """`gr.Image` that hands on the path of what was uploaded and opens nothing.

    Gradio would open the file before our code runs and answer a broken one with its own error;
    `crossviz.photo.load_photo` says what is wrong with it.
    """

    def get_block_name(self) -> str:
        return "image"

    def preprocess(self, payload: ImageData | None) -> str | bytes | None:
        """The uploaded file's path, or its bytes where the page sent them inline."""
        if payload is None or (payload.path is None and not payload.url):
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2])
            except ValueError:
                return b""  # load_photo says what is wrong with an empty file
        return payload.path

    def postprocess(self, value: str | Path | None) -> ImageData | None:
        """A file of ours, as it is: nothing is converted."""
        return None if value is None else ImageData(path=str(value), orig_name=Path(value).name)
