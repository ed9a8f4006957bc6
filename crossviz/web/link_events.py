"""What the server answers to a link that the page was opened with: fields are filled in, and an example explained."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from gradio.events import Dependency

from crossviz.web.answers import STALE, Screen
from crossviz.web.asked import Asked
from crossviz.web.choice import QUIET, Choice
from crossviz.web.components import envelope
from crossviz.web.examples import example_named

__all__ = ["NO_PHOTO", "connect"]

NO_PHOTO = "The link carries no photo: add it and press Explain."
NOT_LOADED = "The link names the model '{}', which is not loaded here: press Explain to ask for it."
_MOST_NAME = 200

Answer = Callable[[Any, str, str, str | None], Iterator[dict[Any, Any]]]


def connect(
    screen: Screen,
    photo: gr.Image,
    caption: gr.Textbox,
    choice: Choice,
    writer: gr.Button,
    answer: Answer,
    outputs: list[Any],
) -> Dependency:
    """Answer the viewer's event `link`; to be called inside the page's `gr.Blocks`.

    Nothing is loaded for a link alone but a model that is on this server's list and on this computer, as when it is
    chosen.

    Args:
        writer: the button that is there for models that write captions.
        answer: the updates of a question: photo, caption, model, method.
        outputs: what `answer` changes.

    Returns:
        The event, which may be cancelled.
    """

    def opened(asked: Asked) -> Iterator[dict[Any, Any]]:
        engine = screen.engine
        text, model, method, name = (_text(asked, part) for part in ("caption", "model", "method", "example"))
        model = model[:_MOST_NAME].strip() or engine.model
        filled: dict[Any, Any] = {caption: text, choice.model: model}
        if engine.loaded(model) is not None:
            filled |= choice.follow(model, method or None, writer)
        elif method:
            # Until the model is there its methods are not known; what follows it keeps this one where it has it.
            filled[choice.method] = gr.update(choices=[(method[:_MOST_NAME],) * 2], value=method[:_MOST_NAME])
        example = example_named(name)
        photo_path = None if example is None else str(example.photo)
        here = {info.name for info in engine.models() if info.available}
        if photo_path is None or not (model in here or engine.loaded(model)):
            sentence = NO_PHOTO if photo_path is None else NOT_LOADED.format(model)
            yield {
                **filled,
                photo: photo_path,
                screen.viewer: envelope(stale=STALE),
                **screen.said("general", sentence),
            }
            return
        for update in answer(photo_path, text, model, method or None):
            yield {**filled, photo: photo_path, **update}
            filled = {}

    return screen.viewer.link(
        opened, outputs=[photo, caption, choice.model, *outputs], trigger_mode="always_last", **QUIET
    )


def _text(asked: Asked, part: str) -> str:
    value = getattr(asked, part)
    return value if isinstance(value, str) else ""
