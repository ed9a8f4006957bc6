"""What a sheet of arithmetic is made of: steps, strips of numbers, the names of things, and numbers in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["Named", "Step", "Strip", "figure", "share", "worked_out"]


@dataclass(frozen=True)
class Strip:
    """Numbers side by side. A "row" has one for each key: first the patches, row by row, then what else there is."""

    label: str
    values: Tensor
    kind: Literal["vector", "row", "column"] = "vector"
    """A "column" is one of a weight matrix's."""
    mark: int | None = None
    """The number that the sentence is about."""
    signed: bool = True


@dataclass(frozen=True)
class Step:
    """One line of the sheet."""

    id: str
    group: str
    name: str
    formula: str
    """Which formula belongs to it; the page sets it."""
    sentence: str
    strips: tuple[Strip, ...]
    inputs: tuple[str, ...] = ()
    """Ids of the steps that it is computed from."""
    part: str = ""
    """Of two attentions one after the other, which one it belongs to."""


@dataclass(frozen=True)
class Named:
    """What a cell's query and key are called in its sentences, and where they come from."""

    query: str
    """As “frisbee”, or "query 12 of the pooler"."""
    key: str
    """As "the patch in row 3, column 5"."""
    keys: str
    """All that is looked at, as "all 576 patches and the null key"."""
    names: tuple[str, ...]
    """Of every key of the row."""
    even: int
    """Keys that an even spread goes over: a probability of 1 / `even` is what chance gives."""
    key_kind: str = "patch"
    queries_from: str = ""
    """Where the query's token comes from: "from the text tower"."""
    keys_from: str = ""
    asks: str = "the word"
    """What the query is, in general."""


def share(part: float) -> str:
    """A part of 1 in percent, to four figures."""
    return f"{figure(100 * part)}\u202f%"


def figure(value: float) -> str:
    """A number to four figures, as people write it: −0.3127, 4.1 × 10⁻⁶."""
    text = f"{value:.4g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        mantissa += " × 10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return mantissa.replace("-", "−")


def worked_out(
    given: Tensor, weight: Tensor, bias: Tensor | None, vector: Tensor, index: int, matrix: str, unit: bool
) -> str:
    """One number of a projection in a sentence, from its column of the matrix."""
    product = float(weight[index].double() @ given.double())
    text = f"Number {index + 1}, for one: every number times its place in column {index + 1} of {matrix}, added up"
    text += f", is {figure(product)}"
    if bias is not None:
        text += f"; with the bias {figure(float(bias[index]))} that is {figure(product + float(bias[index]))}"
    return text + (
        f"; the whole is then brought to length 1, and it is {figure(float(vector[index]))}." if unit else "."
    )
