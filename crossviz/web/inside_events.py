"""What the server answers when the viewer asks for the arithmetic of one cell."""

import logging
from collections.abc import Mapping
from typing import Any

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.web.asked import Asked
from crossviz.web.checks import Kept
from crossviz.web.components import Viewer, envelope, feed
from crossviz.web.engine import Engine
from crossviz.web.operations.questions import failed

__all__ = ["connect", "question"]

log = logging.getLogger(__name__)

CELL = ("start", "end", "token", "layer", "head", "row", "col")
UNEXPECTED = "This cell could not be opened: something went wrong that should not have, and it has been logged."


def connect(engine: Engine, viewer: Viewer, asked_last: gr.State) -> None:
    """Answer the viewer's event `inside`; to be called inside the page's `gr.Blocks`.

    Args:
        asked_last: holds the visitor's `Kept`.
    """
    opened = feed("cv-opened", "cv-inside")

    def open_cell(asked: Asked, kept: Kept) -> str:
        run = asked.run
        try:
            explanation, where = kept.of(asked.id), question({name: getattr(asked, name) for name in CELL})
            found = engine.inside(explanation, kept.model, **where)
            return envelope(run=run, inside=found.as_dict())
        except CrossvizError as error:
            failed(error)
            return envelope(run=run, error=str(error))
        except Exception as error:
            failed(error)
            log.exception("A cell failed in a way that crossviz does not know.")
            return envelope(run=run, error=UNEXPECTED)

    viewer.inside(
        open_cell,
        inputs=asked_last,
        outputs=opened,
        concurrency_limit=2,
        concurrency_id="inside",
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="multiple",
    )


def question(asked: Any) -> dict[str, Any]:
    """What the page asks of a cell, as `Engine.inside` takes it.

    Raises:
        CrossvizError: the page did not send whole numbers.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    start, end, *rest = (asked.get(name) for name in CELL)
    span, given = (start, end), dict(zip(CELL[2:], rest, strict=True))
    if not all(type(number) is int for number in span) or not all(
        number is None or type(number) is int for number in given.values()
    ):
        raise CrossvizError("A cell is named by whole numbers: a span, and a token, layer, head, row and column.")
    row, col = given.pop("row"), given.pop("col")
    return {"span": span, "patch": None if row is None or col is None else (row, col), **given}
