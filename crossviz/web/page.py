"""The page: photo, caption and model on one side, the viewer on the other."""

import json
import logging
from collections.abc import Iterator, Sequence
from importlib.resources import files
from inspect import signature
from typing import Any

import matplotlib

matplotlib.use("Agg")  # chosen before Gradio looks for a screen: the first event answers half a second sooner

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.explanation import SUFFIXES, Explanation
from crossviz.photo import MAX_BYTES
from crossviz.render.payload import viewer_payload
from crossviz.view_settings import ViewSettings
from crossviz.web import viewer_css
from crossviz.web.answers import FIELDS, Screen
from crossviz.web.api import connect as connect_api
from crossviz.web.asked import Asked
from crossviz.web.checks import FORGOTTEN, Kept
from crossviz.web.choice import EMPTIED, QUIET, Choice
from crossviz.web.compare_events import Comparison
from crossviz.web.components import envelope, example_row, message
from crossviz.web.components import viewer as make_viewer
from crossviz.web.connections import limit_connections
from crossviz.web.engine import Engine
from crossviz.web.examples import example_of, examples, keep_photo, thumbnail
from crossviz.web.file_names import file_name
from crossviz.web.forget import Forgetting
from crossviz.web.generate_events import connect as connect_generate
from crossviz.web.generate_tab import GenerateTab
from crossviz.web.guard import Guard, guard_first
from crossviz.web.hide_events import connect as connect_hiding
from crossviz.web.inside_events import connect as connect_inside
from crossviz.web.inside_events import question as cell_question
from crossviz.web.kept_file import kept_file
from crossviz.web.limits import Limits
from crossviz.web.link_events import connect as connect_link
from crossviz.web.malformed import HANDLERS, Page, Refusals
from crossviz.web.open_events import NEW_PHOTO, Opening
from crossviz.web.opener import opener
from crossviz.web.operations.questions import failed
from crossviz.web.origins import Origins
from crossviz.web.photo_input import PhotoInput
from crossviz.web.studio import Studio
from crossviz.web.theme import theme
from crossviz.web.trust_events import connect as connect_trust
from crossviz.web.visit_guard import VisitGuard, build_of
from crossviz.web.visits import the_visits
from crossviz.web.without_proxy import without_proxy
from crossviz.web.write_events import connect as connect_writing

__all__ = ["build", "launch"]

log = logging.getLogger(__name__)

PRIVACY = "Photos are kept in memory and in a folder, and deleted when you leave this page."
_FIELDS = """(photo, caption, model, method) => {
  const detail = { photo, caption, model, method };
  document.querySelector("#cv-viewer .cv-host").dispatchEvent(new CustomEvent("cv-asked", { detail }));
  return [photo, caption, model, method];
}"""
"""Tells the viewer what the fields hold, so that it can fill them again when an earlier answer is shown."""
_AGAIN = """() => {
  const { photo, caption, model, method } = document.querySelector("#cv-viewer .cv-host").cvAgain;
  return [photo, caption, model, method];
}"""
_OWN_WAYS = {"run_history": False, "_frontend": False}
"""Of some versions of Gradio. With the second it does not ask for its own page, which ends the start on a machine so
busy that this takes three seconds."""
MAX_SESSIONS = 200
"""Visitors whose last explanation is kept for saving; those who asked longest ago are forgotten first."""
_NOTE_NEW_PHOTO = f"""() => {{
  const viewer = document.querySelector("#cv-viewer .cv-host");
  viewer.dispatchEvent(new CustomEvent("cv-stale", {{ detail: {json.dumps(NEW_PHOTO)} }}));
}}"""


