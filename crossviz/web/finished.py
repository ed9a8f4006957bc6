"""All steps of a question in one go, as long as somebody waits for the answer."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

from crossviz.errors import CrossvizError

__all__ = ["LeftError", "finished"]

R = TypeVar("R")


class LeftError(CrossvizError):
    """The one who asked has left, and nobody reads this."""


def finished(steps: Generator[Any, None, R], waits: Callable[[], bool]) -> R:
    """What a generator returns at its end; closed early, it leaves the line that it may stand in.

    Args:
        waits: whether the one who asked is still there, asked between the steps.

    Raises:
        LeftError: they are not.
    """
    with closing(steps):
        while waits():
            try:
                next(steps)
            except StopIteration as done:
                return done.value
    raise LeftError("The one who asked has left.")
