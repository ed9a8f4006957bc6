"""Lists to choose from whose answers are looked at where they are used.

Gradio knows only the lists that it told a visit of itself, and refuses anything else in words of its own: also what a
page holds that was opened before the server was started anew.
"""

from typing import Any

import gradio as gr

from crossviz.web.scripted import Quiet

__all__ = ["NamedDropdown", "OpenChecks", "OpenDropdown"]


class OpenDropdown(gr.Dropdown, metaclass=Quiet):
    """`gr.Dropdown` that hands on whatever text was chosen."""

    def get_block_name(self) -> str:
        return "dropdown"

    def preprocess(self, payload: Any) -> str | None:
        return payload if isinstance(payload, str) else None


class NamedDropdown(OpenDropdown):
    """The same where a name counts: what is no text is refused, not taken for the first of the list."""

    def preprocess(self, payload: Any) -> str | None:
        if payload is not None and not isinstance(payload, str):
            raise ValueError("a name is a text")  # `Page` has a sentence for it
        return payload


class OpenChecks(gr.CheckboxGroup, metaclass=Quiet):
    """`gr.CheckboxGroup` that hands on whatever texts were chosen."""

    def get_block_name(self) -> str:
        return "checkboxgroup"

    def preprocess(self, payload: Any) -> list[str]:
        return [text for text in payload if isinstance(text, str)] if isinstance(payload, list) else []
