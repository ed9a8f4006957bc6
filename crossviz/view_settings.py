"""What is set in the view of an explanation: which words, through which layer and heads, drawn how.

Not part of the explanation itself: the same maps may be looked at in many ways. The viewer writes and reads the same
JSON (web/viewer/69_settings.js); it travels in links and, beside the explanation, in saved files.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from crossviz.errors import RenderError

__all__ = ["CONTOURS", "MOST_HELD", "ViewSettings"]

Span = tuple[int, int]
Pin = tuple[str, int]

MOST_HELD = 6
"""As many words are held at most as there are hues for them."""
MOST_PINS = 4096
CONTOURS = (0.0, 0.5, 0.8)
_MOST_TEXT = 200


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """Settings of a view; whether there are such words, layers and heads only the explanation knows.

    Args:
        shown: what is shown while nothing is held, from start to end in the caption's characters; None: nothing.
        held: words and phrases that are held, in the order in which they were chosen; at most 6.
        layer: a layer's name; all of them if None.
        head: index of a head, all of them if None, or pairs of a layer's name and an index for those that are pinned.
        smooth: bilinear between the centres of the patches, or the patches themselves.
        own: each map on a scale of its own, not on the shared one.
        opacity: of the strongest heat, 0 to 1.
        cmap: name of the colour map; the first of its kind if None.
        contour: share of a map's mass that its line encloses: 0.5, 0.8, or 0 for no line.
        saw: whether the patches that the model saw are drawn.

    Raises:
        RenderError: for anything else; the sentence names the setting.
    """

    shown: Span | None = None
    held: tuple[Span, ...] = ()
    layer: str | None = None
    head: int | tuple[Pin, ...] | None = None
    smooth: bool = True
    own: bool = False
    opacity: float = 0.85
    cmap: str | None = None
    contour: float = 0.5
    saw: bool = False

    def __post_init__(self) -> None:
        held = _list("held", self.held, MOST_HELD)
        set_field = object.__setattr__
        set_field(self, "shown", None if self.shown is None else _span("shown", self.shown))
        set_field(self, "held", tuple(_span("held", span) for span in held))
        for name in ("layer", "cmap"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and len(value) <= _MOST_TEXT):
                raise _wrong(name, "a name or nothing", value)
        if self.head is not None and not _is_index(self.head):
            set_field(self, "head", tuple(_pin(pin) for pin in _list("head", self.head, MOST_PINS)))
        for name in ("smooth", "own", "saw"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, "true or false", getattr(self, name))
        set_field(self, "opacity", _number("opacity", self.opacity))
        set_field(self, "contour", _number("contour", self.contour))
        if self.contour not in CONTOURS:
            raise _wrong("contour", "0, 0.5 or 0.8", self.contour)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Settings as they come out of JSON from elsewhere; what is left out is as in a new view.

        Raises:
            RenderError: for anything but an object with such settings.
        """
        if not isinstance(value, Mapping):
            raise RenderError(f"View settings must be a JSON object, but are {value!r:.60}: save the view again.")
        known = {field.name for field in fields(cls)}
        unknown = [str(name) for name in value if name not in known]
        if unknown:
            raise RenderError(f"There is no view setting {unknown[0]!r:.60}. There are: {', '.join(sorted(known))}.")
        return cls(**value)

    def as_dict(self) -> dict[str, Any]:
        """JSON types, as `from_json` and the viewer read them."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @property
    def words(self) -> tuple[Span, ...]:
        """What is to be seen: what is held, else what is shown; empty for the plain photo."""
        return self.held or (() if self.shown is None else (self.shown,))

    def drawing(self) -> dict[str, Any]:
        """The arguments of `Explanation.figure` and `Explanation.overlay` that draw as the view does."""
        return {
            "layer": self.layer,
            "head": self.head,
            "smooth": self.smooth,
            "opacity": self.opacity,
            "cmap": self.cmap,
            "scale": "word" if self.own else "shared",
            "contour": self.contour or False,
        }


def _wrong(name: str, expected: str, value: object) -> RenderError:
    return RenderError(f"The view setting `{name}` must be {expected}, but is {value!r:.60}.")


def _list(name: str, value: object, most: int) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _wrong(name, f"a list of at most {most}", value)
    return value


def _is_index(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _span(name: str, value: object) -> Span:
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_index, value)) and value[0] < value[1]):
        raise _wrong(name, "a start and a larger end in characters", value)
    return value[0], value[1]


def _pin(value: object) -> Pin:
    if isinstance(value, list | tuple) and len(value) == 2 and _is_index(value[1]):
        layer, head = value
        if isinstance(layer, str) and len(layer) <= _MOST_TEXT:
            return layer, head
    raise _wrong("head", "an index, nothing, or pairs of a layer's name and an index", value)


def _number(name: str, value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise _wrong(name, "a number from 0 to 1", value)
    return float(value)


def _plain(value: object) -> object:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
