"""The section "Compare models": one photo and caption in several models, as one figure on one scale."""

import base64
import json
from collections.abc import Generator, Iterator
from typing import Any

import gradio as gr
from gradio.events import Dependency

from crossviz.errors import CrossvizError
from crossviz.explanation import Explanation
from crossviz.photo import Photo
from crossviz.render.failed import Failed
from crossviz.web.answers import UNEXPECTED, log
from crossviz.web.checks import Kept
from crossviz.web.choice import QUIET
from crossviz.web.components import message
from crossviz.web.engine import Engine
from crossviz.web.open_choice import OpenChecks
from crossviz.web.operations.questions import failed
from crossviz.web.picture import Picture, picture

__all__ = ["FEWEST", "MOST", "Comparison", "compared", "each_model"]

FEWEST, MOST = 2, 4
ABOUT = (
    "The photo and the caption of the picture above, in each model with its own default method: a row per word, a "
    "column per model, one colour scale in multiples of chance."
)


def compared(
    engine: Engine, explanation: Explanation, names: list[str]
) -> Generator[str, None, list[Explanation | Failed]]:
    """`each_model` of an explanation's photo and caption."""
    return (yield from each_model(engine, explanation.photo, explanation.caption.text, names))


def each_model(
    engine: Engine, photo: Photo, caption: str, names: list[str]
) -> Generator[str, None, list[Explanation | Failed]]:
    """A photo and caption in several models: yields what is being done, returns an entry per model.

    A model that fails is a `Failed` with the reason; the others are not lost.
    """
    entries: list[Explanation | Failed] = []
    for place, name in enumerate(names, 1):
        try:
            steps = engine.steps(photo, caption, name, None)
            while True:
                try:
                    yield f"{name}, {place} of {len(names)}: {next(steps)}"
                except StopIteration as done:
                    entries.append(done.value)
                    break
        except CrossvizError as error:
            entries.append(Failed(name, " ".join(str(error).split())))
    return entries


class Comparison:
    """The section; to be made inside the page's `gr.Blocks`, where it is to stand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with gr.Accordion("Compare models", open=False, elem_id="cv-compare"):
            message("cv-compare-about", ABOUT, kind="about")
            ready = engine.loaded(engine.model) is not None
            names = self._names() if ready else [engine.model]  # short until the first model is loaded
            self.models = OpenChecks(
                choices=names, value=names[:3], label=f"Models, {FEWEST} to {MOST}", elem_id="cv-compare-models"
            )
            self.error = message("cv-compare-error")
            self.button = gr.Button("Compare", elem_id="cv-compare-go")
            self.picture: Picture = picture("cv-compare-picture")

    def _names(self) -> list[str]:
        return [info.name for info in self.engine.models() if info.available]

    def connect(self, page: gr.Blocks, kept: gr.State) -> Dependency:
        """Answer the button.

        Args:
            page: fills the list once the engine's first model is loaded.
            kept: holds the visitor's `Kept`.
        """
        ready = self.engine.loaded(self.engine.model) is not None  # the part is there in either case, as in `Choice`
        filling = {"fn": None, "js": "() => []"} if ready else {"fn": self._fill, "outputs": self.models}
        page.load(**filling, **QUIET)

        def run(names: list[str], shown: Kept) -> Iterator[dict[Any, Any]]:
            known = set(self._names())
            names = [name for name in names if name in known]
            if not FEWEST <= len(names) <= MOST:
                yield {self.error: f"Choose {FEWEST} to {MOST} models to compare; {len(names)} are chosen."}
                return
            yield {self.error: ""}
            try:
                steps = compared(self.engine, shown.explanation, names)
                while True:
                    try:
                        yield {self.picture: json.dumps({"busy": next(steps)}, ensure_ascii=False)}
                    except StopIteration as done:
                        yield {self.picture: _drawn(done.value)}
                        return
            except CrossvizError as error:
                failed(error)
                yield {self.error: str(error), self.picture: "{}"}
            except Exception as error:
                failed(error)
                log.error("A comparison failed in a way that crossviz does not know.", exc_info=error)
                yield {self.error: UNEXPECTED, self.picture: "{}"}

        event = self.button.click(
            run,
            inputs=[self.models, kept],
            outputs=[self.error, self.picture],
            trigger_mode="once",
            concurrency_limit=1,
            concurrency_id="compare",
            **QUIET,
        )
        self.picture.cancel(lambda: "{}", outputs=self.picture, cancels=[event], queue=False, **QUIET)
        return event

    def follow(self, event: Dependency) -> None:
        """Offer a model that was loaded by a folder's name, once the event that may have loaded it is over."""

        def offer(ticked: list[str]) -> dict[str, Any]:
            names = self._names()
            return gr.update(choices=names, value=[name for name in ticked if name in names])

        if self.engine.folders:  # elsewhere the list never grows
            event.then(offer, inputs=self.models, outputs=self.models, queue=False, **QUIET)

    def _fill(self) -> dict[str, Any]:
        self.engine.explainer(self.engine.model)
        names = self._names()
        return gr.update(choices=names, value=names[:3])


def _drawn(entries: list[Explanation | Failed]) -> str:
    """The figure as the page's picture shows it.

    Raises:
        RenderError: no model gave an explanation; each one's reason is in it.
    """
    made = [entry for entry in entries if not isinstance(entry, Failed)]
    if not made:
        raise CrossvizError(" ".join(f"{entry.model}: {entry.reason}" for entry in entries))
    from crossviz.render.compare import compare  # matplotlib's figures take a while to load
    from crossviz.render.figure import figure_bytes

    figure = compare(entries)
    wide, high = (int(float(side) * figure.dpi) for side in figure.get_size_inches())
    names = ", ".join(entry.model if isinstance(entry, Failed) else entry.provenance.model for entry in entries)
    data = base64.b64encode(figure_bytes(figure, "png")).decode("ascii")
    return json.dumps(
        {
            "src": f"data:image/png;base64,{data}",
            "width": wide,
            "height": high,
            "alt": f"Maps of “{made[0].caption.text}” by {names}: a row per word, a column per model, one scale.",
        },
        ensure_ascii=False,
    )
