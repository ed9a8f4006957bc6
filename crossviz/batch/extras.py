"""The packages that only this part needs, or one sentence that says how to install them."""

import importlib.util
from collections.abc import Sequence

from crossviz.errors import CrossvizError, DatasetError

__all__ = ["STORAGE", "require"]

STORAGE = ("pyarrow", "zarr")
"""What the results are written and read with."""


def require(
    what: str, packages: Sequence[str], extra: str = "batch", error: type[CrossvizError] = DatasetError
) -> None:
    """Say what is missing before anything takes time; nothing is imported to look.

    Args:
        what: who needs them, as a sentence begins.
        packages: their names.
        extra: crossviz's extra that brings them.
        error: the class of the error.

    Raises:
        CrossvizError: one is not installed; of the class `error`.
    """
    absent = [package for package in packages if importlib.util.find_spec(package) is None]
    if absent:
        noun, are = ("package", "is") if len(absent) == 1 else ("packages", "are")
        raise error(
            f"{what} needs the {noun} {' and '.join(absent)}, which {are} not installed: pip install "
            f"crossviz[{extra}] (in a checkout .venv/bin/pip install -r requirements-{extra}.txt)."
        )
