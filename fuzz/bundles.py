"""Broken saved files through `load`: `python -m fuzz.bundles [--cases 500] [--case NUMBER [--write FILE]]`."""

import atexit
import functools
import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crossviz.bundle import Bundle
from crossviz.errors import BundleError, CrossvizError
from crossviz.explanation import Explanation
from crossviz.generation import Generation
from crossviz.loading import load_any
from fuzz import damage, damage_bundle
from fuzz.bundle_seeds import bundle_seeds
from fuzz.command import command
from fuzz.outcome import Outcome

__all__ = ["check", "make"]

MOST_BYTES = 256 << 20
"""As on the page."""


def make(number: int, seeds: Mapping[str, bytes] | None = None) -> tuple[bytes, str]:
    """The file of a case, and how it was made: its kind and suffix stand before the colon. Every seed comes in turn;
    `bundle_seeds()` if None."""
    seeds = bundle_seeds() if seeds is None else seeds
    names = list(seeds)
    name = names[number % len(names)]
    rng = random.Random(f"bundle {number}")
    suffix = Path(name).suffix
    if rng.random() < 0.3:
        data, how = damage.damaged(rng, seeds[name], [seeds[other] for other in names], damage.ANY)
    elif suffix == ".json":
        data, how = damage_bundle.as_json(rng, Bundle.from_json(seeds[name])), "json"
    else:
        way = rng.choice(damage_bundle.INSIDE)
        npz = way(rng, damage_bundle.members_of(seeds[f"{Path(name).stem}.npz"]))
        data, how = damage_bundle.as_file(suffix, npz), way.__name__.replace("_", " ")
    return data, f"{name}: {how}"


def check(number: int, data: bytes, label: str) -> Outcome:
    """What `load_any` makes of it; what it takes is used as the page would."""
    path = _folder() / f"case{Path(label.partition(':')[0]).suffix}"
    path.write_bytes(data)
    try:
        found, _ = load_any(path, most_bytes=MOST_BYTES)
    except BundleError as error:
        said = str(error)
        sentence = "\n" not in said and len(said) <= 500
        return Outcome(number, label, "refused" if sentence else "wrong", said[:600])
    try:
        use(found)
    except CrossvizError as error:
        return Outcome(number, label, "accepted", f"and then: {error}")
    return Outcome(number, label, "accepted")


def use(found: Explanation | Generation) -> None:
    """Show it, ask it, save it and load it again.

    Raises:
        CrossvizError: what it holds can't be drawn, say.
        AssertionError: it comes back as something else.
    """
    if isinstance(found, Explanation):
        from crossviz.render.payload import viewer_payload

        json.dumps(viewer_payload(found), allow_nan=False)
        found.overlay(word=0, width=32)
    else:
        from crossviz.render.generation_payload import generation_payload

        json.dumps(generation_payload(found), allow_nan=False)
    found.sentence(word=0)
    path = _folder() / "again.npz"
    path.write_bytes(found.to_bytes(".npz"))
    again, _ = load_any(path)
    if again != found:
        raise AssertionError("what was saved again is something else")


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="crossviz-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


if __name__ == "__main__":
    command("bundles", __doc__, 500)
