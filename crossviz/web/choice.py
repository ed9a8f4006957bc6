"""The choice of a model and a method: what there is to choose, and what the line under each choice says."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import Dependency

from crossviz.errors import CrossvizError
from crossviz.explanation import Explanation
from crossviz.methods import MethodInfo, methods
from crossviz.models import ModelInfo
from crossviz.render.sentences import attention_sentence
from crossviz.web.answers import UNEXPECTED, log
from crossviz.web.components import Message, message
from crossviz.web.engine import Engine
from crossviz.web.open_choice import NamedDropdown, OpenDropdown
from crossviz.web.operations.questions import failed

__all__ = ["Choice", "about_method", "about_model", "method_choices", "model_choices"]

_NOTE = """(model, method) => {
  const viewer = document.querySelector("#cv-viewer .cv-host");
  viewer.dispatchEvent(new CustomEvent("cv-chosen", { detail: { model, method } }));
  return [model, method];
}"""
EMPTIED = "() => ''"
"""Empties a message in the page itself: a server that answers late would empty what was said since."""
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def model_choices(engine: Engine) -> list[tuple[str, str]]:
    """Titles and names of the models; those that are not on this computer say so."""
    return [(info.title if info.available else f"{info.title} (not here yet)", info.name) for info in engine.models()]


def method_choices(engine: Engine, model: str) -> list[tuple[str, str]]:
    """Titles and names of a model's methods."""
    return [(info.title, info.name) for info in engine.methods(model)]


def about_model(engine: Engine, model: str) -> str:
    """What a model is, what its attention goes from and to, and why it is not there or how it is had."""
    known: dict[str, ModelInfo] = {info.name: info for info in engine.models()}
    loaded = engine.loaded(model)
    info = known.get(model) if loaded is None else loaded.info
    if info is None:
        if not engine.folders:
            return "This server loads only the models on the list."
        return "Any model by its name, as open_clip:ARCH/TAG, coca:ARCH/TAG, vilt:ORG/NAME or blip:ORG/NAME."
    reason = "" if info.available else info.reason[:1].upper() + info.reason[1:]
    return " ".join(filter(None, (info.sentence, attention_sentence(info.attention_sentence), reason)))


def about_method(name: str | None) -> str:
    """What a method's map means, where it is from, and in what it is measured."""
    known: dict[str, MethodInfo] = {info.name: info for info in methods()}
    info = known.get(name or "")
    if info is None:
        return ""
    return f"{info.sentence} {info.paper}. Unit: {info.unit}{', signed' if info.signed else ''}."


class Choice:
    """The two lists with the lines under them; to be made inside the page's `gr.Blocks`, where they are to stand.

    Args:
        engine: knows the models. Its first need not be loaded yet; until it is, the lists are short.
        opening: what the page opens with.
    """

    def __init__(self, engine: Engine, opening: Explanation) -> None:
        model = engine.model
        self.engine = engine
        self.ready = engine.loaded(model) is not None
        several = self.ready and len(engine.methods(model)) > 1
        self.model = NamedDropdown(
            choices=model_choices(engine) if self.ready else [(model, model)],
            value=model,
            allow_custom_value=True,
            label="Model",
            elem_id="cv-model",
        )
        self.model_error = message("cv-model-error", control="#cv-model input")
        sentence, attention, *_ = (*opening.provenance.notes, "", "")
        about = about_model(engine, model) if self.ready else f"{sentence} {attention_sentence(attention)}"
        self.model_about = message("cv-model-about", about.strip(), kind="about")
        self.method = OpenDropdown(
            choices=method_choices(engine, model) if self.ready else [(opening.method_title, opening.method)],
            value=opening.method,
            visible=several,
            label="Method",
            elem_id="cv-method",
        )
        self.method_error: Message = message("cv-method-error", control="#cv-method input")
        about = about_method(opening.method) if several else ""
        self.method_about = message("cv-method-about", about, kind="about")

    def follow(self, model: str, method: str | None, writer: gr.Button) -> dict[Any, Any]:
        """What changes with the model: the line on it, the methods, and whether it can write."""
        choices = method_choices(self.engine, model)
        names = [name for _, name in choices]
        kept = method if method in names else names[0] if names else None
        # A list that had the focus fails in the browser once it is empty, and with it all that the page is told later.
        listed = {"choices": choices, "value": kept} if choices else {}
        return {
            self.model_about: about_model(self.engine, model),
            self.method: gr.update(**listed, visible=len(choices) > 1),
            self.method_about: about_method(kept) if len(choices) > 1 else "",
            writer: gr.update(visible=self.engine.writes(model)),
        }

    def connect(self, page: gr.Blocks, writer: gr.Button) -> Dependency:
        """Let everything follow the choice; a model that is on this computer is loaded when it is chosen, since only
        then are its methods known.

        Args:
            page: fills its lists once the engine's first model is loaded.
            writer: the button that is there for models that write captions.

        Returns:
            The event of a model being chosen, and loaded where it is on this computer.
        """
        outputs = [self.model_about, self.model_error, self.method, self.method_about, writer]
        engine = self.engine

        def chosen(model: str, method: str | None) -> Iterator[dict[Any, Any]]:
            yield self.follow(model, method, writer)
            here = {info.name for info in engine.models() if info.available}
            if model in here and engine.loaded(model) is None:
                try:
                    engine.explainer(model)
                    yield self.follow(model, method, writer)
                except CrossvizError as error:
                    failed(error)
                    yield {self.model_error: str(error)}
                except Exception as error:
                    failed(error)
                    log.error("A model could not be loaded for a reason that crossviz does not know.", exc_info=error)
                    yield {self.model_error: UNEXPECTED}

        def fill(method: str | None) -> dict[Any, Any]:
            engine.explainer(engine.model)
            more = {self.model: gr.update(choices=model_choices(engine))}
            return {**self.follow(engine.model, method, writer), **more}

        inputs = [self.model, self.method]
        # Said by the page itself: at once, and never after the next answer.
        for told in (self.model.change, self.method.input):
            told(fn=None, inputs=inputs, js=_NOTE, **QUIET)
        self.model.change(fn=None, outputs=self.model_error, js=EMPTIED, **QUIET)
        event = self.model.change(chosen, inputs=inputs, outputs=outputs, trigger_mode="always_last", **QUIET)
        self.method.input(about_method, inputs=self.method, outputs=self.method_about, queue=False, **QUIET)
        # There in either case, so that a page finds every part in its place when the server was started anew.
        filling = {"fn": None, "js": "() => []"} if self.ready else {"fn": fill, "inputs": self.method}
        page.load(**filling, outputs=None if self.ready else [self.model, *outputs], **QUIET)
        return event
