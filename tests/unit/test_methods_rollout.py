"""Rollout: closed forms, the sum over all paths, and that nothing is lost on the way."""

import itertools

import pytest
import torch
from planted_tower import trace, vision_transformer

from crossviz.errors import SelectionError
from crossviz.geometry import PatchGrid
from crossviz.methods.rollout import Rollout, roll_out
from crossviz.tower import run_tower


def attention(layers, tokens):
    scores = torch.randn(layers, tokens, tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.softmax(scores * 2, -1)


@pytest.mark.parametrize("layers", [1, 2, 7])
def test_even_attention_forgets_by_half_in_every_layer(layers):
    even, eye = torch.full((5, 5), 0.2, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    flow = roll_out(even.expand(layers, 5, 5))
    assert torch.allclose(flow, even + (eye - even) / 2**layers, atol=1e-12)
    assert torch.equal(roll_out(eye.expand(layers, 5, 5)), eye), "who looks only at himself stays where he is"


def test_it_is_the_sum_over_all_paths():
    """A path goes down through the layers; in each it stays (1/2) or follows the attention (1/2)."""
    layers = attention(3, 4)
    flow = torch.zeros(4, 4, dtype=torch.float64)
    for path in itertools.product(range(4), repeat=4):
        weight = 1.0
        for step, layer in enumerate(reversed(layers)):
            here, there = path[step], path[step + 1]
            weight *= 0.5 * float(layer[here, there]) + 0.5 * (here == there)
        flow[path[0], path[-1]] += weight
    assert torch.allclose(roll_out(layers), flow, atol=1e-12)
    assert torch.allclose(roll_out(layers).sum(-1), torch.ones(4).double())


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_the_map_is_the_image_tokens_row(pool):
    tower = vision_transformer(pool)
    asked = trace(tower)
    found = Rollout()(asked).map
    passed = run_tower(tower, asked.pixels)
    flow = torch.eye(7, dtype=torch.float64)
    for layer in passed.layers:
        flow = (layer.probs[0].mean(0) / 2 + torch.eye(7) / 2) @ flow
    start = {
        "token": lambda: torch.eye(7, dtype=torch.float64)[0],
        "avg": lambda: torch.tensor([0.0, *[1 / 6] * 6], dtype=torch.float64),
        "attention": lambda: passed.pooler.probs[0].mean(0)[0],
    }[pool]()
    expected = (start @ flow).float()
    for word in range(5):
        assert torch.allclose(found.values[word].flatten(), expected[1:], atol=1e-6)
    assert found.params["prefix_share"] == pytest.approx(float(expected[0]), abs=1e-6)
    assert float(found.values[0].sum()) + found.params["prefix_share"] == pytest.approx(1, abs=1e-6)


def test_layers_and_what_they_leave_out():
    asked = trace(vision_transformer())
    probs = run_tower(asked.image_tower(), asked.pixels).layers[-1].probs[0].mean(0)
    last = Rollout()(asked, 1)
    assert torch.allclose(last.map.values[0].flatten(), probs[0, 1:].float() / 2, atol=1e-6)
    assert last.map.params["prefix_share"] == pytest.approx(0.5 + float(probs[0, 0]) / 2, abs=1e-6)
    assert last.record.layers == ("block 3",) and last.map.per_head is None
    with pytest.raises(SelectionError):
        Rollout()(asked, 4)


def test_it_is_one_map_whatever_the_words_and_grids_share():
    tower = vision_transformer()
    one, other = (Rollout()(trace(tower, text)).map for text in ("a dog and a zebra", "frisbee"))
    assert not one.text_dependent
    assert all(torch.equal(one.values[word], other.values[0]) for word in range(5))
    finer = Rollout()(trace(tower, "a dog", grid=PatchGrid(4, 6), read=1)).map.values
    assert torch.allclose(finer[0, ::2, ::2] * 4, one.values[0], atol=1e-7) and not finer[1].any()
