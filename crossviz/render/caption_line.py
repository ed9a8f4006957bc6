"""How a map was made, in one line: for papers, under a figure, and wherever numbers are handed on."""

from typing import TYPE_CHECKING

from crossviz.errors import SelectionError
from crossviz.render.scale import map_scale, parts_of
from crossviz.render.sentences import hidden_sentence
from crossviz.results import Heads, head_index, layer_index, pinned

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["caption_line", "crop_line", "footer", "part_line", "scale_line"]

MOST_NAMED = 8
"""Heads that are named one by one."""
UNTRAINED = "UNTRAINED WEIGHTS: the maps mean nothing"


def caption_line(
    explanation: "Explanation",
    words: str = "",
    layer: int | str | None = None,
    head: Heads = None,
    vmax: float | None = None,
    hidden: bool = True,
    each: bool = False,
    part: str | None = None,
) -> str:
    """Model, weights, method, layer, head, scale and crop, parted by semicolons, with a full stop.

    Args:
        words: what is shown, as "red frisbee"; of all words if empty.
        layer, head: those that are shown; all of them if None.
        vmax: where the scale ends if it was made for these words alone, in displayed units; None: the shared scale.
        each: whether each of several words was scaled to itself.
        part: what is shown of the layers and heads, in the place of what `layer` and `head` say.
        hidden: whether words that were hidden from the model are named.

    Raises:
        SelectionError: no such layer or head.
    """
    origin, chart = explanation.provenance, explanation.map
    weights = f", weights {origin.weights_sha256[:12]}" if origin.weights_sha256 else ""
    parts = [
        f"{origin.model}{weights}",
        explanation.method_title,
        part_line(explanation, layer, head) if part is None else part,
        "each word scaled to itself" if each else scale_line(explanation, vmax, layer, head),
        crop_line(explanation),
    ]
    if not chart.text_dependent:
        parts.append("the same map for every word and caption")
    parts += [hidden_sentence(explanation) if hidden else "", "" if origin.trained else UNTRAINED]
    line = "; ".join(part for part in parts if part) + "."
    return f"“{' '.join(words.split())}”: {line}" if words else line


def footer(
    explanation: "Explanation",
    layer: int | str | None = None,
    head: Heads = None,
    vmax: float | None = None,
    each: bool = False,
    part: str | None = None,
) -> list[str]:
    """The lines under a figure: the caption line, and what else belongs to the picture.

    Args:
        layer, head, vmax, each, part: as for `caption_line`.
    """
    alike = explanation.similarity
    more = [explanation.map.direction, "" if alike is None else f"similarity {alike:.3f}"]
    more.append(f"crossviz {explanation.provenance.crossviz_version}")
    line = caption_line(explanation, "", layer, head, vmax, hidden=False, each=each, part=part)
    lines = [line, hidden_sentence(explanation), "  ·  ".join(filter(None, more))]
    return [line for line in lines if line]


def scale_line(
    explanation: "Explanation", vmax: float | None = None, layer: int | str | None = None, head: Heads = None
) -> str:
    """ "one absolute scale for all words, 1 to 12.3 × chance"."""
    scale, parts = map_scale(explanation.map, layer, head), parts_of(explanation.map, layer, head)
    start = -vmax if vmax is not None and scale.signed else scale.vmin
    ends = f"{start:.3g} to {scale.vmax if vmax is None else vmax:.3g} {scale.label}"
    all_of = f"all words and {parts}" if parts else "all words"
    return f"one absolute scale for {all_of}, {ends}" if vmax is None else f"scaled to this word alone, {ends}"


def crop_line(explanation: "Explanation") -> str:
    """Which part of the photo the model saw, at what size: "all of the photo, 640 × 480 px, seen as 224 × 224"."""
    view = explanation.view
    width, height = view.source_wh
    x0, y0, x1, y1 = view.crop_xyxy
    seen = tuple(round(at) for at in view.seen_xyxy)
    size = f"{width} × {height} px"
    part = f"all of the photo, {size}"
    if seen != (0, 0, width, height):
        part = f"crop x {seen[0]} to {seen[2]}, y {seen[1]} to {seen[3]} of {size}"
    outside = min(x0, y0) < -0.5 or x1 > width + 0.5 or y1 > height + 0.5
    return f"{part}, seen as {view.input_hw[1]} × {view.input_hw[0]}{', padded' if outside else ''}"


def part_line(explanation: "Explanation", layer: int | str | None, head: Heads) -> str:
    """ "mean over 2 layers and 3 heads", "layer 4, mean over 3 heads", "layer 4, head 0"."""
    chart = explanation.map
    how = "mean" if chart.reduce == "mean" else "sum"
    if chart.per_head is None:
        if layer is not None or head is not None:
            raise SelectionError(f"The maps of {chart.method} are not made of single layers and heads.")
        return ""
    layers, heads = chart.per_head.shape[:2]
    if isinstance(head, list | tuple):
        pins = pinned(chart.layers, heads, layer, head)
        named = [f"layer {_bare(chart.layers[at])} head {one}" for at, one in pins[:MOST_NAMED]]
        more = f" and {len(pins) - MOST_NAMED} more" if len(pins) > MOST_NAMED else ""
        return f"mean over {len(pins)} head{'s'[: len(pins) > 1]}: {', '.join(named)}{more}"
    one = "" if layer is None else f"layer {_bare(chart.layers[layer_index(chart.layers, layer)])}"
    other = "" if head is None else f"head {head_index(heads, head)}"
    many_layers, many_heads = f"{layers} layer{'s'[: layers > 1]}", f"{heads} head{'s'[: heads > 1]}"
    if one and other:
        return f"{one}, {other}"
    if one:
        return f"{one}, {how} over {many_heads}"
    if other:
        return f"{how} over {many_layers}, {other}"
    return f"{how} over {many_layers} and {many_heads}"


def _bare(label: str) -> str:
    """A layer's label without the word "layer", which stands before it already."""
    return label.removeprefix("layer ") or label
