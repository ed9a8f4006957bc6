"""What the viewer draws a generated picture from: plain JSON, small enough to send.

Maps are quantised (`crossviz.render.quantised`), the frames are one sprite; the exact numbers and the frames as they
were are in the bundle. Measured: maps of 6 layers of 8 heads, 12 words on 12 x 12 places, take 150 kB, and 37 frames of
96 pixels that are nothing but noise 354 kB.
"""

import base64
import hashlib
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from crossviz.errors import RenderError
from crossviz.render.generation_scale import chance_of, generation_scale
from crossviz.render.growing import evenly
from crossviz.render.payload import photo_data_url
from crossviz.render.quantised import quantise, short

if TYPE_CHECKING:
    from crossviz.generation import Generation, WordMaps

__all__ = ["GENERATION_SCHEMA", "generation_payload", "picture_data_url"]

GENERATION_SCHEMA = 1
MOST_FRAMES = 64
SPRITE_PIXELS = 4_000_000
"""Of all frames together: larger ones are made smaller."""
HEADS_ROOM = 200_000
"""Bytes that the maps of single layers and heads may take, by having fewer levels."""
MOST_HEAD_VALUES = 4_000_000
"""Values in the maps of single layers and heads, beyond which they are left out."""
MOST_STEP_VALUES = 2_000_000
"""Values in the maps of single steps: of more steps, some are left out, evenly."""
MOST_PLACES = 256 * 256
"""In a grid that a browser can show."""
PNG_PIXELS = 256 * 256
"""Pictures up to this size are sent as they are; larger ones as a JPEG."""


