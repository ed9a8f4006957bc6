"""Raw attention: every row against attention written out in loops, and what a row says of the photo."""

import dataclasses
import math

import pytest
import torch
from planted_tower import DIM, HEADS, trace, vision_transformer

from crossviz.errors import MethodError, SelectionError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.raw_attention import RawAttention
from crossviz.methods.rollout import Rollout


def by_hand(tower, pixels):
    """The probabilities of every block and of the pooler, one head, query and key at a time: lists of tensors."""
    x, _ = tower.embed(pixels)
    found = []

    def attend(queries, keys, values):
        probs, context = torch.zeros(HEADS, queries.shape[2], keys.shape[2]).double(), torch.zeros_like(queries)
        for head in range(HEADS):
            for i in range(queries.shape[2]):
                scores = [float(queries[0, head, i] @ keys[0, head, j]) / math.sqrt(DIM / HEADS) for j in range(7)]
                total = sum(math.exp(score) for score in scores)
                for j, score in enumerate(scores):
                    probs[head, i, j] = math.exp(score) / total
                    context[0, head, i] += probs[head, i, j] * values[0, head, j]
        found.append(probs)
        return context

    for block in tower.blocks:
        x = x + block.merge(attend(*block.project(block.norm(x))))
        x = x + block.mlp(x)
    if tower.pooler is not None:
        attend(*tower.pooler.project(tower.final_norm(x)))
    return found


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_the_map_is_the_image_tokens_row(pool):
    tower = vision_transformer(pool)
    asked = trace(tower)
    found = RawAttention()(asked)
    probs = by_hand(tower, asked.pixels)
    if pool == "token":
        rows, labels = [layer[:, 0] for layer in probs], ("block 1", "block 2", "block 3")
    elif pool == "avg":
        rows, labels = [layer[:, 1:].mean(1) for layer in probs], ("block 1", "block 2", "block 3")
    else:
        rows, labels = [probs[3][:, 0]], ("pooler",)
    rows = torch.stack(rows).float()  # layer head key
    assert found.map.layers == found.record.layers == labels
    assert torch.allclose(found.record.probs[:, :, 0], rows, atol=1e-6)
    assert torch.allclose(torch.softmax(found.record.scores, -1), found.record.probs, atol=1e-6)
    for word in range(5):
        assert torch.allclose(found.map.per_head[:, :, word].flatten(2), rows[..., 1:], atol=1e-6)
    assert torch.allclose(torch.tensor(found.map.params["prefix_share"]), rows[..., 0], atol=1e-6)
    assert found.map.values.std() > 0.01, "an even map would pass for any row"


def test_it_is_one_map_whatever_the_words():
    tower = vision_transformer()
    one, other = (RawAttention()(trace(tower, text)).map for text in ("a dog and a zebra", "frisbee"))
    assert not one.text_dependent and "same for every word" in one.notes[0]
    assert all(torch.equal(one.values[word], other.values[0]) for word in range(5))
    cut = RawAttention()(trace(tower, "a dog", read=1)).map
    assert torch.equal(cut.values[0], one.values[0]) and not cut.values[1].any() and not cut.per_head[:, :, 1].any()


