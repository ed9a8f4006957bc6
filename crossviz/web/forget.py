"""What is cleared away when a visit is over: files, photos, answers, and what was still to be said to it."""

import asyncio
import time

import gradio as gr

from crossviz.web.engine import Engine
from crossviz.web.visits import AWAY_S, Visits

__all__ = ["Forgetting"]


class Forgetting:
    """Clears away what nobody needs any more.

    Args:
        page: Gradio's own memory of its visitors is cleared, too.
        engine: keeps photos.
        visits: says who is here, and keeps files.
    """

    def __init__(self, page: gr.Blocks, engine: Engine, visits: Visits) -> None:
        self._page, self._engine, self._visits = page, engine, visits
        self._unread: dict[str, float] = {}

    async def forget(self) -> None:
        """Look once; to be called again and again, in the server's event loop."""
        visits, queue = self._visits, self._page._queue
        over = {visit for visit in {*queue.pending_messages_per_session, *self._held()} if not visits.here(visit)}
        for visit in over & set(queue.pending_event_ids_session):
            if visits.known(visit):
                await queue.clean_events(session_hash=visit)  # its questions leave the line, or end at their next step
        if self._held():
            self._page.state_holder.forget(over)  # a program's question has nothing to hold
        self._messages(over)
        deleted = await asyncio.to_thread(self._files_and_photos)
        for known in self._page.temp_file_sets:
            known.difference_update(deleted)

    def _files_and_photos(self) -> list[str]:
        self._engine.forget_photos(self._visits.here, AWAY_S)
        return self._visits.sweep()

    def _held(self) -> list[str]:
        holder = getattr(self._page, "state_holder", None)  # there is one once the page is served
        return [] if holder is None else list(holder.session_data)

    def _messages(self, over: set[str]) -> None:
        """What was said to one who left; and what a program has not fetched for long."""
        queue, now = self._page._queue, time.monotonic()
        running = {event.session_hash for event in list(queue.event_ids_to_events.values())}
        idle = {visit for visit in over if visit in queue.pending_messages_per_session and visit not in running}
        self._unread = {visit: self._unread.get(visit, now) for visit in idle}
        for visit, since in self._unread.items():
            if self._visits.known(visit) or now - since > AWAY_S:
                queue.pending_messages_per_session.pop(visit, None)
                queue.pending_event_ids_session.pop(visit, None)
        for visit in set(queue.pending_event_ids_session) - set(queue.pending_messages_per_session) - running:
            queue.pending_event_ids_session.pop(visit, None)
