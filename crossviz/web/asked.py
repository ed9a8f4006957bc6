"""What the page sends with an event, beside the values of fields."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

__all__ = ["Asked"]


class Asked(gr.EventData):
    """The parts of an event, by name. One that was not sent is None: browsers send anything, or nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._data.get(name) if isinstance(self._data, Mapping) else None
