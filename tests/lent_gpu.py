"""In the place of `spaces.GPU` as it works on ZeroGPU: a function runs in a forked process, by pickled arguments.

After `spaces` 0.51, zero/wrappers.py: a process is forked at the first call and stays for the next; arguments come and
what a generator yields goes through a `SimpleQueue`; the function runs in a thread of that process; an exception comes
back as its class's name alone; what a generator returns does not come back at all.
"""

import contextlib
import functools
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import SimpleQueue
from typing import Any

__all__ = ["PATIENCE_S", "Lender"]

PATIENCE_S = 120
"""How long a process may be silent before a test fails instead of waiting."""


class Error(Exception):
    """As Gradio's: with a title."""

    def __init__(self, message: str, title: str) -> None:
        super().__init__(message)
        self.title = title


class Lender:
    """`GPU` is the decorator; all processes end with the context."""

    def __init__(self, *, granted: bool = True) -> None:
        self.granted = granted
        self.asked: list[int] = []
        """The seconds that were asked for."""
        self.processes: list[Any] = []
        self.bytes: list[int] = []
        """Of each pickled argument and result."""

    def __enter__(self) -> "Lender":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def GPU(self, *, duration: Callable[..., int]) -> Callable[..., Any]:
        """As `spaces.GPU(duration=...)`."""

        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            assert inspect.isgeneratorfunction(task)
            worker: list[tuple[SimpleQueue, SimpleQueue, Any]] = []

            @functools.wraps(task)
            def handler(*args: Any) -> Iterator[Any]:
                self.asked.append(duration(*args))
                if not self.granted:
                    raise Error("<a href='https://example.org'>more</a>", "ZeroGPU quota exceeded")
                if not worker or not worker[0][2].is_alive():
                    worker[:] = [self._fork(task)]
                there, back, process = worker[0]
                self._put(there, args)
                while True:
                    kind, value = self._get(back, process)
                    if kind == "end":
                        return
                    if kind == "error":
                        raise Error(value, "ZeroGPU worker error")
                    try:
                        yield value
                    except GeneratorExit:
                        while self._get(back, process)[0] == "value":
                            pass
                        raise

            return handler

        return decorate

    def _fork(self, task: Callable[..., Iterator[Any]]) -> tuple[SimpleQueue, SimpleQueue, Any]:
        context = multiprocessing.get_context("fork")
        there, back = context.SimpleQueue(), context.SimpleQueue()
        process = context.Process(target=_run, args=(task, there, back), daemon=True)
        process.start()
        self.processes.append(process)
        return there, back, process

    def _put(self, queue: SimpleQueue, value: Any) -> None:
        self.bytes.append(len(pickle.dumps(value)))
        queue.put(value)

    def _get(self, queue: SimpleQueue, process: Any) -> Any:
        assert queue._reader.poll(PATIENCE_S), "the forked process hangs"
        try:
            return queue.get()
        except EOFError:
            return "error", "GPU task aborted"


def _run(task: Callable[..., Iterator[Any]], there: SimpleQueue, back: SimpleQueue) -> None:
    while True:
        args = there.get()

        def iterate(args: tuple[Any, ...] = args) -> None:
            try:
                for value in task(*args):
                    back.put(("value", value))
            except Exception as error:
                back.put(("error", type(error).__name__))

        with contextlib.suppress(Exception), ThreadPoolExecutor() as executor:
            executor.submit(iterate)
        back.put(("end", None))
