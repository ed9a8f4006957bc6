"""A model that gave no explanation, in the place of one among those that are compared."""

from dataclasses import dataclass

__all__ = ["Failed"]


@dataclass(frozen=True, slots=True)
class Failed:
    """A model that gave no explanation, in the place of one."""

    model: str
    reason: str
