"""What the server answers when the model shall write the caption."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import Dependency

from crossviz.web.answers import Screen
from crossviz.web.choice import QUIET, Choice
from crossviz.web.writing import writing

__all__ = ["connect"]


def connect(screen: Screen, button: gr.Button, photo: gr.Image, choice: Choice) -> Dependency:
    """Answer the button; to be called inside the page's `gr.Blocks`.

    The caption's field fills as the model writes, and the viewer shows where the newest word looks. Both are told by
    the viewer's own value: of a cancelled event neither goes on.

    Returns:
        The event, which may be cancelled: what was written and explained by then stays.
    """
    engine = screen.engine

    def written(photo_value: Any, model: str, method: str | None) -> Iterator[dict[Any, Any]]:
        job = screen.job()
        try:
            steps = engine.read_steps(photo_value, model, method=method)
            while True:
                try:
                    yield screen.doing(next(steps), job)
                except StopIteration as done:
                    explainer, image = done.value
                    break
            for written in writing(explainer, image, method or None):
                busy = f"writing: {written.text}"
                if written.explanation is None:
                    update = screen.doing(busy, job, caption=written.text)
                else:
                    more = {} if written.done else {"busy": busy, "newest": True}
                    update = screen.shown(written.explanation, model, job, caption=written.text, **more)
                yield update
        except Exception as error:
            yield screen.refused(error, job)

    return button.click(
        written,
        inputs=[photo, choice.model, choice.method],
        outputs=screen.outputs,
        trigger_mode="once",
        **QUIET,
    )
