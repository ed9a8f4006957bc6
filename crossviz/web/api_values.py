"""What the API is given, looked at before it is used, and the files that it gives."""

import io
from typing import Any, Literal, TypedDict, TypeVar

from PIL import Image

from crossviz.errors import CrossvizError, PhotoError
from crossviz.explanation import Explanation
from crossviz.web.engine import Engine
from crossviz.web.kept_file import kept_file
from crossviz.web.own_files import own_path
from crossviz.words import Phrase, whole_caption

__all__ = [
    "File",
    "a_list",
    "an_option",
    "explained",
    "explained_phrase",
    "handed_out",
    "photo_of",
    "text_of",
]

R = TypeVar("R")


class FileMeta(TypedDict):
    """What marks a file in a call: by it Gradio's clients know that there is something to upload or to fetch."""

    _type: Literal["gradio.FileData"]


class File(TypedDict):
    """A file in a call, as `gradio_client.handle_file` makes it."""

    path: str
    meta: FileMeta


def text_of(name: str, value: Any) -> str:
    """A text; None counts as empty.

    Raises:
        CrossvizError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise CrossvizError(f"`{name}` must be a text, but is {value!r:.60}.")
    return value or ""


def an_option(name: str, value: Any, kind: type[R]) -> R | None:
    """A value of a type (a flag is no number), or None.

    Raises:
        CrossvizError: it is something else.
    """
    if value is not None and type(value) is not kind:
        raise CrossvizError(f"`{name}` must be of type {kind.__name__}, but is {value!r:.60}.")
    return value


def a_list(name: str, value: Any, *kinds: type) -> list[Any] | None:
    """A list of values of these types, or None.

    Raises:
        CrossvizError: it is something else.
    """
    if value is not None and not (isinstance(value, list) and all(type(entry) in kinds for entry in value)):
        raise CrossvizError(f"`{name}` must be a list of {kinds[0].__name__}, but is {value!r:.60}.")
    return value


def photo_of(value: Any) -> str:
    """The path of the uploaded photo.

    Raises:
        PhotoError: it is no file, or none that was uploaded here.
    """
    if not isinstance(value, dict) or "path" not in value:
        raise PhotoError("`photo` must be a file (in Python gradio_client.handle_file with its path).")
    return own_path(value["path"])


def explained(engine: Engine, photo: Any, caption: Any, model: Any, method: Any) -> Explanation:
    """The explanation that is asked for.

    Raises:
        CrossvizError: photo, caption, model or method will not do.
    """
    asked = text_of("caption", caption), text_of("model", model), text_of("method", method)
    return engine.explain(photo_of(photo), *asked)


def explained_phrase(
    engine: Engine, photo: Any, caption: Any, model: Any, method: Any, *, text: Any, span: Any, word: Any
) -> tuple[Explanation, Phrase]:
    """The explanation that is asked for, and the word or phrase of it that is named by exactly one of the three.

    Raises:
        CrossvizError: photo, caption, model or method will not do, or there is no such phrase, which is said before
            anything is computed.
    """
    photo_of(photo)
    start_end = a_list("span", span, int)
    chosen = {
        "text": an_option("text", text, str),
        "span": None if start_end is None else tuple(start_end),
        "word": an_option("word", word, int),
    }
    whole_caption(text_of("caption", caption)).phrase(**chosen)
    explanation = explained(engine, photo, caption, model, method)
    return explanation, explanation.caption.phrase(**chosen)  # which may not have been read


def handed_out(content: bytes | Image.Image, name: str) -> File:
    """A file for the one who asked: its address holds a hash of its content, which nobody else knows."""
    if isinstance(content, Image.Image):
        buffer = io.BytesIO()
        content.save(buffer, "PNG")
        content = buffer.getvalue()
    return {"path": kept_file(content, name), "orig_name": name, "meta": {"_type": "gradio.FileData"}}
