"""A coroutine run to its end in a thread of its own: Playwright's event loop may be running in the test's."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["run_apart"]

R = TypeVar("R")


def run_apart(coroutine: Coroutine[Any, Any, R]) -> R:
    """What it returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
