"""Several explanations in one page that stands alone: any two of them side by side, with what moved between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossviz.bundle import embed
from crossviz.errors import RenderError
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload
from crossviz.stored import explanation_to_bundle

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["comparison_page"]


def comparison_page(explanations: "Sequence[Explanation]") -> bytes:
    """The interactive page, UTF-8: it opens with the first explanation beside the second.

    `load` reads the first of them back.

    Args:
        explanations: two or more, of any photos, captions, models and methods.

    Raises:
        RenderError: there are fewer than two.
    """
    if len(explanations) < 2:
        raise RenderError(f"A comparison needs at least two explanations; {len(explanations)} given.")
    first, *others = explanations
    page = standalone_page(viewer_payload(first), earlier=[viewer_payload(other) for other in reversed(others)])
    return embed(".html", page, explanation_to_bundle(first).to_npz())
