"""A function that reports by a callback, turned into an iterator that it does not run ahead of."""

import contextvars
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["lockstep"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(BaseException):
    """Raised in the function when nobody asks for more; no `except Exception` of a library's keeps it."""


def lockstep(
    run: Callable[[Callable[[Item], None]], Result], thread: str = "crossviz-lockstep"
) -> Generator[Item, None, Result]:
    """What `run` gives, as it gives it; the generator's return value is what `run` returns.

    `run` is called with a function, in a thread of its own, where the caller's context variables hold. Each time it
    gives something, it waits there until the next is asked for. When the iterator is closed, that function raises in
    `run`, and closing returns once `run` has ended: everything that `run` cleans up is cleaned up then. What `run`
    raises comes out of the iterator.

    Args:
        run: called with the function that it gives things to.
        thread: the thread's name.
    """
    given: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    asked: SimpleQueue[bool] = SimpleQueue()

    def give(item: Item) -> None:
        given.put(("item", item))
        if not asked.get():
            raise _Stopped

    def work() -> None:
        try:
            if not asked.get():
                raise _Stopped
            given.put(("result", run(give)))
        except BaseException as error:  # also KeyboardInterrupt: it is the caller who must see it
            given.put(("error", error))

    worker = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=thread, daemon=True)
    worker.start()
    try:
        while True:
            asked.put(True)
            what, value = given.get()
            if what == "error":
                raise value
            if what == "result":
                return value
            yield value
    finally:
        asked.put(False)
        worker.join()
