"""What the page's own components share: HTML with a fixed template, filled by script."""

from abc import ABCMeta
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

__all__ = ["Quiet", "Scripted"]


class Quiet(ComponentMeta):
    """Makes a component class without writing a `.pyi` file beside the source, as Gradio's own metaclass would."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(mcs, name, bases, attrs)


class Scripted(gr.HTML, metaclass=Quiet):
    """An HTML component with events of its own and a value that is only ever text.

    Subclasses have no `__init__` of their own: Gradio makes new instances from the arguments of `gr.HTML`'s.
    """

    signals: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        # gr.HTML takes every word that its script quotes for the name of an event.
        if name not in self.signals:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return super().__getattr__(name)

    def postprocess(self, value: str | None) -> str:
        return value or ""
