"""Log lines without anything of a visitor's: what happened, where, how long it took, and the classes of errors.

Text from outside is in captions, file names, addresses, and in most exceptions' messages; none of it is ever written.
Of crossviz's own records the template is, without what it would be filled with; of other libraries' the place in their
code, since their texts may hold anything; of an exception its class and the places that it came through. So there is
nothing in a line that a visitor could have chosen.
"""

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO

from crossviz.web.server_settings import ServerSettings

__all__ = ["configure", "event", "frames", "take_over_uvicorn"]

OWN = "crossviz"
LEVELS = {name: getattr(logging, name.upper()) for name in ("error", "warning", "info", "debug")}
MOST_FRAMES = 12
"""Of an exception's way, the last so many places are written."""
_FIELDS = "crossviz_fields"
_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
log = logging.getLogger("crossviz.web")


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write a line.

    Args:
        name: what happened, one word.
        level: of logging.
        fields: names and what they hold; what is None is left out. Only what is computed here, or stands on a list of
            crossviz's own: never a text from outside.
    """
    if log.isEnabledFor(level):
        log.log(level, name, extra={_FIELDS: {key: value for key, value in fields.items() if value is not None}})


def configure(settings: ServerSettings, stream: TextIO | None = None) -> None:
    """Let this process write such lines, and nothing else, to standard error.

    Python's other ways of saying what went wrong (warnings, and exceptions that no thread caught) go the same way.

    Args:
        settings: how, and from which importance on.
        stream: where to instead.
    """
    level = logging.CRITICAL + 1
    if settings.log != "off":
        level = LEVELS[settings.log_level or ("debug" if settings.log == "json" else "info")]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if settings.log == "json" else TextLines())
    logging.raiseExceptions = False  # else a line that can't be written is told with all that it was to be filled with
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))  # of others' records only what went wrong
    logging.getLogger(OWN).setLevel(level)
    warnings.showwarning = _warned
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def take_over_uvicorn() -> None:
    """Let the web server's records come here, too; it sets up handlers of its own when it starts."""
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def frames(trace: TracebackType | None) -> list[str]:
    """The places that an exception came through, as "file.py:12 function"; the last is where it was raised."""
    found = [(frame, line) for frame, line in traceback.walk_tb(trace)]
    return [_place(frame, line) for frame, line in found[-MOST_FRAMES:]]


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_told(record), ensure_ascii=True, separators=(",", ":"), default=_odd)


class TextLines(logging.Formatter):
    """One line to read: time, importance, what happened, and names with what they hold."""

    def format(self, record: logging.LogRecord) -> str:
        told = _told(record)
        head = f"{told.pop('time')} {told.pop('level'):7} {told.pop('event')}"
        return " ".join([head, *(f"{name}={_word(value)}" for name, value in told.items())])


def _told(record: logging.LogRecord) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
    told: dict[str, Any] = {"time": stamp, "level": record.levelname.lower()}
    fields: Mapping[str, Any] | None = getattr(record, _FIELDS, None)
    if fields is not None:
        told |= {"event": record.msg, **fields}
    elif record.name == OWN or record.name.startswith(f"{OWN}."):
        told |= {"event": "message", "text": str(record.msg)}  # a template: what fills it may be a visitor's
    else:
        told |= {"event": "library", "logger": record.name, "at": f"{Path(record.pathname).name}:{record.lineno}"}
    if record.exc_info and record.exc_info[0] is not None:
        told |= {"error": record.exc_info[0].__name__, "came_through": frames(record.exc_info[2])}
    return told


def _place(frame: FrameType, line: int) -> str:
    code = frame.f_code
    file = Path(code.co_filename)
    return f"{'/'.join(file.parts[-2:])}:{line} {code.co_name}"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_word(each) for each in value)
    text = str(value) if not isinstance(value, float) else f"{value:g}"
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)


def _odd(value: Any) -> str:
    return type(value).__name__


def _warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    event("warning", logging.WARNING, kind=category.__name__, at=f"{Path(filename).name}:{lineno}")


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    event("uncaught", logging.ERROR, error=kind.__name__, came_through=frames(trace))
