"""Ways to damage a JSON document."""

import json
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["json_damaged"]

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.5, 10**30, 2**31, 2**63, 1e308, -1e308, 1e-320),
    *("", "a", " ", "\0", "\ud800", "x" * 300, "../../etc/passwd", "${1+1}", "<script>alert(1)</script>", "nan"),
    *([], [[]], [0], [0, 1], ["a"], [None], {}, {"a": 1}, {"": []}),
)
_RAW = (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-0", b"[" * 200 + b"]" * 200, b'"\\ud800"', b"\xff", b"00", b"")
_MARK = "the place of a raw text, 5b1f"


def json_damaged(rng: random.Random, document: Any) -> bytes:
    """The document with something else in one to three of its places, as bytes that need be no JSON any more."""
    document = json.loads(json.dumps(document))
    raw = None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [*_places(document)]
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0 | 1 | 2 | 3:
                holder[key] = rng.choice(_ODD)
            case 4:
                del holder[key]
            case 5:
                other, at = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[at])) if _still(other, at) else None
            case 6:
                if isinstance(holder, list):
                    holder.extend([holder[key]] * rng.choice((1, 3, 1000)))
                else:
                    holder[rng.choice(("", "a", "__class__", key + "0"))] = holder[key]
            case _:
                if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
                    holder[key] = rng.choice((holder[key] + 1, -holder[key], holder[key] * 1000, holder[key] + 0.5))
                else:
                    holder[key], raw = _MARK, rng.choice(_RAW)
    data = json.dumps(document).encode()
    return data if raw is None else data.replace(json.dumps(_MARK).encode(), raw)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """What holds each value, and under which key."""
    if isinstance(value, dict | list):
        for key in [*value] if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _still(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)
