"""The API: named endpoints for what the screen does. docs/api.md says what goes in and what comes out.

An endpoint's docstring is what Gradio shows of it, and what an MCP client reads of the tool: one line per parameter.
No call needs an earlier one: each answers from what was sent, with the page's own engine, queue and sentences.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from crossviz.errors import CrossvizError
from crossviz.web.api_asking import Asking
from crossviz.web.api_closer import Closer
from crossviz.web.api_drawing import Drawing
from crossviz.web.api_making import Making
from crossviz.web.engine import Engine
from crossviz.web.operations.questions import failed
from crossviz.web.studio import Studio

__all__ = ["UNEXPECTED", "connect"]

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong that should not have, and it has been logged."


def connect(page: gr.Blocks, engine: Engine, studio: Studio) -> None:
    """Offer the endpoints; to be called inside the page's `gr.Blocks`."""
    ask, closer, make = Asking(engine), Closer(engine), Making(engine)
    # One map is checked, and one comparison drawn, at a time, whoever asks: these groups are the page's own, too.
    groups: dict[tuple[str, int], list[Callable[..., Any]]] = {
        ("api", engine.at_once): [
            ask.explain,
            ask.heatmap,
            ask.models,
            ask.methods,
            make.write,
            make.hide,
            make.export,
        ],
        ("trust", 1): [ask.trust],
        ("inside", 2): [closer.inside],
        ("compare", 1): [make.compare, closer.difference],
    }
    if studio.infos():
        groups["generate", 1] = [Drawing(studio).generate]
    for fn, group, limit in [(fn, *key) for key, fns in groups.items() for fn in fns]:
        gr.api(_one_sentence(fn), api_name=fn.__name__, concurrency_id=group, concurrency_limit=limit)


def _one_sentence(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose every error reaches the client as one sentence; what is unexpected is logged."""

    @functools.wraps(fn)
    def answer(*args: Any) -> Any:
        try:
            return fn(*args)
        except CrossvizError as error:
            failed(error)
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from None
        except Exception as error:
            failed(error)
            log.error("An API call failed in a way that crossviz does not know.", exc_info=error)
            raise gr.Error(UNEXPECTED, print_exception=False) from None

    return answer
