"""How long the line is: what is refused when it is full, with an estimate measured on the answers before."""

import math
from collections import defaultdict, deque

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.queueing import EventQueue, Queue

__all__ = ["RecentTimes", "busy_sentence", "measure_recent", "wait_s"]

RECENT = 20
"""Answers of a kind that an estimate is made of: more would remember a load that is over."""


class RecentTimes:
    """How long the last answers took; in the place of Gradio's mean over all answers since the start."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def add(self, time: float) -> None:
        self._seconds.append(time)

    @property
    def avg_time(self) -> float:
        """The mean in seconds, 0 where there was no answer yet."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0


def measure_recent(page: gr.Blocks) -> None:
    """Let the page's queue estimate by its last answers."""
    page._queue.process_time_per_fn = defaultdict(RecentTimes)  # type: ignore[assignment]


def wait_s(queue: Queue, group: str | None) -> float | None:
    """Seconds until a question that comes now would be begun, by the last answers and the places that there are.

    Args:
        group: the `concurrency_id` of what is asked.

    Returns:
        None where nothing was measured yet.
    """
    lines = {name: line for name, line in queue.event_queue_per_concurrency_id.items() if line.queue}
    times = {name: _through(queue, line) for name, line in lines.items()}
    if not lines or any(time is None for time in times.values()):
        return None
    # The line of one kind may be short where another's fills the queue: then until one of any kind is begun.
    room = min(time / len(lines[name].queue) for name, time in times.items())
    return max(times.get(group or "", 0.0), room)


def busy_sentence(waiting: int, seconds: float | None) -> str:
    """What is said to one who comes when the queue is full."""
    how_long = "Try again in a moment" if seconds is None else f"Try again in about {shown(seconds)}"
    return f"The server is busy: {waiting} questions are waiting. {how_long}. Your photo and caption are kept."


def shown(seconds: float) -> str:
    """A time to wait, rounded up to what one can plan with."""
    if seconds <= 1:
        return "1 second"
    if seconds <= 90:
        return f"{math.ceil(seconds)} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


def _through(queue: Queue, line: EventQueue) -> float | None:
    """Seconds until a line is worked through."""
    taken = [_time(queue, event.fn) for event in line.queue]
    measured = [time for time in taken if time]
    if not measured:
        return None
    mean = sum(measured) / len(measured)
    # Those that are being answered are half done, as a guess.
    total = sum(time or mean for time in taken) + mean * line.current_concurrency / 2
    return total / (line.concurrency_limit or 1)


def _time(queue: Queue, fn: BlockFunction) -> float:
    return queue.process_time_per_fn[fn].avg_time if fn in queue.process_time_per_fn else 0.0
