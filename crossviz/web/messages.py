"""What is still to be said to visits, and a bound for what nobody reads.

Gradio keeps it in an LRU cache. It trips over a visit that has fallen out of that: the error ends the loop that all
questions go through. And it keeps answers, of megabytes, as long as nobody fetches them.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio.server_messages import EventMessage, ProcessCompletedMessage

from crossviz.web.visits import MOST_NAME, Visits

__all__ = ["UNREAD", "Messages", "keep_messages"]

MOST_QUEUES = 2000
"""Visits that something is to be said to, at a time."""
MOST_UNREAD = 32
"""Answers that one visit may leave unread. The page reads as they come."""
MOST_UNREAD_BYTES = 128 << 20
"""Memory of all that is unread: some 60 of the page's answers."""
MESSAGE_BYTES = 1000
"""What a message takes beside its texts, about."""
TOO_LONG = f"A visit's number (session_hash) has {MOST_NAME} characters at most."
UNREAD = "You have not read your last {} answers: read them before you ask again."


class _Unread(asyncio.Queue):
    """What one visit has not read yet, with its size.

    Args:
        count: told by how many bytes it grows, or shrinks.
    """

    def __init__(self, count: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.count = count
        self.held = self.answers = self.readers = 0
        """Bytes, finished answers, and how many wait for the next message."""

    async def get(self) -> EventMessage:
        self.readers += 1
        try:
            return await super().get()
        finally:
            self.readers -= 1

    def _put(self, message: EventMessage) -> None:
        size = size_of(message)
        super()._put((size, message))
        self.held += size
        self.answers += isinstance(message, ProcessCompletedMessage)
        if self.count is not None:
            self.count(size)

    def _get(self) -> EventMessage:
        size, message = super()._get()
        self.held -= size
        self.answers -= isinstance(message, ProcessCompletedMessage)
        if self.count is not None:
            self.count(-size)
        return message


class Messages(MutableMapping[str, _Unread]):
    """What is to be said, by visit; what is said to an unknown one is said to nobody.

    Of too many, or of too much, those leave first that nobody reads and no page is open for, the oldest before others.

    Args:
        open_: whether a visit's page is open.
        dropped: told of a visit that was left out.
    """

    def __init__(self, open_: Callable[[str], bool], dropped: Callable[[str], None]) -> None:
        self._open, self._dropped = open_, dropped
        self._queues: dict[str, _Unread] = {}
        self.held = 0
        """Bytes of all that is unread."""

    def __getitem__(self, visit: str) -> _Unread:
        return self._queues.get(visit) or _Unread()

    def get(self, visit: str, default: Any = None) -> Any:
        return self._queues.get(visit, default)

    def __setitem__(self, visit: str, _: asyncio.Queue) -> None:
        """There is something to be said to a visit from now on, in a queue that knows its size."""
        self._queues[visit] = _Unread(self._count)
        while len(self._queues) > MOST_QUEUES:
            self._drop([other for other in self._queues if other != visit])

    def __delitem__(self, visit: str) -> None:
        queue = self._queues.pop(visit, None)
        if queue is not None:
            self.held -= queue.held
            queue.count = None

    def __contains__(self, visit: object) -> bool:
        return visit in self._queues

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def _count(self, change: int) -> None:
        self.held += change
        while self.held > MOST_UNREAD_BYTES:
            self._drop([visit for visit, queue in self._queues.items() if queue.held])

    def _drop(self, visits: list[str]) -> None:
        """The first of them that is not read and not open, else the first."""
        quiet = (visit for visit in visits if not self._queues[visit].readers and not self._open(visit))
        visit = next(quiet, visits[0])
        del self[visit]
        self._dropped(visit)


class _Questions(dict[str, set[str]]):
    """The numbers of the questions whose answers are not read, by visit; Gradio looks up visits that have none."""

    def __missing__(self, visit: str) -> set[str]:
        return set()


def keep_messages(page: gr.Blocks, visits: Visits) -> None:
    """Put `Messages` into a page's queue, which refuses from then on what can't be kept for it."""
    queue = page._queue

    def dropped(visit: str) -> None:
        for event in list(queue.event_ids_to_events.values()):
            if event.session_hash == visit:
                event.alive = False  # nobody will hear the answer: it is not begun, or ends at its next step

    messages = Messages(visits.open, dropped)
    push = queue.push

    async def bounded(body: Any, request: Any, username: str | None) -> Any:
        if len(body.session_hash or "") > MOST_NAME:
            raise HTTPException(422, TOO_LONG)
        unread = messages.get(body.session_hash)
        if unread is not None and unread.answers >= MOST_UNREAD:
            raise HTTPException(429, UNREAD.format(unread.answers))
        return await push(body, request, username)

    queue.pending_messages_per_session = messages  # type: ignore[assignment]
    queue.pending_event_ids_session = _Questions()
    queue.push = bounded  # type: ignore[method-assign]


def size_of(message: EventMessage) -> int:
    """Bytes of memory that a message takes, about."""
    size, parts = MESSAGE_BYTES, [getattr(message, "output", None)]
    while parts:
        part = parts.pop()
        size += sys.getsizeof(part)
        if isinstance(part, dict):
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part
    return size
