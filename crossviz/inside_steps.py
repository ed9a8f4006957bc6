"""The arithmetic of a cell as steps to be read: a name, a sentence with the real numbers, and the vectors as strips.

The steps are those of Vaswani et al., "Attention Is All You Need" (2017), section 3.2, in five groups. Their sentences
are for people who have never seen a formula; the numbers in them are those of the cell, to four figures.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crossviz.cell import Cell
from crossviz.inside_parts import Named, Step, Strip, figure, share, worked_out

__all__ = ["steps_of", "together"]

MATCH = "Query and key"
SCORE = "Scaled dot product"
SOFTMAX = "Softmax"
SUM = "Weighted sum of the values"
OUT = "Output"
COMPOSED = "Both steps together"
SHOWN_PARTS = 5
"""Keys whose part in the weighted sum is shown by itself."""


def steps_of(cell: Cell, named: Named, prefix: str = "", part: str = "") -> tuple[Step, ...]:
    """Every line of one cell.

    Args:
        cell: with the key that was asked for, which is not the null key.
        named: what its query and key are called.
        prefix: goes before the ids, so that two cells can stand on one sheet.
        part: what this cell is called there.
    """
    made = [*_matching(cell, named), *_scoring(cell, named)]
    if cell.values is not None:
        made += [*_summing(cell, named), *_leaving(cell, named)]
    return tuple(
        replace(step, id=prefix + step.id, inputs=tuple(prefix + name for name in step.inputs), part=part)
        for step in made
    )


def together(row: Tensor, through: Tensor, prob: float, query: str, key: str, first: str, second: str) -> Step:
    """The line that composes two cells: a word's attention to queries, times each query's to the patch.

    Args:
        row: the word's probabilities over the queries.
        through: each query's probability of the patch, the mean over its heads.
        prob: their product, summed.
        query, key: what both are called.
        first, second: ids of the steps whose probabilities these are.
    """
    parts = row.double() * through.double()
    best = int(parts.argmax())
    return Step(
        "together", COMPOSED, "From word to patch", "together",
        f"{_begin(query)} looks at {key} through all {len(row)} queries: each one’s share of the word, times its own "
        f"share of the patch (the mean of its heads), adds up to {figure(prob)}. The most comes through query "
        f"{best + 1}: {figure(float(row[best]))} × {figure(float(through[best]))} = {figure(float(parts[best]))}.",
        (
            Strip("the word’s share of each query", row, mark=best, signed=False),
            Strip("each query’s share of the patch", through, mark=best, signed=False),
            Strip("products", parts, mark=best, signed=False),
        ),
        (first, second),
    )  # fmt: skip


def _matching(cell: Cell, named: Named) -> list[Step]:
    best = int(cell.products.abs().argmax())  # the number that counts most is worked out in full
    dim, head_dim, whole = len(cell.stream), len(cell.query_vector), f"head {cell.head + 1}"
    source = f" {named.queries_from}" if named.queries_from else ""
    made = [
        Step(
            "word", MATCH, "The word’s vector" if named.asks == "the word" else "The query’s vector", "word",
            f"{_begin(named.query)} comes to this layer as {dim} numbers{source}: its vector x.",
            (Strip("x", cell.stream),),
        )
    ]  # fmt: skip
    enters = "word"
    if cell.entry_weight is not None:
        enters = "entry"
        mean, std = float(cell.stream.mean()), float(cell.stream.std(correction=0))
        made.append(
            Step(
                "entry", MATCH, "LayerNorm", "entry",
                f"This layer first takes off their mean ({figure(mean)}), divides by their standard deviation "
                f"({figure(std)}) and gives each number its learned weight and bias.",
                (Strip("LayerNorm(x)", cell.query_input),), ("word",),
            )
        )  # fmt: skip
    asks = worked_out(cell.query_input, cell.query_weight, cell.query_bias, cell.query_vector, best, "W_Q", cell.unit)
    made.append(
        Step(
            "query", MATCH, "W_Q makes the query", "query-unit" if cell.unit else "query",
            f"The learned matrix W_Q turns them into the {head_dim} numbers of {whole}’s query: what {named.asks} "
            f"asks for. {asks}",
            (
                Strip(f"column {best + 1} of W_Q", cell.query_weight[best], "column"),
                Strip("query q", cell.query_vector, mark=best),
            ),
            (enters,),
        )
    )  # fmt: skip
    source = f" {named.keys_from}" if named.keys_from else ""
    holds = worked_out(cell.key_input, cell.key_weight, cell.key_bias, cell.key_vector, best, "W_K", cell.unit)
    made += [
        Step(
            "patch", MATCH, f"The {named.key_kind}’s vector", "patch",
            f"{_begin(named.key)} comes as {len(cell.key_input)} numbers{source}: its vector y.",
            (Strip("y", cell.key_input),),
        ),
        Step(
            "key", MATCH, "W_K makes the key", "key-unit" if cell.unit else "key",
            f"The learned matrix W_K turns them into {whole}’s key, {head_dim} numbers too: what the {named.key_kind} "
            f"has to offer. {holds}",
            (
                Strip(f"column {best + 1} of W_K", cell.key_weight[best], "column"),
                Strip("key k", cell.key_vector, mark=best),
            ),
            ("patch",),
        ),
    ]  # fmt: skip
    return made


def _scoring(cell: Cell, named: Named) -> list[Step]:
    q, k, products = cell.query_vector, cell.key_vector, cell.products
    best, total, offset = int(products.abs().argmax()), float(products.sum()), float(cell.offsets[cell.key])
    seen = cell.scores[torch.isfinite(cell.scores)]
    rank = int((seen > cell.score).sum()) + 1
    hidden = len(cell.scores) - len(seen)
    root = f"divided by √{len(q)} = {figure(len(q) ** 0.5)}"
    if abs(cell.scale * len(q) ** 0.5 - 1) > 1e-6:
        root = f"times the trained temperature {figure(cell.scale)}"
    score = f"The dot product, {root}, is the score of this cell: {figure(cell.score)}"
    log_sum = float(torch.logsumexp(seen.double(), 0))
    return [
        Step(
            "products", SCORE, "Number by number", "products",
            "Query times key, number by number: positive where both point the same way. Number "
            f"{best + 1} counts most: {figure(float(q[best]))} × {figure(float(k[best]))} = "
            f"{figure(float(products[best]))}.",
            (Strip("q × k", products, mark=best),), ("query", "key"),
        ),
        Step(
            "sum", SCORE, "Their sum", "sum",
            f"The {len(q)} products add up to {figure(total)}: the dot product, how well the key fits the query.",
            (Strip("q · k", torch.tensor([total])),), ("products",),
        ),
        Step(
            "scale", SCORE, "Scaled" if "√" in root else "Times the temperature", "scale" if "√" in root else "warm",
            f"{score}{f', with {figure(offset)} added for the mask' if offset else ''}. "
            + ("Without the division long vectors would make large scores." if "√" in root else
               "The temperature was learned with the model."),
            (Strip("score", torch.tensor([cell.score])),), ("sum",),
        ),
        Step(
            "row", SOFTMAX, "The whole row of scores", "row" if "√" in root else "row-warm",
            f"The same is done with {named.keys}: the scores run from {figure(float(seen.min()))} to "
            f"{figure(float(seen.max()))}, and this {named.key_kind}’s is number {rank} of {len(seen)}."
            + (f" {hidden} are masked: they may not be looked at." if hidden else ""),
            (Strip("scores", cell.scores, "row", cell.key),), ("scale",),
        ),
        Step(
            "softmax", SOFTMAX, "Softmax", "softmax",
            f"Each score s becomes e to the s, divided by the sum of all of them, so that the row adds up to 1. Here "
            f"e^({figure(cell.score)} − {figure(log_sum)}) = {figure(cell.prob)}: {share(cell.prob)} of the "
            f"attention, {figure(cell.prob * named.even)} × chance (1 = it looks everywhere alike).",
            (Strip("probabilities", cell.probs, "row", cell.key, signed=False),), ("row",),
        ),
    ]  # fmt: skip


def _summing(cell: Cell, named: Named) -> list[Step]:
    values, probs = cell.values.double(), cell.probs.double()
    context = cell.contexts[cell.head]
    most = torch.argsort(probs, descending=True, stable=True)[:SHOWN_PARTS].tolist()
    shown = [cell.key, *[key for key in most if key != cell.key]][:SHOWN_PARTS]
    parts = [Strip(f"{share(float(probs[key]))} × {named.names[key]}", probs[key] * values[key]) for key in shown]
    rest = probs @ values - sum(part.values for part in parts)
    covered = float(probs[shown].sum())
    if len(shown) < len(probs):
        parts.append(Strip(f"the other {len(probs) - len(shown)}", rest))
    return [
        Step(
            "value", SUM, "W_V makes the value", "value",
            f"A third learned matrix, W_V, turns the {named.key_kind}’s numbers into its value, {len(context)} "
            "numbers: what it hands on when it is looked at.",
            (Strip("value v", cell.values[cell.key]),), ("patch",),
        ),
        Step(
            "context", SUM, "Weighted sum", "context",
            f"Every value times its probability, all added up, is head {cell.head + 1}’s context. This "
            f"{named.key_kind} gives {figure(cell.prob)} of its value; the {len(shown)} listed have "
            f"{share(covered)} of the attention together.",
            (*parts, Strip("context", context)), ("softmax", "value"),
        ),
    ]  # fmt: skip


def _leaving(cell: Cell, named: Named) -> list[Step]:
    heads = f"The contexts of all {cell.num_heads} heads, one after the other" if cell.num_heads > 1 else "The context"
    made = [
        Step(
            "output", OUT, "W_O joins the heads", "output",
            f"{heads}, go through a last learned matrix, W_O: {len(cell.attended)} numbers, what {named.query} takes "
            "from what it looked at.".replace("context, go", "context goes"),
            (Strip("all contexts", cell.contexts.flatten()), Strip("output o", cell.attended)), ("context",),
        )
    ]  # fmt: skip
    if cell.summed is None:
        return made
    mean, std = float(cell.summed.mean()), float(cell.summed.std(correction=0))
    after = "what the layer works on next" if cell.entry_weight is not None else "its new vector, told of the photo"
    return [
        *made,
        Step(
            "residual", OUT, "Residual", "residual",
            f"These are added to the vector that came in, so that {named.query} stays what it was, and more.",
            (Strip("x + o", cell.summed),), ("word", "output"),
        ),
        Step(
            "norm", OUT, "LayerNorm", "norm",
            f"LayerNorm takes off the mean ({figure(mean)}), divides by the standard deviation ({figure(std)}) and "
            f"gives each number its learned weight and bias: {after}.",
            (Strip("LayerNorm(x + o)", cell.output),), ("residual",),
        ),
    ]  # fmt: skip


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]