def generation_payload(generation: "Generation") -> dict[str, Any]:
    """The generation as the viewer reads it: a dict of JSON types, without NaN or infinity.

    `directions` holds the maps, where the image asks the text first. Of each, `maps` (`layer head word`) is None where
    there is one layer with one head, or where there are too many; `steps` (`step word`) only where the model draws all
    places at every step, with `step_numbers`: how many steps were done at each, from 1. `none_of` is what each
    word gave to no place, a number per `layer head word`; None where the image asks, since what a place gave to no word
    is what its words leave of 1. `id` is a hash of everything else: equal generations have equal ids.

    Raises:
        RenderError: the grid has more than `MOST_PLACES`.
    """
    ex = generation
    if ex.grid.num_patches > MOST_PLACES:
        raise RenderError(
            f"The picture has {ex.grid.height} x {ex.grid.width} places, and at most {MOST_PLACES:,} are shown: read "
            "its maps in Python."
        )
    width, height = ex.view.source_wh
    unknown = set(ex.caption.unknown)
    payload: dict[str, Any] = {
        "kind": "generation",
        "schema": GENERATION_SCHEMA,
        "caption": {
            "text": ex.caption.text,
            "cut_at": ex.caption.cut_at,
            "words": [
                {
                    "text": word.text,
                    "start": word.start,
                    "end": word.end,
                    "tokens": min(1, len(word.tokens)),  # a phrase is the mean over its words here
                    "truncated": word.truncated,
                    **({"unknown": True} if word.index in unknown else {}),
                }
                for word in ex.words
            ],
        },
        "picture": {"src": picture_data_url(ex.image()), "width": width, "height": height},
        "frames": _frames(ex),
        "steps": ex.steps,
        "grid": {"height": ex.grid.height, "width": ex.grid.width},
        "written": None if ex.written is None else ex.written.flatten().tolist(),
        "tokens": None if ex.tokens is None else ex.tokens.flatten().tolist(),
        "codebook": _codebook(ex),
        "directions": [_direction(ex, maps) for maps in (ex.asks_text, ex.asks_image) if maps is not None],
        "settings": dict(ex.settings),
        "verdict": _verdict(ex),
        "model": {"name": ex.provenance.model, "trained": ex.provenance.trained},
        "notes": list(ex.provenance.notes),
        "provenance": ex.provenance.to_arrays()[1],
    }
    content = json.dumps(payload, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return {"id": hashlib.sha256(content.encode()).hexdigest()[:32], **payload}


def picture_data_url(picture: Image.Image) -> str:
    """A picture as a data URL: a PNG up to 256 x 256 pixels, a JPEG beyond."""
    if picture.width * picture.height > PNG_PIXELS:
        return photo_data_url(picture)
    return _data_url(picture, "PNG", optimize=True)


def _frames(ex: "Generation") -> dict[str, Any]:
    """The frames beside and below each other in one picture, in reading order."""
    chosen = evenly(len(ex.frame_steps), MOST_FRAMES)
    height, width = ex.picture.shape[:2]
    shrink = min(1.0, math.sqrt(SPRITE_PIXELS / (len(chosen) * height * width)))
    size = max(1, int(width * shrink)), max(1, int(height * shrink))
    columns = math.ceil(math.sqrt(len(chosen)))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(len(chosen) / columns) * size[1]))
    for place, index in enumerate(chosen):
        frame = Image.fromarray(ex.frames[index].numpy())
        frame = frame if frame.size == size else frame.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(frame, (place % columns * size[0], place // columns * size[1]))
    return {
        "src": _data_url(sheet, "WEBP", quality=88, method=4),
        "width": size[0],
        "height": size[1],
        "columns": columns,
        "steps": [ex.frame_steps[index] for index in chosen],
    }


def _direction(ex: "Generation", maps: "WordMaps") -> dict[str, Any]:
    values, chance = maps.values, chance_of(maps)  # step layer head word gh gw
    steps, layers, heads = values.shape[:3]
    per_head = values.mean(0)  # layer head word gh gw
    several = layers * heads > 1 and per_head.numel() <= MOST_HEAD_VALUES
    none = maps.none.mean(0).double().numpy()  # layer head word where the text asks
    asks_text = maps.direction == ex.asks_text.direction
    if not several:
        none = none.mean((0, 1), keepdims=True)
    answer = {
        "direction": maps.direction,
        "chance": chance,
        "vmax": short(generation_scale(maps).vmax),
        "layers": list(maps.layers) if several else [],
        "heads": heads if several else 0,
        "means": quantise(per_head.mean((0, 1)).numpy(), knee=chance),
        "maps": quantise(per_head.numpy(), knee=chance, room=HEADS_ROOM) if several else None,
        "none_of": None if asks_text else [[[short(v) for v in head] for head in layer] for layer in none.tolist()],
        "steps": None,
        "step_numbers": [],
    }
    if steps > 1:
        by_step = values.mean((1, 2))  # step word gh gw
        chosen = evenly(steps, max(2, MOST_STEP_VALUES // by_step[0].numel()))
        numbers = ex.map_steps(maps)
        answer["steps"] = quantise(by_step[chosen].numpy(), knee=chance)
        answer["step_numbers"] = [numbers[index] for index in chosen]
    return answer


def _codebook(ex: "Generation") -> dict[str, Any] | None:
    """The pictures of the entries that are used, beside each other in ascending order."""
    if ex.codebook is None or ex.tokens is None:
        return None
    height, width = ex.codebook.shape[1:3]
    strip = np.concatenate(list(ex.codebook.numpy()), axis=1)
    if strip.shape[1] > 16_000:  # what a PNG decoder of a browser surely takes
        return None
    return {
        "src": _data_url(Image.fromarray(strip), "PNG", optimize=True),
        "width": width,
        "height": height,
        "entries": np.unique(ex.tokens.numpy()).tolist(),
    }


def _verdict(ex: "Generation") -> dict[str, Any] | None:
    if ex.verdict is None:
        return None
    found = ex.verdict["found"]
    return {
        "asked": ex.verdict["asked"],
        "found": [found] if isinstance(found, str) else list(found),
        "faults": list(ex.verdict["faults"]),
    }


def _data_url(picture: Image.Image, kind: str, **how: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode("ascii")
