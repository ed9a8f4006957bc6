"""What Gradio keeps for each visit: its last answer and drawings, within bounds that strangers can't use up."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import State
from gradio.state_holder import SessionState, StateHolder

from crossviz.web.visits import Visits

__all__ = ["States", "hold_states"]

LONG = 10_000
"""Texts of so many bytes or more are counted."""


class _State(SessionState):
    """What is kept for one visit.

    Args:
        changed: told when something is kept.
    """

    def __init__(self, blocks: gr.Blocks, changed: Callable[[], None]) -> None:
        super().__init__(blocks)
        self._changed = changed

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        if isinstance(self.blocks_config.blocks.get(key), State):
            self._changed()

    def weight(self) -> dict[int, int]:
        """Bytes by address: of answers and drawings, and of what Gradio keeps of the texts that the page shows."""
        found: dict[int, int] = {}
        for value in self.state_data.values():
            found.update(getattr(value, "weight", {}))
        for config in self.config_values.values():
            text = (config.get("props") or {}).get("value") if config else None
            if isinstance(text, str) and len(text) >= LONG:
                found[id(text)] = sys.getsizeof(text)
        return found


class States(StateHolder):
    """What is kept for all visits. Where there is no room, those that asked longest ago are forgotten, and first of all
    those that no page is open for.

    Args:
        open_: whether a visit's page is open.
        most: bytes that may be held.
    """

    def __init__(self, open_: Callable[[str], bool], most: int) -> None:
        super().__init__()
        self._open, self.most = open_, most
        self._weights: dict[str, dict[int, int]] = {}

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _State(self.blocks, partial(self._weigh, session_id))
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """A visit asks: it is the last to be forgotten, and others are where there are too many."""
        if session_id in self.session_data:
            self.session_data.move_to_end(session_id)
        others = [visit for visit in self.session_data if visit != session_id]
        while len(self.session_data) > self.capacity:
            first = self._first(others)
            if self._open(first) and not self._open(session_id):
                break  # one without a page takes no page's place: it is kept beside them until the next comes
            others.remove(first)
            self.forget([first])
        self._weigh(session_id)

    def forget(self, visits: Iterable[str]) -> None:
        """Keep nothing more for some visits."""
        with self.lock:
            for visit in visits:
                state = self.session_data.pop(visit, None)
                self.time_last_used.pop(visit, None)
                self._weights.pop(visit, None)
                if state is not None:  # Gradio's own closures hold it in a circle, which Python finds much later
                    state.state_data.clear()
                    state.config_values.clear()

    @property
    def held(self) -> int:
        """Bytes of all that is kept, what several share counted once."""
        together: dict[int, int] = {}
        for weight in self._weights.values():
            together.update(weight)
        return sum(together.values())

    def _weigh(self, visit: str) -> None:
        """Something is kept for a visit: others are forgotten where it is too much."""
        state = self.session_data.get(visit)
        if state is None:  # forgotten while it was answered
            return
        self._weights[visit] = state.weight()
        while self.held > self.most:
            others = [other for other in self.session_data if other != visit]
            if not others:
                break
            self.forget([self._first(others)])

    def _first(self, visits: list[str]) -> str:
        """Who is to be forgotten first."""
        return next((visit for visit in visits if not self._open(visit)), visits[0])


def hold_states(page: gr.Blocks, app: Any, visits: Visits) -> None:
    """Put `States` in the place of what keeps Gradio's.

    Args:
        page: launched.
        app: Gradio's, which serves it.
    """
    app.state_holder = States(visits.open, page.server_settings.kept_mb << 20)
    app.state_holder.set_blocks(page)
