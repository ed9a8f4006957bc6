"""The settings of a training run: one TOML file."""

import tomllib
from pathlib import Path
from typing import Any

__all__ = ["DALLE", "load_config"]

DALLE = Path(__file__).with_name("dalle.toml")
"""The settings of dalle-mini-scenes."""


def load_config(path: Path | None = None) -> dict[str, Any]:
    """The settings in `path`, or those of the embedded model (`mini.toml` beside this file)."""
    with open(path or Path(__file__).with_name("mini.toml"), "rb") as file:
        return tomllib.load(file)
