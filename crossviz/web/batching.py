"""What several visitors ask for at the same time: computed once, and where it can be, together.

`Shared` is for what takes long and can be done side by side, as loading models; `Batcher` for passes of a model, which
compete for the same cores.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Generic, Self, TypeVar

__all__ = ["Batcher", "Place", "Shared"]

Kind = TypeVar("Kind", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

RECENT = 20
"""Calls that an estimate of the time to wait is made of."""
IDLE_S = 10.0
"""Seconds after which the thread ends if nobody asks; the next call starts another."""


class Shared:
    """Calls by key: who asks while one is running gets what that one returns, or raises. Nothing is kept."""

    def __init__(self) -> None:
        self._running: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What `compute` returns, here or in the thread that asked first."""
        with self._lock:
            found = self._running.get(key)
            future = self._running.setdefault(key, Future())
        if found is None:
            try:
                future.set_result(compute())
            except BaseException as error:
                future.set_exception(error)
            finally:
                with self._lock:
                    del self._running[key]
        return future.result()


class _Job(Generic[Kind, Item, Result]):
    def __init__(self, kind: Kind, item: Item) -> None:
        self.kind, self.item = kind, item
        self.future: Future[Result] = Future()
        self.waiters = 0


class Batcher(Generic[Kind, Item, Result]):
    """Answers items in the order in which they came, in one thread.

    Whoever asks for what is waiting or being worked on already gets that answer. Alone, a call waits for nothing. The
    calls run in a thread of their own, as PyTorch keeps a team of threads for every thread that computes.

    Args:
        run: answers some items of one kind, results in their order. If it raises for several, it is called again for
            each alone, so that only those fail that can't be answered.
        most: how many items of a kind go together at most.
        thread: the thread's name.
    """

    def __init__(
        self, run: Callable[[Kind, list[Item]], list[Result]], most: Callable[[Kind], int], thread: str
    ) -> None:
        self._run, self._most, self._name = run, most, thread
        self._waiting: dict[tuple[Kind, Hashable], _Job[Kind, Item, Result]] = {}  # in order of coming
        self._running: dict[tuple[Kind, Hashable], _Job[Kind, Item, Result]] = {}
        self._paces: deque[float] = deque(maxlen=RECENT)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def place(self, kind: Kind, key: Hashable, item: Item) -> "Place[Result]":
        """A place in line, to be used as a context manager; leaving it early takes the item out of the line.

        Args:
            kind: items of one kind may go together.
            key: of one kind and key there is one call, whoever asks.
            item: what `run` gets.
        """
        name = (kind, key)
        with self._changed:
            job = self._running.get(name) or self._waiting.get(name)
            if job is None:
                job = self._waiting[name] = _Job(kind, item)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                    self._thread.start()
                self._changed.notify()
            job.waiters += 1
        return Place(job.future, lambda: self._before(name), lambda: self._leave(name, job), self.pace)

    def pace(self) -> float | None:
        """Seconds that an item took lately; None where none was answered yet."""
        with self._changed:
            return sum(self._paces) / len(self._paces) if self._paces else None

    def _before(self, name: tuple[Kind, Hashable]) -> int:
        with self._changed:
            if name not in self._waiting:
                return 0
            return list(self._waiting).index(name) + len(self._running)

    def _leave(self, name: tuple[Kind, Hashable], job: _Job[Kind, Item, Result]) -> None:
        with self._changed:
            job.waiters -= 1
            if not job.waiters and self._waiting.get(name) is job:
                del self._waiting[name]

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._waiting, timeout=IDLE_S):
                    self._thread = None
                    return
                kind = next(iter(self._waiting.values())).kind
                names = [name for name, job in self._waiting.items() if job.kind == kind][: max(1, self._most(kind))]
                group = self._running = {name: self._waiting.pop(name) for name in names}
            began = time.monotonic()
            answers = self._answers(kind, [job.item for job in group.values()])
            with self._changed:
                self._running = {}
                self._paces.append((time.monotonic() - began) / len(group))
            for job, answer in zip(group.values(), answers, strict=True):
                if isinstance(answer, _Failed):
                    job.future.set_exception(answer.error)
                else:
                    job.future.set_result(answer)
            del group, answers, job, answer  # nothing of a visitor's stays while the thread waits

    def _answers(self, kind: Kind, items: list[Item]) -> "list[Result | _Failed]":
        try:
            return self._run(kind, items)
        except BaseException as error:
            if len(items) == 1:
                return [_Failed(error)]
        return [self._answers(kind, [item])[0] for item in items]


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Place(Generic[Result]):
    """Where one who asked stands."""

    def __init__(
        self,
        future: Future[Result],
        before: Callable[[], int],
        leave: Callable[[], None],
        pace: Callable[[], float | None],
    ) -> None:
        self._future, self._leave = future, leave
        self.before = before
        """How many are answered first, those that are being worked on included; 0 once it is one of those."""
        self.pace = pace
        """Seconds that one took lately, or None."""

    def wait(self, seconds: float) -> bool:
        """Whether the answer is there, after so many seconds at the latest."""
        try:
            self._future.exception(seconds)
        except NotYet:
            return False
        return True

    def answer(self) -> Result:
        """The answer, waited for.

        Raises:
            BaseException: what `run` raised for this item.
        """
        return self._future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
