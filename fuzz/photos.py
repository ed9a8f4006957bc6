"""Malformed photos through `load_photo`: `python -m fuzz.photos [--cases 10000] [--case NUMBER [--write FILE]]`."""

import random

from crossviz.errors import PhotoError
from crossviz.photo import MAX_PIXELS, load_photo
from fuzz import damage
from fuzz.command import command
from fuzz.outcome import Outcome
from fuzz.photo_seeds import photo_seeds

__all__ = ["check", "make"]

_PARTS = {
    "jpeg": damage.jpeg_part,
    "png": damage.png_part,
    "apng": damage.png_part,
    "webp": damage.riff_part,
    "tiff": damage.tiff_part,
}


def make(number: int) -> tuple[bytes, str]:
    """The file of a case, and how it was made. Every seed comes in turn."""
    seeds = photo_seeds()
    names = list(seeds)
    name = names[number % len(names)]
    rng = random.Random(f"photo {number}")
    own = _PARTS.get(name.split()[0])
    ways = damage.ANY if own is None else (*damage.ANY, own, own, own, own)
    data, how = damage.damaged(rng, seeds[name], list(seeds.values()), ways)
    return data, f"{name}: {how}"


def check(number: int, data: bytes, label: str) -> Outcome:
    """What `load_photo` makes of it."""
    try:
        photo = load_photo(data)
    except PhotoError as error:
        said = str(error)
        if "\n" in said or len(said) > 400 or not said.endswith((".", ".)")):
            return Outcome(number, label, "wrong", f"no sentence: {said!r:.300}")
        return Outcome(number, label, "refused", said)
    width, height = photo.wh
    if photo.pixels.shape != (height, width, 3) or not 0 < width * height <= MAX_PIXELS:
        return Outcome(number, label, "wrong", f"a photo of {photo.pixels.shape}")
    return Outcome(number, label, "accepted")


if __name__ == "__main__":
    command("photos", __doc__, 10_000)
