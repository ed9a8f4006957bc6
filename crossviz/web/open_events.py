"""What the server answers to a file that is opened: what crossviz saved is shown again, a photo goes to its field."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from crossviz.bundle import LOADABLE, holds_bundle
from crossviz.errors import BundleError, CrossvizError, PhotoError
from crossviz.generation import Generation
from crossviz.loading import load_any
from crossviz.photo import MAX_BYTES, Photo, load_photo
from crossviz.web.answers import UNEXPECTED, Screen, log
from crossviz.web.asked import Asked
from crossviz.web.choice import QUIET, Choice
from crossviz.web.components import Message, envelope
from crossviz.web.examples import example_of
from crossviz.web.generate_events import opened_envelope
from crossviz.web.generate_viewer import GenerationViewer
from crossviz.web.kept_file import kept_file
from crossviz.web.opener import Opener
from crossviz.web.operations.questions import failed
from crossviz.web.own_files import own_path

__all__ = ["MAX_OPENED_BYTES", "Opening"]

MAX_OPENED_BYTES = 128 << 20
"""What a visitor's file may unpack to: those of the embedded models take up to some 5 MB and their photo."""
NEW_PHOTO = "This is still the answer for the photo before: press Explain."
NO_MODEL = "This file was made by '{}', which this server does not have: look at it and save it; Explain asks '{}'."
NO_DRAWING = "This file holds a generated picture, which this page has no place for: open it with crossviz.load."
NEITHER = "{} is neither a file that crossviz saved nor a photo: open one that ends in {}."
_PICTURES = (".png", ".gif")


class Opening:
    """Answers to files; to be made inside the page's `gr.Blocks`.

    Args:
        error: where it is said why a file can't be opened.
        writer: the button that is there for models that write captions.
        pictures: the viewer of generated pictures and what holds the visitor's `Drawings`; None where there is none.
    """

    def __init__(
        self,
        screen: Screen,
        photo: gr.Image,
        caption: gr.Textbox,
        choice: Choice,
        writer: gr.Button,
        error: Message,
        pictures: tuple[GenerationViewer, gr.State] | None = None,
    ) -> None:
        self.screen, self.photo, self.caption = screen, photo, caption
        self.choice, self.writer, self.error = choice, writer, error
        follows = [choice.model, choice.model_about, choice.method, choice.method_about, writer]
        self.pictures = pictures
        self.outputs = [photo, caption, error, *follows, *screen.outputs, *(pictures or ())]

    def connect(self, opener: Opener, running: list[Dependency]) -> list[Dependency]:
        """Answer the opener, and photos that turn out to be saved files.

        Args:
            running: questions that a file puts an end to.
        """
        shared = {"outputs": self.outputs, "concurrency_id": "open", "concurrency_limit": 2, **QUIET}
        return [
            opener.open(self._opened, cancels=running, trigger_mode="always_last", **shared),
            self.photo.upload(self._uploaded, inputs=self.photo, trigger_mode="always_last", **shared),
        ]

    def _opened(self, asked: Asked) -> Iterator[dict[Any, Any]]:
        try:
            path = Path(own_path(asked.path))
            if path.suffix.lower() in LOADABLE and (path.suffix.lower() not in _PICTURES or _is_saved(path)):
                yield self._shown(path)
            else:
                yield self._photo(path)
        except Exception as error:
            yield {self.error: _sentence(error)}

    def _uploaded(self, photo: Any) -> Iterator[dict[Any, Any]]:
        """A photo was put into its field."""
        try:
            if isinstance(photo, str) and _is_saved(Path(photo)):
                yield self._shown(Path(photo))
                return
            load_photo(photo)
            yield {self.screen.messages["photo"]: ""}
        except Exception as error:
            yield {self.screen.messages["photo"]: _sentence(error)}

    def _photo(self, path: Path) -> dict[Any, Any]:
        try:
            load_photo(path)
        except PhotoError as error:
            if path.suffix.lower() in _PICTURES:
                raise
            raise BundleError(NEITHER.format(f"'{path.name:.60}'", ", ".join(LOADABLE))) from error
        told = {self.photo: str(path), self.screen.viewer: envelope(stale=NEW_PHOTO), self.error: ""}
        return {**told, self.screen.messages["photo"]: ""}

    def _shown(self, path: Path) -> dict[Any, Any]:
        """What a file holds on the screen, with the fields as far as this server can fill them."""
        engine, choice = self.screen.engine, self.choice
        explanation, settings = load_any(path, most_bytes=MAX_OPENED_BYTES)
        if isinstance(explanation, Generation):
            return self._drawn(explanation)
        named, method = explanation.provenance.model, explanation.method
        known = engine.loaded(named) is not None or named in {info.name for info in engine.models()}
        # A name from a file is looked up, never loaded: what is asked of an unknown one's map is refused by its name.
        model = named if known else engine.model
        more = {} if settings is None else {"settings": settings.as_dict()}
        told = self.screen.shown(explanation, model, self.screen.job(), **more)
        told |= {self.photo: self._field(explanation.photo), self.caption: explanation.caption.text, self.error: ""}
        if not known:
            return {**told, **self.screen.said("general", NO_MODEL.format(named[:80], engine.model))}
        told |= {choice.model: model, **choice.follow(model, method, self.writer)}
        if engine.loaded(model) is None:  # its methods are known once it is chosen, and loaded
            told[choice.method] = gr.update(choices=[(explanation.method_title, method)], value=method)
        return told

    def _drawn(self, generation: Generation) -> dict[Any, Any]:
        if self.pictures is None:
            raise BundleError(NO_DRAWING)
        viewer, kept = self.pictures
        told, drawings = opened_envelope(generation)
        return {viewer: told, kept: drawings, self.error: ""}

    def _field(self, photo: Photo) -> str:
        """A file that the photo's field may show."""
        example = example_of(photo)
        if example is not None:
            return str(example.photo)
        png = io.BytesIO()
        photo.image().save(png, "PNG")
        name = re.sub(r"[^\w-]+", "-", Path(photo.name).stem).strip("-")[:60] or "photo"
        return kept_file(png.getvalue(), f"{name}.png")


def _is_saved(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return False
    return holds_bundle(path.read_bytes())


def _sentence(error: Exception) -> str:
    failed(error)
    if isinstance(error, CrossvizError):
        return str(error)
    log.error("A file could not be opened for a reason that crossviz does not know.", exc_info=error)
    return UNEXPECTED
