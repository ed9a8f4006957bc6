"""What the server answers when the viewer asks whether a map can be trusted."""

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.web.asked import Asked
from crossviz.web.checks import Kept, Runs, in_one_thread
from crossviz.web.components import Viewer, envelope, feed
from crossviz.web.engine import Engine
from crossviz.web.operations.questions import failed

__all__ = ["connect"]

log = logging.getLogger(__name__)

UNEXPECTED = "This map could not be checked: something went wrong that should not have, and it has been logged."


def connect(engine: Engine, viewer: Viewer, asked_last: gr.State) -> None:
    """Answer the viewer's events `trust`, `rest` and `box`; to be called inside the page's `gr.Blocks`.

    One map is checked at a time, whoever asks, beside the explanations and never before them in a queue: a check is
    worth waiting for, an explanation is not worth less for it.

    Args:
        asked_last: holds the visitor's `Kept`.
    """
    runs = gr.State(Runs())
    checked, located = feed("cv-checked"), feed("cv-located")

    def check(asked: Asked, kept: Kept, own: Runs) -> Iterator[str]:
        run = asked.run
        try:
            run, span = _question(asked)
            explanation = kept.of(asked.id)
            phrase = explanation.caption.phrase(span=span)
            span = (phrase.start, phrase.end)  # of whole words
            report = kept.report(span)
            if report is None:
                with closing(in_one_thread(lambda: engine.trust_steps(explanation, kept.model, span))) as steps:
                    while report is None:
                        if not own.goes_on(run):
                            return
                        try:
                            done, label = next(steps)
                            yield envelope(run=run, done=round(float(done), 3), label=label)
                        except StopIteration as finished:
                            report = kept.add(finished.value)
            yield envelope(run=run, report=report.as_dict())
        except CrossvizError as error:
            failed(error)
            yield envelope(run=run, error=str(error))
        except Exception as error:
            failed(error)
            log.exception("A check failed in a way that crossviz does not know.")
            yield envelope(run=run, error=UNEXPECTED)

    def rest(asked: Asked, own: Runs) -> None:
        if type(asked.run) is not int:
            raise gr.Error("A check is ended by its number, a whole one.", print_exception=False)
        own.end(asked.run)

    def box(asked: Asked, kept: Kept) -> str:
        run = asked.run
        try:
            run, span = _question(asked)
            reports = kept.locate(asked.id, span, asked.box)
            told = {f"{start}:{end}": report.as_dict() for (start, end), report in reports.items()}
            return envelope(run=run, reports=told)
        except CrossvizError as error:
            failed(error)
            return envelope(run=run, error=str(error))
        except Exception as error:
            failed(error)
            log.exception("A box failed in a way that crossviz does not know.")
            return envelope(run=run, error=UNEXPECTED)

    hidden = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
    viewer.trust(
        check, inputs=[asked_last, runs], outputs=checked, concurrency_limit=1, concurrency_id="trust", **hidden
    )
    viewer.rest(rest, inputs=runs, queue=False, **hidden)
    viewer.box(box, inputs=asked_last, outputs=located, concurrency_limit=2, concurrency_id="box", **hidden)


def _question(asked: Asked) -> tuple[int, tuple[int, int]]:
    """The number of the run, and the span in characters.

    Raises:
        CrossvizError: the page did not send whole numbers.
    """
    numbers: list[Any] = [asked.run, asked.start, asked.end]
    if not all(type(number) is int for number in numbers):
        raise CrossvizError("A check names its run and the start and end of the words as whole numbers.")
    return numbers[0], (numbers[1], numbers[2])
