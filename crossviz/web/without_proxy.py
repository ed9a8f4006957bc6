"""Gradio asks the server that it starts, by httpx: never by the proxy that a network has for what is outside of it."""

import contextlib
import os
from collections.abc import Iterator

__all__ = ["without_proxy"]

_NAMES = ("no_proxy", "NO_PROXY")


@contextlib.contextmanager
def without_proxy() -> Iterator[None]:
    """In this process nothing is asked by a proxy meanwhile; afterwards `NO_PROXY` is what it was."""
    before = {name: os.environ.get(name) for name in _NAMES}
    os.environ.update(dict.fromkeys(_NAMES, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