def build(engine: Engine, opening: Explanation, studio: Studio | None = None) -> gr.Blocks:
    """The page, complete: it opens with an explanation.

    Args:
        engine: answers what visitors ask. Its model need not be loaded yet; until it is, the lists of models and
            methods are short, and each visit fills them when it is.
        opening: what the page opens with.
        studio: the models that draw; those that crossviz has if None. Without any, there is no tab Generate.
    """
    studio = Studio(device=engine.device) if studio is None else studio
    draws = bool(studio.infos())
    model = engine.model
    first = examples()[0]
    shown = first.photo if opening.photo.name == first.photo.name else keep_photo(opening.photo)
    opening_payload = viewer_payload(opening)
    opening_example = example_of(opening.photo)
    example_name = opening_example and opening_example.name

    with Page(title="crossviz", analytics_enabled=False, fill_width=True) as page:
        header = _asset("header.html").replace("<!-- tabs -->", _asset("halves.html").strip() if draws else "")
        gr.HTML(header, js_on_load=_asset("header.js"), apply_default_css=False, elem_id="cv-header")
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
                message("cv-privacy", PRIVACY, kind="about")
                caption = gr.Textbox(
                    value=opening.caption.text,
                    label="Caption",
                    placeholder="Describe the photo, or ask for things that may not be in it",
                    lines=1,
                    max_lines=6,
                    elem_id="cv-caption",
                )
                caption_error = message("cv-caption-error", control="#cv-caption textarea")
                with gr.Row(elem_id="cv-do"):
                    explain = gr.Button("Explain", variant="primary", elem_id="cv-explain", min_width=0)
                    write = gr.Button(
                        "Let the model write it", visible=engine.writes(model), elem_id="cv-write", min_width=0
                    )
                general = message("cv-general-error")
                choice = Choice(engine, opening)
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
                opened_file = opener("cv-open")
                open_error = message("cv-open-error")
            with gr.Column(elem_id="cv-answer", min_width=0):
                opened = envelope(payload=opening_payload, guesses=engine.guesses(model), example=example_name)
                viewer = make_viewer(opened, "cv-viewer")
                comparison = Comparison(engine)
                file = gr.DownloadButton(visible="hidden", elem_id="cv-file")
        generate = GenerateTab(studio) if draws else None
        asked_last = gr.State(Kept(opening_payload["id"], opening, model), time_to_live=3600)

        errors = (photo_error, caption_error, choice.model_error, choice.method_error, general)
        screen = Screen(engine, viewer, asked_last, dict(zip(FIELDS, errors, strict=True)))

        def answer(photo_value: Any, text: str, model_name: str, method_name: str | None) -> Iterator[dict[Any, Any]]:
            known = engine.loaded(model_name) is not None
            yield from screen.answer(engine.steps(photo_value, text, model_name, method_name), model_name)
            if not known and engine.loaded(model_name) is not None:
                yield choice.follow(model_name, method_name, write)  # what it offers is known only now

        def example(picked: Asked, model_name: str, method_name: str | None) -> Iterator[dict[Any, Any]]:
            if type(picked.index) is not int:
                raise gr.Error("An example is named by its number, a whole one.", print_exception=False)
            chosen_example = examples()[picked.index % len(examples())]
            filled = {photo: str(chosen_example.photo), caption: chosen_example.caption}
            for update in answer(str(chosen_example.photo), chosen_example.caption, model_name, method_name):
                yield {**filled, **update}

        def drawn(path: str, text: str, model_name: str, method_name: str | None) -> Iterator[dict[Any, Any]]:
            filled = {photo: path, caption: text}
            for update in answer(path, text, model_name, method_name):
                yield {**filled, **update}
                filled = {}

        def save(wanted: Asked, kept: Kept) -> dict[Any, Any]:
            if wanted.format not in SUFFIXES:
                return {file: None, **screen.said("general", FORGOTTEN)}  # or the click would fetch the file before
            try:
                explanation = kept.of(wanted.id)
                settings = ViewSettings.from_json(wanted.settings or {})
                cells = []
                if wanted.format == ".html" and wanted.cell is not None:
                    cells.append(engine.inside(explanation, kept.model, **cell_question(wanted.cell)))
                data = explanation.to_bytes(str(wanted.format), settings=settings, cells=cells)
                path = kept_file(data, file_name(explanation.caption.text) + str(wanted.format))
            except CrossvizError as error:
                failed(error)
                return {file: None, **screen.said("general", str(error))}
            return {file: path, **screen.said()}

        def again(photo_value: Any, text: str, model_name: str, method_name: str | None) -> dict[Any, Any]:
            """What the server has to hold of an answer that the page shows again, so that it is saved and checked."""
            try:
                explanation = engine.explain(photo_value, text, model_name, method_name)
            except CrossvizError as error:  # the photo is gone, say: what the page shows is none the worse for it
                log.info("An earlier answer was not made again: %s", error)
                return {asked_last: gr.skip()}
            return {asked_last: Kept(viewer_payload(explanation)["id"], explanation, model_name)}

        follows = [choice.model_about, choice.method, choice.method_about, write]
        outputs = [*screen.outputs, *follows]
        wrote = connect_writing(screen, write, photo, choice)
        hid = connect_hiding(screen)
        chosen = [choice.model, choice.method]
        asked = gr.on(
            [explain.click, caption.submit],
            answer,
            inputs=[photo, caption, *chosen],
            outputs=outputs,
            trigger_mode="always_last",
            cancels=[wrote],
            js=_FIELDS,
            **QUIET,
        )
        picked = gallery.pick(
            example,
            inputs=chosen,
            outputs=[photo, caption, *outputs],
            trigger_mode="always_last",
            cancels=[wrote],
            **QUIET,
        )
        linked = connect_link(screen, photo, caption, choice, write, answer, outputs)
        viewer.save(save, inputs=asked_last, outputs=[file, *screen.messages.values()], **QUIET).success(
            fn=None, js="() => document.getElementById('cv-file').click()"
        )
        running, fillers, pictures = [asked, picked, wrote, hid, linked], [picked, wrote, linked], None
        if generate is not None:
            drawings, explained = connect_generate(page, generate, drawn, chosen, [photo, caption, *outputs], running)
            running, fillers, pictures = [*running, explained], [*fillers, explained], (generate.viewer, drawings)
        viewer.cancel(fn=None, cancels=running, **QUIET)  # the viewer says it by itself
        photo.upload(fn=None, js=_NOTE_NEW_PHOTO)
        opened = Opening(screen, photo, caption, choice, write, open_error, pictures).connect(opened_file, running)
        fields = [photo, caption, *chosen]
        for filled in (page.load, *(event.then for event in (*fillers, *opened))):
            filled(fn=None, inputs=fields, js=_FIELDS, **QUIET)  # the fields are known only now
        viewer.again(fn=None, outputs=fields, js=_AGAIN, **QUIET).then(
            again, inputs=fields, outputs=asked_last, **QUIET
        )
        photo.clear(fn=None, outputs=photo_error, js=EMPTIED, **QUIET)
        comparison.connect(page, asked_last)
        for event in (choice.connect(page, write), asked, picked):
            comparison.follow(event)
        connect_trust(engine, viewer, asked_last)
        connect_inside(engine, viewer, asked_last)
        connect_api(page, engine, studio)
    # Not open to `/run/`, which would go around the line and its limits.
    page.queue(default_concurrency_limit=engine.at_once, max_size=engine.settings.queue, api_open=False)
    visits = the_visits()
    page.server_settings = engine.settings  # both for `launch`
    page.guarded = {"page": page, "visits": visits, "forgetting": Forgetting(page, engine, visits)}
    return page


