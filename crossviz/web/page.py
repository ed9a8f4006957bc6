"""The page: photo, caption and model on one side, the viewer on the other."""

import json
import logging
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import matplotlib

matplotlib.use("Agg")  # chosen before Gradio looks for a screen: the first event answers half a second sooner

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from crossviz.errors import (
    CaptionError,
    CrossvizError,
    DeviceError,
    MethodError,
    ModelError,
    PhotoError,
)
from crossviz.explanation import SUFFIXES, Explanation
from crossviz.methods import MethodInfo, methods
from crossviz.models import ModelInfo
from crossviz.photo import MAX_BYTES, load_photo
from crossviz.render.payload import viewer_payload
from crossviz.web import viewer_css
from crossviz.web.checks import FORGOTTEN, Kept
from crossviz.web.components import Message, PhotoInput, envelope, example_row, message
from crossviz.web.components import viewer as make_viewer
from crossviz.web.engine import Engine
from crossviz.web.examples import examples, keep_photo, thumbnail
from crossviz.web.limits import Limits
from crossviz.web.theme import theme
from crossviz.web.trust_events import connect as connect_trust

__all__ = ["build", "launch"]

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong that should not have, and it has been logged. Your photo and caption are kept."
STALE = "This is still the answer to the photo and caption before."
NEW_PHOTO = "This is still the answer for the photo before: press Explain."
MAX_SESSIONS = 200
"""Visitors whose last explanation is kept for saving; those who came longest ago are forgotten first."""
_NOTE_NEW_PHOTO = f"""() => {{
  const viewer = document.querySelector("#cv-viewer .cv-host");
  viewer.dispatchEvent(new CustomEvent("cv-stale", {{ detail: {json.dumps(NEW_PHOTO)} }}));
}}"""
FIELDS = ("photo", "caption", "model", "method", "general")


def field_of(error: CrossvizError) -> str:
    """The field that an error is shown under."""
    if isinstance(error, PhotoError):
        return "photo"
    if isinstance(error, CaptionError):
        return "caption"
    if isinstance(error, MethodError):
        return "method"
    return "model" if isinstance(error, (ModelError, DeviceError)) else "general"


