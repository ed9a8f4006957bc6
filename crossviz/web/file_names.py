"""What a saved file is called."""

import re

__all__ = ["file_name"]


def file_name(caption: str) -> str:
    """What a saved explanation is called, without suffix: letters and digits of the caption, at most 60."""
    return "crossviz-" + (re.sub(r"\W+", "-", caption.lower()).strip("-")[:60].rstrip("-") or "caption")