def _asset(name: str) -> str:
    return (files("crossviz.web") / name).read_text("utf-8")


def reach_js(page: gr.Blocks) -> str:
    """What the page does when the server is busy, gone, or another one than before."""
    return _asset("reach.js").replace("/* which parts there are */", json.dumps(build_of(page)))


def launch(
    page: gr.Blocks,
    host: str,
    port: int,
    *,
    mcp: bool = False,
    watching: Sequence[tuple[Any, ...]] = (),
    routes: Sequence[tuple[Any, ...]] = (),
) -> str:
    """Start the server in the background.

    Args:
        mcp: whether the API is offered to MCP clients, too; needs the package `mcp`.
        watching: ASGI middlewares that see every request, those that are refused included.
        routes: ASGI middlewares that answer some of those that are let in.

    Returns:
        The page's address.
    """
    # What Starlette calls a Middleware: the class, its arguments, its keyword arguments. The first is the outermost.
    middleware = [
        *watching,
        (Guard, (), {"origins": Origins.of(host, page.server_settings), "mcp": mcp}),
        *routes,
        (Limits, (), {"mcp": mcp}),
        (VisitGuard, (), page.guarded),
        (Refusals, (), {}),
    ]
    with without_proxy():
        _, address, _ = page.launch(
            server_name=f"[{host}]" if ":" in host else host,  # as it stands in an address
            server_port=port,
            root_path=page.server_settings.root_path or None,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            num_workers=0,
            show_error=False,
            ssr_mode=False,
            state_session_capacity=MAX_SESSIONS,
            enable_monitoring=False,
            **{name: value for name, value in _OWN_WAYS.items() if name in signature(page.launch).parameters},
            footer_links=[],
            max_file_size=MAX_BYTES,
            theme=theme(),
            # Gradio's own `css` rewrites every rule and loses those for containers.
            head=f"<style>{viewer_css()}{_asset('page.css')}</style><script>{reach_js(page)}</script>",
            mcp_server=mcp,
            app_kwargs={
                "middleware": middleware,
                "lifespan": guard_first(len(middleware)),
                "exception_handlers": HANDLERS,
                "openapi_url": None,
            },
        )
    limit_connections(page.server)
    return address.rstrip("/")
