"""What an answer changes on the page: the viewer, what is kept of it, and the sentences under the fields."""

import itertools
import logging
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from crossviz.errors import CaptionError, CrossvizError, DeviceError, MethodError, ModelError, PhotoError
from crossviz.explanation import Explanation
from crossviz.render.payload import viewer_payload
from crossviz.web.checks import Kept
from crossviz.web.components import OLD_MODEL, STALE, Message, Viewer, envelope
from crossviz.web.engine import Engine
from crossviz.web.examples import example_of
from crossviz.web.operations.questions import failed

__all__ = ["FIELDS", "STALE", "UNEXPECTED", "Screen", "field_of"]

log = logging.getLogger(__name__)
_jobs = itertools.count(time.time_ns() // 1_000_000)
"""Later than those of a server before, whose answers a page that is still open may show."""

UNEXPECTED = "Something went wrong that should not have, and it has been logged. Your photo and caption are kept."
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


@dataclass(frozen=True)
class Screen:
    """The components that answers go to, and what goes there."""

    engine: Engine
    viewer: Viewer
    kept: gr.State
    """Holds the visitor's `Kept`."""
    messages: Mapping[str, Message]
    """By field."""

    @property
    def outputs(self) -> list[Any]:
        """Everything that the updates below may name."""
        return [self.viewer, self.kept, *self.messages.values()]

    def said(self, field: str = "", text: str = "") -> dict[Any, str]:
        """All messages empty but one."""
        return {message: text if name == field else "" for name, message in self.messages.items()}

    @staticmethod
    def job() -> int:
        """The number of a question that begins now, for all that is said of it: what a cancelled one still says is
        told apart by it."""
        return next(_jobs)

    def doing(self, text: str, job: int, **more: Any) -> dict[Any, Any]:
        """The picture stays, and what is being done is said; `more` goes to the viewer."""
        return {self.viewer: envelope(busy=text, job=job, **more)}

    def shown(self, explanation: Explanation, model: str, job: int, **more: Any) -> dict[Any, Any]:
        """A new explanation, made by the model that the engine knows by that name; `more` goes to the viewer."""
        payload = viewer_payload(explanation)
        example = example_of(explanation.photo)
        more |= {"guesses": self.engine.guesses(model), "example": example and example.name}
        told = envelope(payload=payload, job=job, **more)
        return {self.viewer: told, self.kept: Kept(payload["id"], explanation, model), **self.said()}

    def refused(self, error: Exception, job: int, stale: str | None = STALE) -> dict[Any, Any]:
        """Why there is no answer; `stale` is what the viewer says of the one that it still shows."""
        failed(error)
        field = field_of(error) if isinstance(error, CrossvizError) else "general"
        told = {self.viewer: envelope(stale=OLD_MODEL if stale and field == "model" else stale, job=job)}
        if isinstance(error, CrossvizError):
            return {**told, **self.said(field, str(error))}
        log.error("A question failed in a way that crossviz does not know.", exc_info=error)
        return {**told, **self.said("general", UNEXPECTED)}

    def answer(
        self, steps: Generator[str, None, Explanation], model: str, stale: str | None = STALE
    ) -> Iterator[dict[Any, Any]]:
        """The updates of one question: what is being done, then the explanation or why there is none."""
        job = self.job()
        try:
            while True:
                try:
                    yield self.doing(next(steps), job)
                except StopIteration as done:
                    yield self.shown(done.value, model, job)
                    return
        except Exception as error:
            yield self.refused(error, job, stale)
