"""Which layers a method reads: one list of labels per image tower, and one way to choose among them."""

from collections.abc import Sequence

from crossviz.errors import SelectionError
from crossviz.results import layer_index
from crossviz.trace import ImageTower

__all__ = ["Layers", "select_layers", "tower_labels"]

Layers = int | Sequence[int | str] | None


def tower_labels(tower: ImageTower) -> list[str]:
    """The attention layers of a tower, bottom to top: its blocks, then its pooler; the same for every method."""
    return [block.label for block in tower.blocks] + ([] if tower.pooler is None else [tower.pooler.label])


def select_layers(
    layers: Layers, labels: Sequence[str], readable: Sequence[int] | None = None, hint: str = ""
) -> list[int]:
    """The indices of the chosen layers, in the model's order: None all, n the last n, else a list.

    Args:
        layers: what was asked for; a list's indices and labels are those of `labels`.
        labels: of all layers.
        readable: the indices of those that the method can read, in order; None for all. "All" and "the last n" are
            of these.
        hint: a sentence that a refusal of the others ends with.

    Raises:
        SelectionError: there is no such layer, the method does not read it, or none is chosen.
    """
    readable = range(len(labels)) if readable is None else readable
    hint = f" {hint}" if hint else ""
    if layers is None:
        return list(readable)
    if isinstance(layers, bool | str) or not isinstance(layers, int | Sequence):
        raise SelectionError(
            f"`layers` is None for all, a number n for the last n, or a list of indices and labels, not {layers!r:.60}."
        )
    reads = ", ".join(f"{i} {labels[i]!r}" for i in readable)
    if isinstance(layers, int):
        if not 1 <= layers <= len(readable):
            raise SelectionError(
                f"`layers`={layers} asks for the last {layers} layers, and the method reads {len(readable)} here: "
                f"{reads}.{hint}"
            )
        return list(readable)[-layers:]
    chosen = sorted({layer_index(labels, layer) for layer in layers})
    if not chosen:
        raise SelectionError("`layers` is empty: name at least one layer, or None for all.")
    others = [labels[i] for i in chosen if i not in readable]
    if others:
        raise SelectionError(f"The method does not read {others[0]!r} of this model, but only: {reads}.{hint}")
    return chosen
