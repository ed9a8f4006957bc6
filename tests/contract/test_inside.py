"""Inside: every family opens a cell of its cross-attention to numbers that are its own, or says why it can't."""

import json
import math

import pytest
import torch

from crossviz import Explainer
from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.trace import CAPABILITIES

from .conftest import CAPTION
from .test_contract import assert_same_state, state_of

WORDS = ("dog's", "red", "frisbee")


@pytest.fixture(scope="module")
def explainer(model_name) -> Explainer:
    return Explainer(model_name, "cpu")


@pytest.fixture
def offered(model):
    if "cells" in model.lacks():
        pytest.skip("says why not in a test of its own")


def test_a_family_that_has_no_cells_says_why(model, explainer, encoded):
    if "cells" not in model.lacks():
        assert "cross_attention" not in model.lacks()
        return
    with pytest.raises(UnsupportedMethodError, match=rf"does not offer {CAPABILITIES['cells']}: its? .+"):
        explainer.inside(encoded, CAPTION, "red")


def test_a_cell_is_that_of_the_record(offered, explainer, encoded, explained):
    """Every layer and head, some words, some patches: the row is the record's, bit for bit, and the numbers follow."""
    found = explained("cross_attention")
    record, grid = found.record, found.grid
    seen = torch.isfinite(record.scores[0, 0, 1, : grid.num_patches]).nonzero().flatten().tolist()
    asked = list(zip(WORDS, (seen[0], seen[len(seen) // 2], seen[-1]), strict=True))
    for layer in range(record.num_layers):
        for head in range(record.num_heads):
            # One to a head where every layer has heads for all of them.
            turn = (layer + head) % len(asked)
            for word, place in asked if record.num_heads < len(asked) else asked[turn : turn + 1]:
                inside = explainer.inside(encoded, found, word, layer=layer, head=head, patch=grid.row_col(place))
                assert (inside.layer, inside.head) == (record.layers[layer], head)
                assert inside.patch == grid.row_col(place)
                assert abs(inside.prob - float(record.probs[layer, head, inside.token, place])) <= 1e-6
                if inside.through is None:
                    [cell] = inside.cells
                    assert torch.allclose(cell.probs, record.probs[layer, head, inside.token], rtol=0, atol=1e-5)
                    assert torch.equal(cell.scores.isinf(), record.scores[layer, head, inside.token].isinf())
                    assert cell.has_null == record.has_null
                for cell in inside.cells:
                    dot = float(cell.products.sum()) * cell.scale + float(cell.offsets[cell.key])
                    assert dot == pytest.approx(cell.score, rel=1e-5, abs=1e-5)
                    fused = torch.softmax(cell.scores.double(), -1)[cell.key]
                    assert cell.prob == pytest.approx(float(fused), abs=1e-6)


def test_attention_by_torch_itself_gives_the_context(offered, explainer, encoded):
    inside = explainer.inside(encoded, CAPTION, "frisbee")
    for cell in inside.cells:
        if cell.values is None:
            continue
        context = torch.nn.functional.scaled_dot_product_attention(
            cell.query_vector[None, None], cell.key_vectors[None], cell.values[None],
            attn_mask=cell.offsets[None, None], scale=cell.scale,
        )[0, 0]  # fmt: skip
        largest = float(context.abs().max())
        assert torch.allclose(cell.contexts[cell.head], context, rtol=0, atol=1e-5 * largest)


def test_what_is_not_given_is_chosen_and_said(offered, explainer, encoded, explained):
    found = explained("cross_attention")
    inside = explainer.inside(encoded, found, "red frisbee")
    probs, patches = found.record.probs.double(), found.grid.num_patches
    tokens = [token for token, _ in inside.tokens]
    means = probs[:, :, tokens, :patches].mean((0, 1, 2))
    assert means[found.grid.index(*inside.patch)] == pytest.approx(float(means.max()), rel=1e-5)
    assert inside.picked[0].startswith("No patch was chosen")
    assert len(inside.picked) == 2 + (probs.shape[0] * probs.shape[1] > 1) + (inside.through is not None)
    heads = probs[:, :, inside.token, found.grid.index(*inside.patch)]
    assert inside.prob == pytest.approx(float(heads.max()), abs=1e-6)


def test_the_sheet_is_json_and_every_step_stands_on_others(offered, explainer, encoded):
    inside = explainer.inside(encoded, CAPTION, "frisbee")
    sheet = json.loads(json.dumps(inside.as_dict(), allow_nan=False))
    assert sheet == inside.as_dict()
    known = set()
    for step in sheet["steps"]:
        assert set(step["inputs"]) <= known, "a step comes after those that it is computed from"
        known.add(step["id"])
        assert step["sentence"].endswith(".") and step["strips"]
        for strip in step["strips"]:
            assert all(value is None or math.isfinite(value) for value in strip["values"])
            assert strip["mark"] is None or 0 <= strip["mark"] < len(strip["values"])
            if strip["kind"] == "grid":
                assert len(strip["values"]) == math.prod(sheet["grid"]) + len(sheet["others"])
    assert len({step["id"] for step in sheet["steps"]}) == len(sheet["steps"])
    groups = list(dict.fromkeys(step["group"] for step in sheet["steps"] if not step["part"]))
    valued = inside.cells[0].values is not None
    assert inside.through is not None or len(groups) == (5 if valued else 3)


def test_nothing_of_the_model_is_changed(offered, explainer, model, encoded):
    before = state_of(model, copied=True)
    first = explainer.inside(encoded, CAPTION, "frisbee")
    assert_same_state(before, state_of(model))
    assert first == explainer.inside(encoded, CAPTION, "frisbee")
    for wrong in ({"patch": (99, 0)}, {"head": 99}, {"layer": "attic"}, {"token": 999}, {"patch": "left"}):
        with pytest.raises(SelectionError):
            explainer.inside(encoded, CAPTION, "frisbee", **wrong)
    assert_same_state(before, state_of(model))