def test_a_finer_grid_shares_what_a_cell_has():
    tower = vision_transformer()
    own, finer = (RawAttention()(trace(tower, grid=grid)).map for grid in (None, PatchGrid(4, 9)))
    for row in range(4):
        for col in range(9):
            assert torch.allclose(finer.values[:, row, col] * 6, own.values[:, row // 2, col // 3], atol=1e-7)
    assert torch.allclose(finer.values.sum((1, 2)), own.values.sum((1, 2)))


def test_layers():
    asked = trace(vision_transformer())
    every, last = RawAttention()(asked), RawAttention()(asked, 1)
    assert last.map.layers == last.record.layers == ("block 3",)
    assert torch.equal(last.map.values, every.map.per_head[2].mean(0))
    assert RawAttention()(asked, ["block 1", -1]).map.layers == ("block 1", "block 3")
    with pytest.raises(SelectionError, match="block 3"):
        RawAttention()(asked, ["block 4"])


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
@pytest.mark.parametrize("query", ["patches", (0, 1), (1, 0)], ids=str)
def test_the_patches_own_rows_of_any_block(pool, query):
    tower = vision_transformer(pool)
    asked = trace(tower)
    found = RawAttention(query)(asked)
    probs = by_hand(tower, asked.pixels)[:3]
    if query == "patches":
        rows = torch.stack([sum(layer[:, 1 + i] for i in range(6)) / 6 for layer in probs]).float()
    else:
        rows = torch.stack([layer[:, 1 + 3 * query[0] + query[1]] for layer in probs]).float()
    labels = ("block 1", "block 2", "block 3")
    assert found.map.layers == found.record.layers == labels
    assert torch.allclose(found.record.probs[:, :, 0], rows, atol=1e-6)
    assert torch.allclose(torch.softmax(found.record.scores, -1), found.record.probs, atol=1e-6)
    assert torch.allclose(found.map.per_head[:, :, 4].flatten(2), rows[..., 1:], atol=1e-6)
    assert torch.allclose(found.map.values[0].flatten(), rows[..., 1:].mean((0, 1)), atol=1e-6)
    kind = "mean of the image patches" if query == "patches" else f"image patch in row {query[0]}, column {query[1]}"
    assert found.record.query_kind == kind and found.map.direction == f"query: {kind}, key: image"
    assert found.map.params["query"] == ("patches" if query == "patches" else list(query))
    one = RawAttention(query)(asked, ["block 2"])
    assert torch.equal(one.map.per_head[0], found.map.per_head[1]) and one.record.layers == ("block 2",)


def test_blocks_of_a_tower_with_a_pooler_are_another_query():
    asked = trace(vision_transformer("attention"))
    for layers in (["block 2"], [0], 2):
        with pytest.raises(SelectionError, match=r"only|reads 1") as caught:
            RawAttention()(asked, layers)
        assert 'RawAttention(query="patches")' in str(caught.value)
    with pytest.raises(SelectionError, match="does not read 'pooler'"):
        RawAttention("patches")(asked, [-1])


@pytest.mark.parametrize("query", ["text", None, (1,), (0, -1), (0, 1.5), (True, 0), 3], ids=str)
def test_a_query_that_is_none_is_refused(query):
    with pytest.raises(MethodError, match='"image", "patches", or one patch as its row and column'):
        RawAttention(query)


def test_a_patch_outside_the_grid_is_refused():
    asked = trace(vision_transformer())
    for query in ((2, 0), (0, 3)):
        with pytest.raises(MethodError, match="2 x 3 patches"):
            RawAttention(query)(asked)


def test_what_the_tower_says_of_its_pooling_is_said():
    tower = dataclasses.replace(vision_transformer(), pool_note="Half of it is something else.")
    for method in (RawAttention(), Rollout()):
        assert "Half of it is something else." in method(trace(tower)).map.notes


def test_a_pooler_without_blocks_has_a_row_and_no_patch_asks():
    base = vision_transformer("attention")
    asked = trace(dataclasses.replace(base, blocks=()), pixels=trace(base).pixels)
    found = RawAttention()(asked)
    x, _ = base.embed(asked.pixels)
    queries, keys, _ = base.pooler.project(base.final_norm(x))
    rows = torch.softmax(queries @ keys.mT * base.pooler.scale, -1)[0, :, 0]
    assert torch.allclose(found.record.probs[0, :, 0].double(), rows, atol=1e-6)
    assert found.map.layers == ("pooler",) and found.map.values[0].std() > 0.001
    with pytest.raises(UnsupportedMethodError, match="self-attention"):
        RawAttention("patches")(asked)
