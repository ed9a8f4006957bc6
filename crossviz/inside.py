"""Inside: every number of one cell of a model's cross-attention, from the word's vector to what comes of it.

`Inside` is the answer, `crossviz.look_inside` finds it.

A cell is one token of the caption, one layer, one head and one patch. Where a model's attention goes through a pooler's
queries there are two: from the word to the query that carries most of it to the patch, and from there to the patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from crossviz.cell import TOLERANCE, Cell
from crossviz.errors import ResultError
from crossviz.frozen import own_tensor
from crossviz.inside_parts import Named, Step, Strip
from crossviz.inside_steps import steps_of, together

__all__ = ["Inside"]


@dataclass(frozen=True, eq=False)
class Inside:
    """One cell, or two one after the other, with what was asked for and what was chosen.

    Args:
        text, span: the words that were asked about, and where they stand in the caption.
        token: index of the token whose cell it is; `tokens` are those of the words, as (index, text).
        layer, head: label and index.
        patch: row and column.
        grid_hw: rows and columns of patches.
        cells: one; or from the word to a pooler's query, and from that to the patch.
        named: what the cells' queries and keys are called.
        others: names of the last cell's keys after the patches.
        through: of two cells, every query's probability of the patch, the mean over the pooler's heads: `query`.
        prob: the record's probability of this token, layer, head and patch.
        picked: what was not asked for and chosen instead, in sentences.
        notes: what to know of it, in sentences.
        model: name.
        trained: whether the weights were trained.

    Raises:
        ResultError: the cells do not give `prob`.
    """

    text: str
    span: tuple[int, int]
    token: int
    tokens: tuple[tuple[int, str], ...]
    layer: str
    head: int
    patch: tuple[int, int]
    grid_hw: tuple[int, int]
    cells: tuple[Cell, ...]
    named: tuple[Named, ...]
    others: tuple[str, ...]
    through: Tensor | None
    prob: float
    picked: tuple[str, ...]
    notes: tuple[str, ...]
    model: str
    trained: bool

    def __post_init__(self) -> None:
        if len(self.cells) != len(self.named) or len(self.cells) != (1 if self.through is None else 2):
            raise ResultError(f"Inside there is one cell, or there are two with what lies between: {len(self.cells)}.")
        found = self.cells[0].prob
        if self.through is not None:
            object.__setattr__(self, "through", own_tensor("through", self.through, "query"))
            found = float(self.cells[0].probs.double() @ self.through.double())
        if not abs(found - self.prob) <= TOLERANCE:
            raise ResultError(f"The cells give a probability of {found:.7f}, and the attention has {self.prob:.7f}.")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.cells == other.cells and self.as_dict() == other.as_dict()

    __hash__ = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The arithmetic line by line."""
        if self.through is None:
            return steps_of(self.cells[0], self.named[0])
        (one, its), (two, theirs) = zip(self.cells, self.named, strict=True)
        first = steps_of(one, its, "1-", "From the word to the pooler’s queries")
        second = steps_of(two, theirs, "2-", "From the pooler’s query to the patches")
        line = together(one.probs, self.through, self.prob, its.query, theirs.key, "1-softmax", "2-softmax")
        return (*first, *second, line)

    def as_dict(self) -> dict[str, Any]:
        """What the page draws: JSON types only; floats to nine figures, masked scores as None."""
        return {
            "text": self.text,
            "span": list(self.span),
            "token": self.token,
            "tokens": [list(pair) for pair in self.tokens],
            "layer": self.layer,
            "head": self.head,
            "heads": self.cells[0].num_heads,
            "patch": list(self.patch),
            "grid": list(self.grid_hw),
            "others": list(self.others),
            "prob": _short(self.prob),
            "picked": list(self.picked),
            "notes": list(self.notes),
            "model": self.model,
            "trained": self.trained,
            "steps": [_step(step, self.grid_hw) for step in self.steps],
        }


def _step(step: Step, grid_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": step.id,
        "group": step.group,
        "part": step.part,
        "name": step.name,
        "formula": step.formula,
        "sentence": step.sentence,
        "inputs": list(step.inputs),
        "strips": [_strip(strip, grid_hw) for strip in step.strips],
    }


def _strip(strip: Strip, grid_hw: tuple[int, int]) -> dict[str, Any]:
    values = [_short(value) for value in strip.values.double().tolist()]
    # A row over the patches is drawn as they lie in the photo.
    kind = "grid" if strip.kind == "row" and len(values) >= grid_hw[0] * grid_hw[1] else strip.kind
    return {"label": strip.label, "kind": kind, "mark": strip.mark, "signed": strip.signed, "values": values}


def _short(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None
