"""Reading what crossviz saved, whichever it is: an explanation, a generated picture, or a batch of explained photos."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from crossviz.bundle import read_bundle
from crossviz.explanation import Explanation, explanation_of
from crossviz.generation import Generation
from crossviz.generation_loading import bundle_to_generation
from crossviz.stored_generation import GENERATION_KIND
from crossviz.view_settings import ViewSettings

if TYPE_CHECKING:
    from crossviz.batch.reader import BatchResults

__all__ = ["load", "load_any"]


def load(path: str | os.PathLike) -> "Explanation | Generation | BatchResults":
    """Read what `Explanation.save` or `Generation.save` wrote, equal to the one that was saved; or, of a folder, what
    `crossviz batch` wrote.

    Safe for files from others: nothing in them is executed, and sizes are checked before anything is unpacked.

    Raises:
        BundleError: the file is missing, of another kind, damaged, or of a newer schema.
    """
    if Path(path).is_dir():
        from crossviz.batch.reader import load_batch

        return load_batch(Path(path))
    return load_any(path)[0]


def load_any(
    path: str | os.PathLike, *, most_bytes: int | None = None
) -> tuple[Explanation | Generation, ViewSettings | None]:
    """As `load`, with the settings of the view that an explanation was saved with; None where there are none.

    Args:
        most_bytes: what the file may unpack to; 2 GB if None.

    Raises:
        BundleError: as for `load`.
    """
    bundle = read_bundle(path, most_bytes)
    if bundle.manifest.get("kind") == GENERATION_KIND:
        return bundle_to_generation(bundle), None
    return explanation_of(bundle)
