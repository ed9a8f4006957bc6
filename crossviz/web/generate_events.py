"""What the server answers in the tab Generate: pictures as they grow, files, and a picture to be explained."""

import io
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from crossviz.errors import CaptionError, CrossvizError, DeviceError, ModelError
from crossviz.generation import Generation, Progress
from crossviz.models.generators import Settings
from crossviz.render.generation_payload import generation_payload, picture_data_url
from crossviz.web.answers import UNEXPECTED, log
from crossviz.web.asked import Asked
from crossviz.web.choice import QUIET
from crossviz.web.drawings import Drawings
from crossviz.web.file_names import file_name
from crossviz.web.generate_tab import GenerateTab
from crossviz.web.generate_values import MAX_SEED, settings_of
from crossviz.web.kept_file import kept_file
from crossviz.web.operations.questions import failed

__all__ = ["connect", "opened_envelope"]

PAUSE = 0.12
"""Seconds between two pictures on their way, at least."""
_numbers, _jobs = itertools.count(1), itertools.count(time.time_ns() // 1_000_000)
_ROLL = f"() => Math.floor(Math.random() * {MAX_SEED + 1})"
_TELL = """() => document.querySelector("#cv-generation .cv-generation-host").dispatchEvent(new Event("%s"))"""
_MAY_STOP = """() => {{ ({tell})(); return {{ __type__: "update", interactive: {on} }}; }}"""
_ASKED = _MAY_STOP.format(tell=_TELL % "cv-wait", on="true")
_FAILED = _MAY_STOP.format(tell=_TELL % "cv-over", on="false")
_STOP = _TELL % "cv-stop"
_CLICK = "() => document.getElementById('cv-draw-file').click()"

Explain = Callable[[str, str, Any, Any], Iterator[dict[Any, Any]]]


def connect(
    page: gr.Blocks,
    tab: GenerateTab,
    explain: Explain,
    chosen: list[Any],
    explained: list[Any],
    cancels: list[Dependency],
) -> tuple[gr.State, Dependency]:
    """Answer the tab; to be called inside the page's `gr.Blocks`.

    Args:
        page: fills the tab's fields on each visit.
        explain: the updates of a question about a photo (a path) and a caption, in a model with a method.
        chosen: hold the model and the method.
        explained: what those may change.
        cancels: questions that a picture to be explained puts an end to.

    Returns:
        What holds the visitor's `Drawings`, and the event of a picture being explained.
    """
    kept = gr.State(Drawings(), time_to_live=3600)
    fields = [tab.model, tab.caption, tab.seed, tab.guidance, tab.temperature, tab.count]
    outputs = [tab.viewer, kept, tab.stop, *tab.messages.values()]

    def draw(
        model: Any, caption: Any, seed: Any, guidance: Any, temperature: Any, count: Any
    ) -> Iterator[dict[Any, Any]]:
        job = next(_jobs)
        try:
            if not isinstance(caption, str) or not isinstance(model, str):
                raise CrossvizError("The caption and the model must be texts.")
            if not tab.studio.loaded(model):
                yield {tab.viewer: _envelope(job=job, progress=_progress(None, 0, 0, 0, 1, 1)), **_running(tab, True)}
            own = tab.studio.model(model).defaults
            try:
                asked = settings_of(seed, guidance, temperature, count, own)
            except CrossvizError as error:
                failed(error)
                yield {
                    tab.viewer: _envelope(job=job, idle=True),
                    **_running(tab, False),
                    **tab.said("settings", str(error)),
                }
                return
            yield from _pictures(tab, kept, job, model, caption, asked)
        except Exception as error:
            yield {tab.viewer: _envelope(job=job, idle=True), **_running(tab, False), **_refused(tab, error)}

    def pick(picked: Asked, model: Any, *rest: Any) -> Iterator[dict[Any, Any]]:
        caption = picked.caption
        filled = {tab.caption: caption} if isinstance(caption, str) else {}
        for update in draw(model, caption, *rest):
            yield {**filled, **update}
            filled = {}  # what is typed meanwhile stays

    def save(wanted: Asked, drawings: Drawings) -> dict[Any, Any]:
        try:
            generation = drawings.of(wanted.id)
            suffix = wanted.format if isinstance(wanted.format, str) else ""
            data = generation.to_bytes(suffix, words=_spans(wanted.words))
            path = kept_file(data, file_name(generation.caption.text) + suffix)
        except CrossvizError as error:
            failed(error)
            return {tab.file: None, **tab.said("general", str(error))}  # or the click would fetch the file before
        return {tab.file: path, **tab.said()}

    def explain_picture(wanted: Asked, drawings: Drawings, model: Any, method: Any) -> Iterator[dict[Any, Any]]:
        try:
            generation = drawings.of(wanted.id)
            path = _as_photo(generation)
        except CrossvizError as error:
            failed(error)
            yield {tab.viewer: _envelope(open=True), **tab.said("general", str(error))}  # back to where it is said
            return
        yield from explain(path, generation.caption.text, model, method)

    for asked in (tab.button.click, tab.caption.submit, tab.captions.pick):
        asked(fn=None, outputs=tab.stop, js=_ASKED, **QUIET)
    many = {"concurrency_id": "generate", "concurrency_limit": 1, "trigger_mode": "once", **QUIET}
    drawn = gr.on([tab.button.click, tab.caption.submit], draw, inputs=fields, outputs=outputs, **many)
    rest = [tab.model, *fields[2:]]
    picked = tab.captions.pick(pick, inputs=rest, outputs=[tab.caption, *outputs], **many)
    for event in (drawn, picked):  # not even begun: the queue is full, say
        event.failure(fn=None, outputs=tab.stop, js=_FAILED, **QUIET)
    tab.stop.click(fn=None, js=_STOP, **QUIET)
    tab.stop.click(
        lambda: gr.update(interactive=False), outputs=tab.stop, cancels=[drawn, picked], queue=False, **QUIET
    )
    tab.dice.click(fn=None, outputs=tab.seed, js=_ROLL, **QUIET)
    for event in (page.load, tab.model.change):
        event(tab.follow, inputs=tab.model, outputs=tab.follows, **QUIET)
    tab.viewer.save(save, inputs=kept, outputs=[tab.file, *tab.messages.values()], **QUIET).success(fn=None, js=_CLICK)
    explaining = tab.viewer.explain(
        explain_picture,
        inputs=[kept, *chosen],
        outputs=[tab.viewer, *explained, *tab.messages.values()],
        trigger_mode="always_last",
        cancels=cancels,
        **QUIET,
    )
    return kept, explaining


def opened_envelope(generation: Generation) -> tuple[str, Drawings]:
    """What the viewer is told of a picture from a file, and what the server has to keep of it."""
    payload = generation_payload(generation)
    told = _envelope(job=next(_jobs), done=[payload], idle=True, open=True)
    return told, Drawings({payload["id"]: generation})


def _pictures(
    tab: GenerateTab, kept: gr.State, job: int, model: str, caption: str, asked: list[Settings]
) -> Iterator[dict[Any, Any]]:
    """One picture after the other. What is said of a drawing may be overtaken by what is said next: the finished
    pictures are told again when the next one begins, and at the end."""
    drawings, done, began = Drawings(), [], False
    for number, settings in enumerate(asked, 1):
        next_at, fresh = 0.0, True
        with closing(tab.studio.draw(model, caption, settings)) as drawing:
            for part in drawing:
                if isinstance(part, Generation):
                    payload = generation_payload(part)
                    done.append(payload)
                    drawings = drawings.with_one(payload["id"], part)
                    continue
                now = time.monotonic()
                if not fresh and now < next_at:
                    continue
                next_at = now + PAUSE
                told = {"progress": _progress(part, part.step, part.steps, settings.seed, number, len(asked))}
                first = {} if began else {**tab.said(), kept: Drawings(), **_running(tab, True)}
                more = {"done": done} if fresh and began else {}
                began, fresh = True, False
                yield {tab.viewer: _envelope(job=job, **told, **more), **first}
        yield {kept: drawings}
    yield {tab.viewer: _envelope(job=job, done=done, idle=True), **_running(tab, False), **tab.said()}


def _envelope(**content: Any) -> str:
    """Numbered, because Gradio tells the page only of values that changed."""
    return json.dumps({"n": next(_numbers), **content}, ensure_ascii=False, separators=(",", ":"))


def _progress(part: Progress | None, step: int, steps: int, seed: int, number: int, count: int) -> dict[str, Any]:
    src = None if part is None else picture_data_url(Image.fromarray(part.picture.numpy()))
    return {"src": src, "step": step, "steps": steps, "seed": seed, "number": number, "count": count}


def _running(tab: GenerateTab, on: bool) -> dict[Any, Any]:
    return {tab.stop: gr.update(interactive=on)}


def _refused(tab: GenerateTab, error: Exception) -> dict[Any, str]:
    """Why there is no picture, under the field that it is about."""
    failed(error)
    if isinstance(error, CaptionError):
        return tab.said("caption", str(error))
    if isinstance(error, ModelError | DeviceError):
        return tab.said("model", str(error))
    if isinstance(error, CrossvizError):
        return tab.said("general", str(error))
    log.error("A picture could not be drawn for a reason that crossviz does not know.", exc_info=error)
    return tab.said("general", UNEXPECTED)


def _spans(words: Any) -> list[tuple[int, int]]:
    """Spans of words as the page sent them.

    Raises:
        CrossvizError: they are none.
    """
    if words is None:
        return []
    pairs = [(word.get("start"), word.get("end")) if isinstance(word, dict) else (None, None) for word in [*words][:32]]
    if not all(type(end) is int for pair in pairs for end in pair):
        raise CrossvizError("The words of a picture are named by their start and end, as whole numbers.")
    return pairs


def _as_photo(generation: Generation) -> str:
    """The picture as a file that the photo's field may show."""
    png = io.BytesIO()
    generation.image().save(png, "PNG")
    return kept_file(png.getvalue(), f"{file_name(generation.caption.text)}.png")