def build(engine: Engine, opening: Explanation) -> gr.Blocks:
    """The page, complete: it opens with an explanation.

    Args:
        engine: answers what visitors ask. Its model need not be loaded yet; until it is, the lists of models and
            methods are short, and each visit fills them when it is.
        opening: what the page opens with.
    """
    model = engine.model
    first = examples()[0]
    shown = first.photo if opening.photo.name == first.photo.name else keep_photo(opening.photo)
    ready = engine.loaded(model) is not None
    several = ready and len(engine.methods(model)) > 1
    opening_payload = viewer_payload(opening)

    with gr.Blocks(title="crossviz", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        gr.HTML(_asset("header.html"), js_on_load=_asset("header.js"), apply_default_css=False, elem_id="cv-header")
        with gr.Row(elem_id="cv-page"):
            with gr.Column(elem_id="cv-ask", min_width=0):
                photo = PhotoInput(
                    value=shown,
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard", "webcam"],
                    label="Photo",
                    height=220,
                    buttons=[],
                    elem_id="cv-photo",
                )
                photo_error = message("cv-photo-error", control="#cv-photo input")
                caption = gr.Textbox(
                    value=opening.caption.text,
                    label="Caption",
                    placeholder="Describe the photo, or ask for things that may not be in it",
                    lines=1,
                    max_lines=6,
                    elem_id="cv-caption",
                )
                caption_error = message("cv-caption-error", control="#cv-caption textarea")
                explain = gr.Button("Explain", variant="primary", elem_id="cv-explain")
                general = message("cv-general-error")
                chosen = gr.Dropdown(
                    choices=_model_choices(engine) if ready else [(model, model)],
                    value=model,
                    allow_custom_value=True,
                    label="Model",
                    elem_id="cv-model",
                )
                model_error = message("cv-model-error", control="#cv-model input")
                about = _about(engine, model) if ready else opening.provenance.notes[0]
                model_about = message("cv-model-about", about, kind="about")
                method = gr.Dropdown(
                    choices=_method_choices(engine, model) if ready else [(opening.method_title, opening.method)],
                    value=opening.method,
                    visible=several,
                    label="Method",
                    elem_id="cv-method",
                )
                method_error = message("cv-method-error", control="#cv-method input")
                method_about = message(
                    "cv-method-about", _about_method(opening.method) if several else "", kind="about"
                )
                gallery = example_row(
                    [
                        {
                            "title": example.title,
                            "caption": example.caption,
                            "source": example.source,
                            "licence": example.licence,
                            "thumbnail": thumbnail(example),
                        }
                        for example in examples()
                    ],
                    elem_id="cv-gallery",
                )
            with gr.Column(elem_id="cv-answer", min_width=0):
                viewer = make_viewer(envelope(payload=opening_payload), "cv-viewer")

                file = gr.DownloadButton(visible="hidden", elem_id="cv-file")
        asked_last = gr.State(Kept(opening_payload["id"], opening, model), time_to_live=3600)

        messages = dict(zip(FIELDS, (photo_error, caption_error, model_error, method_error, general), strict=True))

        def answer(photo_value: Any, text: str, model_name: str, method_name: str | None) -> Iterator[dict[Any, Any]]:
            try:
                steps = engine.steps(photo_value, text, model_name, method_name)
                while True:
                    try:
                        yield {viewer: envelope(busy=next(steps))}
                    except StopIteration as done:
                        payload = viewer_payload(done.value)
                        kept = Kept(payload["id"], done.value, model_name)
                        yield {viewer: envelope(payload=payload), asked_last: kept, **_said(messages)}
                        return
            except CrossvizError as error:
                yield {viewer: envelope(stale=STALE), **_said(messages, field_of(error), str(error))}
            except Exception:
                log.exception("An explanation failed in a way that crossviz does not know.")
                yield {viewer: envelope(stale=STALE), **_said(messages, "general", UNEXPECTED)}

        def example(picked: gr.EventData, model_name: str, method_name: str | None) -> Iterator[dict[Any, Any]]:
            chosen_example = examples()[int(picked.index) % len(examples())]
            filled = {photo: str(chosen_example.photo), caption: chosen_example.caption}
            for update in answer(str(chosen_example.photo), chosen_example.caption, model_name, method_name):
                yield {**filled, **update}

        def new_photo(photo_value: Any) -> str:
            try:
                load_photo(photo_value)
            except CrossvizError as error:
                return str(error)
            return ""

        def new_model(model_name: str, method_name: str | None) -> dict[Any, Any]:
            choices = _method_choices(engine, model_name)
            names = [name for _, name in choices]
            kept = method_name if method_name in names else names[0]
            return {
                model_about: _about(engine, model_name),
                model_error: "",
                method: gr.update(choices=choices, value=kept, visible=len(choices) > 1),
                method_about: _about_method(kept) if len(choices) > 1 else "",
            }

        def fill(method_name: str | None) -> dict[Any, Any]:
            engine.explainer(model)
            return {chosen: gr.update(choices=_model_choices(engine)), **new_model(model, method_name)}

        hidden = {"show_progress": "hidden", "api_visibility": "private"}

        def save(wanted: gr.EventData, kept: Kept) -> dict[Any, Any]:
            if wanted.format not in SUFFIXES:
                return _said(messages, "general", FORGOTTEN)
            try:
                explanation = kept.of(wanted.id)
                data = explanation.to_bytes(str(wanted.format))
            except CrossvizError as error:
                return _said(messages, "general", str(error))
            name = file_name(explanation.caption.text) + str(wanted.format)
            return {file: save_bytes_to_cache(data, name, file.GRADIO_CACHE), **_said(messages)}

        outputs = [viewer, asked_last, *messages.values()]
        asked = gr.on(
            [explain.click, caption.submit],
            answer,
            inputs=[photo, caption, chosen, method],
            outputs=outputs,
            trigger_mode="always_last",
            **hidden,
        )
        picked = gallery.pick(
            example, inputs=[chosen, method], outputs=[photo, caption, *outputs], trigger_mode="always_last", **hidden
        )
        viewer.cancel(lambda: envelope(stale=STALE), outputs=viewer, cancels=[asked, picked], queue=False, **hidden)
        viewer.save(save, inputs=asked_last, outputs=[file, *messages.values()], **hidden).success(
            fn=None, js="() => document.getElementById('cv-file').click()"
        )
        photo.upload(fn=None, js=_NOTE_NEW_PHOTO)
        photo.upload(new_photo, inputs=photo, outputs=photo_error, **hidden)
        photo.clear(lambda: "", outputs=photo_error, queue=False, **hidden)
        chosen.change(
            new_model,
            inputs=[chosen, method],
            outputs=[model_about, model_error, method, method_about],
            queue=False,
            **hidden,
        )
        method.input(_about_method, inputs=method, outputs=method_about, queue=False, **hidden)
        connect_trust(engine, viewer, asked_last)
        if not ready:
            page.load(fill, inputs=method, outputs=[chosen, model_about, model_error, method, method_about], **hidden)
    page.queue(default_concurrency_limit=4, max_size=64)
    return page


def _said(messages: dict[str, Message], field: str = "", text: str = "") -> dict[Any, str]:
    """All messages empty but one."""
    return {message: text if name == field else "" for name, message in messages.items()}


def _model_choices(engine: Engine) -> list[tuple[str, str]]:
    return [(info.title if info.available else f"{info.title} (not here yet)", info.name) for info in engine.models()]


def _method_choices(engine: Engine, model: str) -> list[tuple[str, str]]:
    return [(info.title, info.name) for info in engine.methods(model)]


def _about(engine: Engine, model: str) -> str:
    """One or two lines on a model: what it is, or why it is not there."""
    known: dict[str, ModelInfo] = {info.name: info for info in engine.models()}
    info = known.get(model)
    if info is None:
        return "Any model that open_clip can fetch: open_clip:ARCH/TAG."
    reason = "" if info.available else info.reason[:1].upper() + info.reason[1:]
    return f"{info.sentence} {reason}".strip()


def _about_method(name: str | None) -> str:
    """What a method's map means, where it is from, and in what it is measured."""
    known: dict[str, MethodInfo] = {info.name: info for info in methods()}
    info = known.get(name or "")
    if info is None:
        return ""
    return f"{info.sentence} {info.paper}. Unit: {info.unit}{', signed' if info.signed else ''}."


def file_name(caption: str) -> str:
    """What a saved explanation is called, without suffix: letters and digits of the caption, at most 60."""
    return "crossviz-" + (re.sub(r"\W+", "-", caption.lower()).strip("-")[:60].rstrip("-") or "caption")


def _asset(name: str) -> str:
    return (files("crossviz.web") / name).read_text("utf-8")


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Start the server in the background.

    Returns:
        The page's address.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        show_error=False,
        ssr_mode=False,
        state_session_capacity=MAX_SESSIONS,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=MAX_BYTES,
        theme=theme(),
        # Gradio's own `css` rewrites every rule and loses those for containers.
        head=f"<style>{viewer_css()}{_asset('page.css')}</style>",
        # What Starlette calls a Middleware: the class, its arguments, its keyword arguments.
        app_kwargs={"middleware": [(Limits, (), {})], "docs_url": None, "redoc_url": None},
    )
    return address.rstrip("/")
