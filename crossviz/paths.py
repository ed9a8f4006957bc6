"""Where the files are that crossviz carries: the embedded models and the example photos."""

from pathlib import Path

__all__ = ["assets_dir"]

_HERE = Path(__file__).resolve().parent


def assets_dir() -> Path:
    """The folder `assets`: inside the installed package, or beside it in a checkout of the repository."""
    installed = _HERE / "assets"
    return installed if installed.is_dir() else _HERE.parent / "assets"
