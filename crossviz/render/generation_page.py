"""One page that stands alone: the viewer of generated pictures, with one or several of them, for any browser."""

from collections.abc import Sequence
from typing import Any

from crossviz.render.html import FOLLOW, assembled

__all__ = ["generation_page"]

_BOOT = f"""{FOLLOW}\
window.crossvizGeneration = window.CrossvizViewer.mountGenerations(home, read("crossviz-generations"));
window.crossvizGeneration.drawn.then(() => (document.documentElement.dataset.ready = "true"));
"""


def generation_page(payloads: Sequence[dict[str, Any]]) -> bytes:
    """The page, UTF-8.

    Args:
        payloads: what `generation_payload` returns, at least one; several are pictures of one caption.
    """
    first = payloads[0]
    return assembled(
        _BOOT,
        {"generations": list(payloads)},
        title=first["caption"]["text"],
        version=first["provenance"]["crossviz_version"],
    )
