"""What the server answers when a word is hidden from the model, or shown to it again."""

from collections.abc import Iterator
from typing import Any

from gradio.events import Dependency

from crossviz.errors import CrossvizError
from crossviz.web.answers import Screen
from crossviz.web.asked import Asked
from crossviz.web.checks import Kept

__all__ = ["connect"]


def connect(screen: Screen) -> Dependency:
    """Answer the viewer's event `hide`; to be called inside the page's `gr.Blocks`.

    The photo, caption and model are those of the picture on the page, whatever the fields hold by now.

    Returns:
        The event, which may be cancelled.
    """

    def hidden(asked: Asked, kept: Kept) -> Iterator[dict[Any, Any]]:
        try:
            explanation, span = kept.of(asked.id), _span(asked)
        except CrossvizError as error:
            yield screen.refused(error, screen.job(), None)
            return
        yield from screen.answer(screen.engine.again_steps(explanation, kept.model, span), kept.model, None)

    return screen.viewer.hide(
        hidden,
        inputs=screen.kept,
        outputs=screen.outputs,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )


def _span(asked: Asked) -> tuple[int, int] | None:
    """Start and end in characters; None where every word is to be read again.

    Raises:
        CrossvizError: the page did not send whole numbers.
    """
    numbers: list[Any] = [asked.start, asked.end]
    if numbers == [None, None]:
        return None
    if not all(type(number) is int for number in numbers):
        raise CrossvizError("What is to be hidden is named by the start and end of the words, as whole numbers.")
    return numbers[0], numbers[1]
