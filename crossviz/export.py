"""An explanation as the bytes of a file, one kind per suffix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossviz.bundle import LOADABLE, embed
from crossviz.errors import RenderError
from crossviz.stored import explanation_to_bundle
from crossviz.view_settings import ViewSettings

if TYPE_CHECKING:
    from crossviz.explanation import Explanation, Selector
    from crossviz.inside import Inside

__all__ = ["SUFFIXES", "export_bytes"]

SUFFIXES = (*LOADABLE[:3], ".pdf", *LOADABLE[3:], ".csv")
"""What can be written; all but .pdf and .csv hold the whole explanation, for `load`."""
_SIZED = (".png", ".gif")


def export_bytes(
    explanation: "Explanation",
    suffix: str,
    words: "Sequence[Selector] | None" = None,
    width: int | None = None,
    settings: ViewSettings | None = None,
    cells: "Sequence[Inside]" = (),
) -> bytes:
    """A file's content.

    Args:
        suffix: one of `SUFFIXES`.
        words: what a picture shows, or whose rows a table holds; every word if None, in a .gif the one that is most
            strongly there.
        width: of a .png or .gif, in pixels.
        settings: how a picture is drawn, which a file that holds the explanation keeps; they choose the words where
            `words` is None and they hold or show any.
        cells: whose arithmetic an .html shows.

    Raises:
        SelectionError: no such word, layer or head.
        RenderError: a width that can't be, or of a file without pixels; cells of a file that shows none.
    """
    # Imported here: a saved explanation is read and written without matplotlib.
    if cells and suffix != ".html":
        raise RenderError(f"`cells` are for .html: a {suffix} file does not show them.")
    if width is not None and suffix not in _SIZED:
        raise RenderError(f"`width` is for {' and '.join(_SIZED)}: a {suffix} file has no width in pixels.")
    if words is None and settings is not None:
        words = settings.words or None
    if suffix == ".csv":
        from crossviz.table import table_bytes

        return table_bytes(explanation, words)
    if suffix == ".pdf":
        return _drawn(explanation, "pdf", words, None, settings)
    bundle = explanation_to_bundle(explanation, settings)
    if suffix == ".npz":
        return bundle.to_npz()
    if suffix == ".json":
        return bundle.to_json()
    if suffix == ".html":
        from crossviz.render.html import standalone_page
        from crossviz.render.payload import viewer_payload

        opened = [cell.as_dict() for cell in cells]
        return embed(".html", standalone_page(viewer_payload(explanation), settings, cells=opened), bundle.to_npz())
    if suffix == ".gif":
        from crossviz.render.animation import animation_bytes

        return embed(".gif", animation_bytes(explanation, words, width, settings), bundle.to_npz())
    return embed(suffix, _drawn(explanation, suffix[1:], words, width, settings), bundle.to_npz())


def _drawn(
    explanation: "Explanation",
    kind: str,
    words: "Sequence[Selector] | None",
    width: int | None,
    settings: ViewSettings | None,
) -> bytes:
    from crossviz.render.figure import figure_bytes

    how = {} if settings is None else settings.drawing()
    return figure_bytes(explanation.figure(words, width=width, **how), kind)
