"""An explanation in a notebook: the standalone page in a frame of its own, and a still picture.

Jupyter shows the page, offline. Where frames and styles are taken out of outputs (GitHub, notebooks that are not
trusted), the picture beside the frame stays, which the style hides everywhere else.
"""

import base64
import html
from typing import TYPE_CHECKING, Any

from crossviz.render.figure import figure_bytes
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload
from crossviz.render.told import alternative

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["MAX_PAGE_BYTES", "mimebundle", "notebook_html"]

MAX_PAGE_BYTES = 4 << 20
"""A larger page is shown without its single layers and heads: a notebook keeps every output in its file."""
STILL_WIDTH = 960
"""Pixels of the still picture."""
_LEFT_OUT = (
    "In this notebook without single layers and heads, which take {size:.0f} MB: save an .html to look at them "
    "(`.save('view.html')`)."
)
_OUTPUT = """\
<div class="crossviz-output">
<style>.crossviz-output > .crossviz-still {{ display: none; }}</style>
<img class="crossviz-still" width="{width}" alt="{alt}" src="data:image/png;base64,{still}">
<iframe title="{title}" sandbox="allow-scripts allow-downloads" loading="lazy" srcdoc='{page}'
 style="width: 100%; height: 48rem; border: 0; display: block; resize: vertical; background: white"></iframe>
</div>"""


def mimebundle(explanation: "Explanation") -> dict[str, str]:
    """What a notebook may choose from: "text/html" (interactive), "image/png" (base64), "text/plain"."""
    still = _still(explanation)
    return {
        "text/html": notebook_html(explanation, still),
        "image/png": base64.b64encode(still).decode("ascii"),
        "text/plain": repr(explanation),
    }


def notebook_html(explanation: "Explanation", still: bytes | None = None) -> str:
    """The frame with the standalone page, and the still picture (PNG, drawn here if None).

    The frame may run its scripts and save files, and has no origin: it can't reach the notebook around it.
    """
    page = standalone_page(_bounded(viewer_payload(explanation))).decode()
    still = _still(explanation) if still is None else still
    return _OUTPUT.format(
        title=html.escape(f"Where each word looks: {' '.join(explanation.caption.text.split())}"),
        alt=html.escape(alternative(explanation)),
        width=STILL_WIDTH,
        still=base64.b64encode(still).decode("ascii"),
        # Between single quotes: the page is full of double ones. `&` first, or what stands for a quote is lost.
        page=page.replace("&", "&amp;").replace("'", "&#39;"),
    )


def _still(explanation: "Explanation") -> bytes:
    return figure_bytes(explanation.figure(width=STILL_WIDTH), "png")


def _bounded(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload, without maps of single layers and heads where they make it too large."""
    parts = [part["data"] for part in (payload["maps"], payload.get("steps", {}).get("words")) if part]
    size = sum(map(len, parts))
    if size <= MAX_PAGE_BYTES:
        return payload
    small = {name: value for name, value in payload.items() if name != "steps"}
    method = {**payload["method"], "notes": [*payload["method"]["notes"], _LEFT_OUT.format(size=size / 2**20)]}
    return {**small, "maps": None, "layers": [], "heads": 0, "method": method}
