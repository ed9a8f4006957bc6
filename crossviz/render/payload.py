"""What the viewer draws from: one explanation as plain JSON, small enough to send.

Maps are quantised (`crossviz.render.quantised`); the exact values are in the bundle. Means have 256 levels, maps of
single layers and heads as many as `MAPS_ROOM` has room for: 256 for the embedded models. How far off the picture is,
measured on the heads of those and of `benchmarks.attention_like` (which is sent with 32 levels), on a colour scale that
ends at the map's own peak: at most 0.004 of the scale's length at 256 levels, which is one of its 256 colours; 0.016 at
64; 0.031 at 32, and 0.001 to 0.008 in the mean. (256 levels that are even in the values: 0.057 at most.)

Positions in the caption count characters (Unicode code points), as Python does.
"""

import base64
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from PIL import Image

from crossviz.render.payload_parts import hidden, two_steps
from crossviz.render.quantised import knee_of, quantise, short
from crossviz.render.scale import shared_scale

if TYPE_CHECKING:
    from crossviz.explanation import Explanation
    from crossviz.photo import Photo

__all__ = ["PAYLOAD_SCHEMA", "photo_data_url", "viewer_payload"]

PAYLOAD_SCHEMA = 2
MAPS_ROOM = 200_000
"""Bytes that the maps of single layers and heads may take, by having fewer levels: with them, 12 layers of 12 heads, 16
words and 16 x 16 patches make a payload of less than 300 kB, the photo apart."""
MAX_PHOTO_SIDE = 1280
MAX_PHOTO_BYTES = 1_000_000
"""The JPEG's bytes; photos that take more at quality 90 get a lower one."""
_QUALITIES = (90, 80, 65, 50, 35)

_urls: "WeakKeyDictionary[Photo, str]" = WeakKeyDictionary()


def viewer_payload(explanation: "Explanation") -> dict[str, Any]:
    """The explanation as the viewer reads it: a dict of JSON types, without NaN or infinity.

    `phrases` holds the first and the last word of every noun phrase of more than one word.
    `vmax` is where the caption's shared scale ends, in displayed units (multiples of chance for probabilities).
    `maps` is None where the method has no single layers and heads, `null` where it has no null key. `trust` holds the
    checks of the words that were checked, by start and end ("12:19") in characters. A word is `unknown` only where the
    model does not know it, `hidden` is there only where words were hidden from the model, `steps` only where its
    attention is composed of two. `id` is a hash of everything else:
    equal explanations have equal ids.
    """
    ex = explanation
    chart, grid = ex.map, ex.grid
    unknown = set(ex.caption.unknown)
    has_heads = chart.per_head is not None
    knee = knee_of(chart.unit, 1 / grid.num_patches, signed=chart.signed)
    provenance = ex.provenance.to_arrays()[1]
    # The explainer puts the model's two sentences first.
    sentence, attention, *notes = (*ex.provenance.notes, "", "")
    payload = {
        "schema": PAYLOAD_SCHEMA,
        "photo": {"src": _photo_url(ex.photo), "width": ex.photo.wh[0], "height": ex.photo.wh[1]},
        "view": {"crop_xyxy": list(ex.view.crop_xyxy)},
        "grid": {"height": grid.height, "width": grid.width},
        "chance": 1 / grid.num_patches,
        "caption": {
            "text": ex.caption.text,
            "cut_at": ex.caption.cut_at,
            "words": [
                {
                    "text": word.text,
                    "start": word.start,
                    "end": word.end,
                    "tokens": len(word.tokens),
                    "truncated": word.truncated,
                    **({"unknown": True} if word.index in unknown else {}),
                }
                for word in ex.words
            ],
        },
        "phrases": [[phrase.words[0], phrase.words[-1]] for phrase in ex.noun_phrases],
        "model": {
            "name": ex.provenance.model,
            "title": ex.provenance.model,
            "sentence": sentence,
            "attention_sentence": attention,
            "trained": ex.provenance.trained,
        },
        "method": {
            "name": chart.method,
            "title": ex.method_title,
            "unit": chart.unit,
            "signed": chart.signed,
            "reduce": chart.reduce,
            "direction": chart.direction,
            "text_dependent": chart.text_dependent,
            "notes": [note for note in (*chart.notes, *notes) if note],
        },
        "layers": list(chart.layers) if has_heads else [],
        "heads": chart.per_head.shape[1] if has_heads else 0,
        "maps": quantise(chart.per_head.numpy(), knee=knee, room=MAPS_ROOM) if has_heads else None,
        "means": quantise(chart.values.numpy(), knee=knee),
        "null": _null(ex),
        "similarity": ex.similarity,
        "vmax": short(shared_scale(chart.values.numpy(), chart.unit, signed=chart.signed).vmax),
        "provenance": provenance,
        "trust": {f"{start}:{end}": report.as_dict() for (start, end), report in ex.trust.items()},
    }
    if ex.hidden:
        payload["hidden"] = hidden(ex)
    steps = two_steps(ex)
    if steps is not None:
        payload["steps"] = steps
    content = json.dumps(payload, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return {"id": hashlib.sha256(content.encode()).hexdigest()[:32], **payload}


def _photo_url(photo: "Photo") -> str:
    """`photo_data_url`, kept as long as the photo is: of a phone's photo it takes ten times as long as the maps."""
    url = _urls.get(photo)
    if url is None:
        url = _urls[photo] = photo_data_url(photo.image())
    return url


def photo_data_url(photo: Image.Image) -> str:
    """The photo as a JPEG data URL: at most 1280 pixels a side, quality 90, or less where that is over 1 MB."""
    small = photo.convert("RGB")
    # Not `thumbnail` alone: on its own it could make a side of 0 pixels.
    if max(small.size) > MAX_PHOTO_SIDE:
        factor = MAX_PHOTO_SIDE / max(small.size)
        size = tuple(max(1, round(side * factor)) for side in small.size)
        small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.5)
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_PHOTO_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _null(ex: "Explanation") -> dict[str, Any] | None:
    null_mass = ex.map.null_mass
    if null_mass is None:
        return None
    heads = [[[round(value, 5) for value in words] for words in layer] for layer in null_mass.double().tolist()]
    return {"head": heads, "mean": [round(value, 5) for value in null_mass.double().mean((0, 1)).tolist()]}
