"""One page that stands alone: the viewer, its style and one explanation in a single file, for any browser, offline.

Nothing is fetched: a content security policy forbids it, and lets no script run but the two whose hashes it names.
What a user wrote is data in it, in JSON with every `<` escaped; the viewer sets it as text, never as markup.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

from crossviz.view_settings import ViewSettings
from crossviz.web import viewer_css, viewer_js

__all__ = ["FOLLOW", "assembled", "script_json", "standalone_page"]

FOLLOW = """\
"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
follow();
dark.addEventListener("change", follow);
const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
const home = document.getElementById("crossviz-viewer");
"""
"""What every page begins with: the colours follow the system; `read` and `home` for what comes next."""

_BOOT = f"""{FOLLOW}\
const options = {{ opening: {{ settings: read("crossviz-settings") }}, earlier: read("crossviz-earlier"),
  cells: read("crossviz-cells") }};
window.crossvizView = window.CrossvizViewer.mount(home, read("crossviz-payload"), options);
window.crossvizView.drawn.then(() => (document.documentElement.dataset.ready = "true"));
"""

_PAGE_CSS = """
html { background: var(--cv-bg); }
body { margin: 0 auto; max-width: 76rem; padding: var(--cv-6) var(--cv-4); color: var(--cv-ink);
  font: var(--cv-text)/var(--cv-leading) var(--cv-font); }
body > header { margin-bottom: var(--cv-4); color: var(--cv-muted); }
body > header b { color: var(--cv-ink); }
"""

_DATA = '<script type="application/json" id="crossviz-{}">{}</script>\n'

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="crossviz {version}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><b>crossviz</b> which part of the picture does a word look at?</header>
<main id="crossviz-viewer"></main>
<noscript><p>This page draws the maps with JavaScript, which is switched off.</p></noscript>
{data}<script>{viewer}</script>
<script>{boot}</script>
</body>
</html>
"""


def standalone_page(
    payload: dict[str, Any],
    settings: ViewSettings | None = None,
    *,
    earlier: Sequence[dict[str, Any]] = (),
    cells: Sequence[dict[str, Any]] = (),
) -> bytes:
    """The page, UTF-8.

    Args:
        payload: what `payload.viewer_payload` returns.
        settings: what the page opens with.
        earlier: payloads of other explanations, oldest first, to compare it with; the page opens with the comparison.
        cells: of `Inside.as_dict`, whose arithmetic the page shows.
    """
    more = {} if settings is None else {"settings": settings.as_dict()}
    if earlier:
        more["earlier"] = list(earlier)
    if cells:
        more["cells"] = list(cells)
    return assembled(
        _BOOT,
        {"payload": payload, **more},
        title=payload["caption"]["text"],
        version=payload["provenance"]["crossviz_version"],
    )


def assembled(boot: str, data: dict[str, Any], *, title: str, version: str) -> bytes:
    """A page of the viewer that stands alone, UTF-8.

    Args:
        boot: the script that mounts the viewer on the element `crossviz-viewer`.
        data: JSON values that it finds in inert elements `crossviz-NAME`.
        title: what the page is about, as a user wrote it.
        version: of crossviz.
    """
    style = viewer_css() + _PAGE_CSS
    viewer = viewer_js()
    for code in (style, viewer):
        if "</style" in code.lower() or "</script" in code.lower() or "<!--" in code:
            raise RuntimeError("The viewer's code holds a tag that would end its element: write it in two parts.")
    sources = " ".join(_hash(code) for code in (viewer, boot))
    policy = (
        f"default-src 'none'; script-src {sources}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _PAGE.format(
        policy=policy,
        version=html.escape(version),
        title=html.escape(" ".join(title.split())) + " · crossviz",
        style=style,
        data="".join(_DATA.format(name, script_json(value)) for name, value in data.items()),
        viewer=viewer,
        boot=boot,
    )
    return page.encode("utf-8", "replace")


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no `<`, `>` or `&`, and nothing outside ASCII."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(code: str) -> str:
    # A browser hashes the element's text after it has turned CR LF into LF.
    digest = hashlib.sha256(code.replace("\r\n", "\n").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
