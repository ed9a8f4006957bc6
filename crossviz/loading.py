"""Reading what crossviz saved, whichever it is: an explanation or a generated picture."""

import os

from crossviz.bundle import read_bundle
from crossviz.explanation import Explanation, explanation_of
from crossviz.generation import Generation
from crossviz.generation_loading import bundle_to_generation
from crossviz.stored_generation import GENERATION_KIND
from crossviz.view_settings import ViewSettings

__all__ = ["load", "load_any"]


def load(path: str | os.PathLike) -> Explanation | Generation:
    """Read what `Explanation.save` or `Generation.save` wrote; equal to the one that was saved.

    Safe for files from others: nothing in them is executed, and sizes are checked before anything is unpacked.

    Raises:
        BundleError: the file is missing, of another kind, damaged, or of a newer schema.
    """
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
