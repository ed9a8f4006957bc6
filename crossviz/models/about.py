"""What the `crossviz.json` of a model's folder says of the model; other people's folders have none."""

import json
from pathlib import Path

__all__ = ["ABOUT", "kind_of", "says_trained"]

ABOUT = "crossviz.json"


def kind_of(folder: Path) -> str:
    """The kind that it states, as "coca-mini"; "" where it states none."""
    try:
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8")).get("kind", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def says_trained(folder: Path) -> bool:
    """Whether the model's weights were trained; a folder without that file is taken to hold trained ones."""
    about = folder / ABOUT
    if not about.is_file():
        return True
    try:
        return bool(json.loads(about.read_text(encoding="utf-8"))["training"]["trained"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
