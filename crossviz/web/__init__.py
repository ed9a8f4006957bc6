"""The app and the viewer. `crossviz.web.app` builds and serves the page; this module hands out the viewer's files.

The viewer is plain JavaScript and CSS without dependencies: the app embeds it in a Gradio component, and
`render/html.py` in a page that stands alone. Its scripts are loaded in the order of their names.
"""

from functools import cache
from importlib.resources import files

__all__ = ["viewer_css", "viewer_js"]


@cache
def viewer_js() -> str:
    """All of the viewer's scripts, which together define `window.CrossvizViewer`."""
    scripts = [entry for entry in (files(__name__) / "viewer").iterdir() if entry.name.endswith(".js")]
    return "\n".join(entry.read_text("utf-8") for entry in sorted(scripts, key=lambda entry: entry.name))


@cache
def viewer_css() -> str:
    """The design variables and the viewer's own style."""
    parts = ("tokens", "viewer", "actions", "explore", "trust", "families", "inside", "compare", "generate")
    names = [f"{part}.css" for part in parts]
    return "\n".join((files(__name__) / name).read_text("utf-8") for name in names)
