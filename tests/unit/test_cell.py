"""A cell against a plain loop in float64; numbers that don't follow from one another are refused."""

import dataclasses
import math
import pickle

import pytest
import torch
from planted_cells import DIM, HEADS, planted_attention, planted_trace

from crossviz.cell_source import cut
from crossviz.errors import ResultError, SelectionError
from crossviz.geometry import PatchGrid
from crossviz.inside_parts import figure
from crossviz.look_inside import look_inside

GRID = PatchGrid(6, 9)
TEXT = "a dog and a frisbee"
PLACES = {"dog": (0.25, 0.75), "frisbee": (0.8, 0.2)}


def opened(word="dog", **options):
    trace = planted_trace(TEXT, PLACES, GRID)
    return look_inside(trace, trace.caption.phrase(word), **options)


def by_hand(cell):
    """The whole chain of one head and of the output, in plain Python numbers."""

    def times(weight, bias, x):
        return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]

    q = times(cell.query_weight.tolist(), cell.query_bias.tolist(), cell.query_input.tolist())
    k = times(cell.key_weight.tolist(), cell.key_bias.tolist(), cell.key_input.tolist())
    v = times(cell.value_weight.tolist(), cell.value_bias.tolist(), cell.key_input.tolist())
    dot = sum(a * b for a, b in zip(q, k, strict=True))
    scores = [
        sum(a * b for a, b in zip(q, key, strict=True)) / math.sqrt(len(q)) + offset
        for key, offset in zip(cell.key_vectors.tolist(), cell.offsets.tolist(), strict=True)
    ]
    exps = [math.exp(score) for score in scores]
    probs = [e / sum(exps) for e in exps]
    context = [sum(p * row[i] for p, row in zip(probs, cell.values.tolist(), strict=True)) for i in range(len(q))]
    joined = [x for head in cell.contexts.tolist() for x in head]
    out = times(cell.out_weight.tolist(), cell.out_bias.tolist(), joined)
    summed = [a + b for a, b in zip(cell.stream.tolist(), out, strict=True)]
    mean = sum(summed) / len(summed)
    spread = math.sqrt(sum((x - mean) ** 2 for x in summed) / len(summed) + cell.norm_eps)
    output = [(x - mean) / spread * w + b for x, w, b in
              zip(summed, cell.norm_weight.tolist(), cell.norm_bias.tolist(), strict=True)]  # fmt: skip
    return {"query_vector": q, "key_vector": k, "value": v, "dot": dot, "scores": scores, "probs": probs,
            "context": context, "summed": summed, "output": output}  # fmt: skip


