"""Figures as plain values: what goes into a report's dictionary, and what result types check of their numbers."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from crossviz.errors import ResultError

__all__ = ["check_number", "check_numbers", "plain", "row"]

_DIGITS = 5


def plain(value: float | Tensor) -> Any:
    """A number with 5 significant digits, or a tensor as nested lists of such numbers."""
    if isinstance(value, Tensor):
        return [plain(part) for part in value.tolist()] if value.ndim else plain(value.item())
    return [plain(part) for part in value] if isinstance(value, list) else float(f"{value:.{_DIGITS}g}")


def row(values: Tensor) -> list[float]:
    """A grid `gh gw` row by row, as one list."""
    return plain(values.flatten())


def check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between two others, both included.

    Raises:
        ResultError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ResultError(f"`{name}` must be a finite number, but is {value!r:.60}.")
    if not low <= value <= high:
        raise ResultError(f"`{name}` must lie in {low:g} to {high:g}, but is {value:g}.")
    return value


def check_numbers(name: str, values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> tuple:
    """`check_number` of each; a tuple."""
    return tuple(check_number(name, value, low, high) for value in values)
