"""Sound files of explanations and generated pictures, of every kind that crossviz reads, to be damaged."""

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossviz.bundle import LOADABLE
from crossviz.explanation import Explanation
from crossviz.generation import Generation

__all__ = ["bundle_seeds", "made_once", "small_seeds"]

_KEPT = "FUZZ_SEEDS"  # not CROSSVIZ_: the app refuses settings that it does not know
_GENERATION_SUFFIXES = (".npz", ".json", ".png", ".gif", ".html")
_CAPTION = "a woman in an orange suit, and no dog"


@functools.cache
def bundle_seeds() -> dict[str, bytes]:
    """Files by what they hold and their suffix, as "small explanation.npz": of the embedded models, and small ones that
    are planted."""
    if folder := os.environ.get(_KEPT):
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return {**_files("", *_of_the_models()), **small_seeds()}


@functools.cache
def small_seeds() -> dict[str, bytes]:
    """Those that are planted: a few kilobytes each."""
    from fuzz.planted import small_explanation, small_generation

    return _files("small ", small_explanation(), small_generation())


@contextmanager
def made_once() -> Iterator[None]:
    """Meanwhile the processes that are started read the files instead of making them again, which takes seconds."""
    if _KEPT in os.environ:  # within another
        yield
        return
    with tempfile.TemporaryDirectory(prefix="crossviz-fuzz-") as folder:
        for name, data in bundle_seeds().items():
            Path(folder, name).write_bytes(data)
        os.environ[_KEPT] = folder
        try:
            yield
        finally:
            del os.environ[_KEPT]


def _of_the_models() -> tuple[Explanation, Generation]:
    import crossviz
    from fuzz.photo_seeds import photo_seeds

    explainer = crossviz.Explainer("crossviz-mini")
    image = explainer.encode(photo_seeds()["png rgb"])
    found = explainer.explain(image, _CAPTION)
    found = found.with_trust(explainer.trust(image, found, "suit", checks=["calibration", "deletion"]))
    return found, crossviz.generate("a red cube")


def _files(size: str, explanation: Explanation, generation: Generation) -> dict[str, bytes]:
    from crossviz.view_settings import ViewSettings

    settings = ViewSettings(held=((0, 1),), layer=explanation.map.layers[0])
    return {
        **{f"{size}explanation{suffix}": explanation.to_bytes(suffix, settings=settings) for suffix in LOADABLE},
        **{f"{size}generation{suffix}": generation.to_bytes(suffix) for suffix in _GENERATION_SUFFIXES},
    }
