"""A generated picture as the bytes of a file, one kind per suffix."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossviz.bundle import embed, write_atomic
from crossviz.errors import BundleError
from crossviz.stored_generation import generation_to_bundle

if TYPE_CHECKING:
    from crossviz.generation import Generation

__all__ = ["GENERATION_SUFFIXES", "check_suffix", "generation_bytes", "save_generation"]

GENERATION_SUFFIXES = (".png", ".gif", ".html", ".npz", ".json")
"""What can be written; every kind holds the whole, for `crossviz.load`."""


def check_suffix(suffix: str) -> None:
    """Refuse what can't be written, in small letters or large.

    Raises:
        BundleError: it is none of `GENERATION_SUFFIXES`.
    """
    if suffix.lower() not in GENERATION_SUFFIXES:
        raise BundleError(
            f"A generated picture can't be saved as {suffix or 'a file without suffix'!s:.20}: choose one of "
            f"{', '.join(GENERATION_SUFFIXES)}."
        )


def generation_bytes(
    generation: "Generation", suffix: str, words: Sequence[int | str | tuple[int, int]] | None = None
) -> bytes:
    """A file's content.

    Args:
        suffix: one of `GENERATION_SUFFIXES`.
        words: whose maps a .gif draws on the picture; none if None.

    Raises:
        BundleError: another suffix.
        SelectionError: no such word.
    """
    check_suffix(suffix)
    suffix = suffix.lower()
    phrases = generation.phrases(words)
    bundle = generation_to_bundle(generation)
    if suffix == ".npz":
        return bundle.to_npz()
    if suffix == ".json":
        return bundle.to_json()
    # Imported here: a saved picture is read and written without matplotlib.
    if suffix == ".html":
        from crossviz.render.generation_page import generation_page
        from crossviz.render.generation_payload import generation_payload

        return embed(".html", generation_page([generation_payload(generation)]), bundle.to_npz())
    if suffix == ".gif":
        from crossviz.render.growing import growing_bytes

        return embed(".gif", growing_bytes(generation, phrases), bundle.to_npz())
    from crossviz.render.growing import marked

    png = io.BytesIO()
    marked(generation).save(png, "PNG")
    return embed(".png", png.getvalue(), bundle.to_npz())


def save_generation(
    generation: "Generation", path: str | os.PathLike, words: Sequence[int | str | tuple[int, int]] | None = None
) -> None:
    """As `Generation.save`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise BundleError(f"There is no folder {str(path.parent)!r}: make it first.")
    write_atomic(path, generation_bytes(generation, path.suffix, words))
