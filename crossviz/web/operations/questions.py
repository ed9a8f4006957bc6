"""One question after the other: which part of the app was asked, what became of it, and how long it waited.

A question is one event of the page or one call of the API. While it is worked on, `note` and `failed` may be called
from anywhere in its thread; where nobody watches they do next to nothing.
"""

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["Question", "failed", "note", "observe"]

ANSWERED, REFUSED, FAILED, LEFT = "answered", "refused", "failed", "left"
"""A question's outcomes: all well; a sentence why not; an error that crossviz does not know; who asked went away."""


@dataclass
class Question:
    """What is known of a question; all of it from lists of crossviz's own."""

    name: str
    """The function that was asked, as "explain"."""
    waited: float | None = None
    """Seconds in the queue; None where it did not stand in one."""
    model: str | None = None
    method: str | None = None
    outcome: str = ANSWERED
    error: str | None = None
    """The class of what went wrong."""
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)


_current: ContextVar[Question | None] = ContextVar("crossviz_question", default=None)


def note(*, model: str | None = None, method: str | None = None) -> None:
    """Say by which model and method the question in hand is answered: registered names of what was found, never what
    was asked for."""
    question = _current.get()
    if question is not None:
        question.model = model or question.model
        question.method = method or question.method


def failed(error: BaseException) -> None:
    """Say that the question in hand has no answer, and why; for errors that are told to whoever asked."""
    from crossviz.errors import CrossvizError

    question = _current.get()
    if question is not None:
        question.outcome = REFUSED if isinstance(error, CrossvizError) else FAILED
        question.error = type(error).__name__


def observe(page: "gr.Blocks", sinks: Sequence[Callable[[Question], None]]) -> None:
    """Tell the sinks of every question that the page's functions answer from now on.

    Args:
        page: complete, not yet launched.
        sinks: called in the thread that answered.
    """
    for function in page.fns.values():
        if function.fn is not None:
            function.fn = _observed(function.fn, _name(function), page, sinks)


def _name(function: Any) -> str:
    """What the API calls it; of the page's own events the function's name, with "page." before it."""
    if function.api_visibility == "public":
        return str(function.api_name)
    return f"page.{getattr(function.fn, '__name__', type(function.fn).__name__).strip('_')}"


def _observed(
    fn: Callable[..., Any], name: str, page: "gr.Blocks", sinks: Sequence[Callable[[Question], None]]
) -> Callable[..., Any]:
    def ended(question: Question) -> None:
        question.seconds = time.perf_counter() - question.started
        for sink in sinks:
            sink(question)

    if inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
            question = Question(name, _waited(page))
            run = fn(*args, **kwargs)
            try:
                while True:
                    # Each step may run in another thread's context, so it is set for each anew.
                    mark = _current.set(question)
                    try:
                        step = next(run)
                    except StopIteration:
                        return
                    finally:
                        _current.reset(mark)
                    yield step
            except GeneratorExit:
                question.outcome = LEFT
                raise
            except BaseException as error:
                _raised(question, error)
                raise
            finally:
                run.close()
                ended(question)

        return steps

    if inspect.iscoroutinefunction(fn):
        return fn  # none of the page's own

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        question = Question(name, _waited(page))
        mark = _current.set(question)
        try:
            return fn(*args, **kwargs)
        except BaseException as error:
            _raised(question, error)
            raise
        finally:
            _current.reset(mark)
            ended(question)

    return call


def _raised(question: Question, error: BaseException) -> None:
    if question.error is None:  # else it was said before, and this is only how it is told
        question.outcome, question.error = FAILED, type(error).__name__


def _waited(page: "gr.Blocks") -> float | None:
    """Seconds that the event in hand has been in Gradio's queue."""
    from gradio.context import LocalContext

    event = page._queue.event_ids_to_events.get(LocalContext.event_id.get(None) or "")
    return None if event is None else max(0.0, time.monotonic() - event.enqueue_time)
