"""crossviz-mini's image tower, on which other embedded models stand: which one it is, and whether it is theirs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossviz.errors import ModelUnavailableError
from crossviz.models.about import ABOUT, one_line
from crossviz.paths import assets_dir

__all__ = ["TOWER", "check_tower", "tower_folder", "tower_sha256"]

TOWER = "crossviz-mini"
_WEIGHTS = "open_clip_model.safetensors"


def tower_folder() -> Path:
    """The folder of the embedded crossviz-mini."""
    return assets_dir() / "models" / TOWER


def tower_sha256() -> str:
    """The sha256 of its weights, as its own `crossviz.json` states it.

    Raises:
        ModelUnavailableError: that file is missing or can't be read.
    """
    try:
        return str(json.loads((tower_folder() / ABOUT).read_text(encoding="utf-8"))["sha256"][_WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"The image tower of {TOWER} is needed, and its {ABOUT} can't be read ({one_line(error)}): "
            "install crossviz again."
        ) from None


def check_tower(name: str, about: Mapping[str, Any]) -> None:
    """Compare the tower that a model was trained on with the one that is here.

    Args:
        name: of the model.
        about: what its `crossviz.json` says, with `tower` and `tower_sha256`.

    Raises:
        ModelUnavailableError: it is another one.
    """
    own = tower_sha256()
    if about["tower"] != TOWER or about["tower_sha256"] != own:
        raise ModelUnavailableError(
            f"The model {name} stands on the image tower of {about['tower']:.40} with another hash "
            f"({about['tower_sha256']:.12}...) than the {TOWER} that is installed here ({own:.12}...): "
            "install the version of crossviz that it was made with, or train it again."
        )