@pytest.mark.parametrize("head", range(HEADS))
def test_every_number_by_hand(head):
    [cell] = opened(head=head, patch=(4, 2)).cells
    wanted = by_hand(cell)
    assert cell.query_vector.tolist() == pytest.approx(wanted["query_vector"], abs=1e-5)
    assert cell.key_vector.tolist() == pytest.approx(wanted["key_vector"], abs=1e-5)
    assert cell.values[cell.key].tolist() == pytest.approx(wanted["value"], abs=1e-5)
    assert float(cell.products.sum()) == pytest.approx(wanted["dot"], abs=1e-5)
    assert cell.score == pytest.approx(wanted["dot"] / math.sqrt(DIM // HEADS), abs=1e-5)
    assert cell.scores.tolist() == pytest.approx(wanted["scores"], abs=1e-5)
    assert cell.probs.tolist() == pytest.approx(wanted["probs"], abs=1e-6)
    assert cell.contexts[head].tolist() == pytest.approx(wanted["context"], abs=1e-5)
    assert cell.summed.tolist() == pytest.approx(wanted["summed"], abs=1e-5)
    assert cell.output.tolist() == pytest.approx(wanted["output"], abs=1e-5)


@pytest.mark.parametrize(("word", "patch"), [("dog", (4, 2)), ("frisbee", (1, 7))])
def test_the_planted_place_is_what_is_opened(word, patch):
    inside = opened(word)
    assert inside.patch == patch
    assert inside.text == word and TEXT[slice(*inside.span)] == word
    assert [line[:20] for line in inside.picked] == ["No patch was chosen:", "The map is of all 4 "]
    heads = [opened(word, head=head, patch=patch).prob for head in range(HEADS)]
    assert inside.head == heads.index(max(heads)) and inside.prob == max(heads)
    assert opened(word, head=1, patch=patch).picked == ()


def test_the_null_key_is_a_cell_too():
    trace = planted_trace(TEXT, PLACES, GRID)
    cell = cut(trace.cells().open(0), 2, 3, GRID.num_patches)
    assert cell.is_null and cell.key_input is None and cell.has_null
    assert cell.offsets[-1] == 2.0, "its learned bias"
    assert torch.allclose(cell.key_vector, planted_attention().null_key[3])


def test_the_sums_on_the_sheet_are_the_numbers_after_them():
    sheet = {step["formula"]: step for step in opened(patch=(4, 2), head=2).as_dict()["steps"]}
    strips = {
        name: [torch.tensor(s["values"], dtype=torch.float64) for s in step["strips"]] for name, step in sheet.items()
    }
    column, query = strips["query"]
    [cell] = opened(patch=(4, 2), head=2).cells
    best = sheet["query"]["strips"][1]["mark"]
    assert float(strips["word"][0] @ column) + float(cell.query_bias[best]) == pytest.approx(
        float(query[best]), rel=1e-5
    )
    assert torch.allclose(strips["query"][-1] * strips["key"][-1], strips["products"][0], rtol=1e-6)
    assert float(strips["products"][0].sum()) == pytest.approx(float(strips["sum"][0]), rel=1e-6)
    assert float(strips["sum"][0]) / math.sqrt(8) == pytest.approx(float(strips["scale"][0]), rel=1e-5)
    assert torch.allclose(torch.softmax(strips["row"][0], -1), strips["softmax"][0], atol=1e-7)
    *parts, context = strips["context"]
    assert torch.allclose(sum(parts), context, atol=1e-6)
    assert torch.allclose(strips["word"][0] + strips["output"][-1], strips["residual"][0], atol=1e-6)
    assert next(iter(sheet)) == "word" and list(sheet)[-1] == "norm" and len(sheet) == 14


@pytest.mark.parametrize(
    "name", ["query_vector", "key_vectors", "scores", "probs", "values", "contexts", "attended", "summed", "output"]
)
def test_a_cell_with_one_number_changed_is_refused(name):
    [cell] = opened(patch=(4, 2), head=0).cells
    wrong = getattr(cell, name).clone()
    where = (cell.key,) if name in ("key_vectors", "values", "scores", "probs") else (0,)
    wrong[where] = wrong[where] + 1e-3 * wrong.abs().max()
    with pytest.raises(ResultError, match=r"In a cell, .* differs"):
        dataclasses.replace(cell, **{name: wrong})
    with pytest.raises(ResultError):
        dataclasses.replace(cell, **{name: wrong[:-1]})
    with pytest.raises(ResultError):
        dataclasses.replace(cell, **{name: wrong * torch.nan})


def test_another_attention_than_the_maps_is_refused():
    trace = planted_trace(TEXT, PLACES, GRID, kept=False)
    with pytest.raises(ResultError, match="other probabilities"):
        look_inside(trace, trace.caption.phrase("dog"))
    inside = opened()
    with pytest.raises(ResultError, match="give a probability"):
        dataclasses.replace(inside, prob=inside.prob + 1e-3)


def test_a_masked_key_can_not_be_opened():
    trace = planted_trace(TEXT, PLACES, GRID, null=False)
    source = trace.cells().open(0)
    mask = torch.zeros(len(source.keys))
    mask[5] = -math.inf
    scores = source.scores + mask
    probs = torch.softmax(scores, -1)
    masked = dataclasses.replace(source, scores=scores, probs=probs, mask=mask[None, None])
    with pytest.raises(SelectionError, match="does not look at that patch"):
        cut(masked, 2, 0, 5)
    with pytest.raises(ResultError, match=r"the LayerNorm|what the heads"):
        cut(masked, 2, 0, 6)  # the output is still that of the attention without a mask
    hidden = dataclasses.replace(masked, mask=None)
    with pytest.raises(ResultError, match="mask"):
        cut(hidden, 2, 0, 6)


def test_what_is_opened_is_kept_whole():
    inside = opened()
    assert pickle.loads(pickle.dumps(inside)) == inside
    assert inside != opened("frisbee")
    assert dataclasses.replace(inside.cells[0]) == inside.cells[0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (-0.31274, "−0.3127"), (12345.6, "1.235 × 10⁴"), (4.1e-6, "4.1 × 10⁻⁶"), (8, "8")]
)
def test_numbers_in_words(value, text):
    assert figure(value) == text
