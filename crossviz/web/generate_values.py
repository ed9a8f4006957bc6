"""What is asked for beside the caption when a picture is drawn, looked at before it is used: browsers send anything."""

from typing import Any

from crossviz.errors import CrossvizError
from crossviz.models.generators import Settings, number, whole

__all__ = ["COUNTS", "GUIDANCE", "MAX_SEED", "TEMPERATURE", "settings_of"]

MAX_SEED = 2**31 - 1
GUIDANCE = (1.0, 10.0)
TEMPERATURE = (0.0, 2.0)
COUNTS = (1, 2, 4)
"""How many pictures may be drawn at once."""


def settings_of(seed: Any, guidance: Any, temperature: Any, count: Any, own: Settings) -> list[Settings]:
    """The settings of each picture: the seed and those after it.

    Args:
        seed: whole, 0 to `MAX_SEED`; the model's own if None.
        guidance, temperature: within their bounds; None, or what the model does not have, leaves it to the model.
        count: one of `COUNTS`.
        own: the model's defaults.

    Raises:
        CrossvizError: something is of another type or out of bounds; the sentence says which.
    """
    first = own.seed if seed is None else _whole("The seed", seed, 0, MAX_SEED)
    many = _whole("The number of pictures", count, min(COUNTS), max(COUNTS))
    if many not in COUNTS:
        raise CrossvizError(f"The number of pictures must be 1, 2 or 4, not {many}.")
    told = {}
    for name, value, bounds in (("guidance", guidance, GUIDANCE), ("temperature", temperature, TEMPERATURE)):
        if value is not None and getattr(own, name) is not None:
            told[name] = number(name.capitalize(), value, *bounds)
    return [Settings(seed=(first + index) % (MAX_SEED + 1), **told) for index in range(many)]


def _whole(what: str, value: Any, low: int, high: int) -> int:
    """As `whole`; a browser's numbers may be floats."""
    return whole(what, int(value) if type(value) is float and value.is_integer() else value, low, high)
