"""Heads switched off: against a pass with the mask, one at a time; all of them off is the residual stream alone."""

import planted_tower
import pytest
import torch

from crossviz.tower import run_tower
from crossviz.trust import Head, HeadEffect, Subject
from crossviz.trust.heads import ablate, head_effect
from crossviz.trust.ranks import spearman


def run(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_every_state_is_that_of_the_tower_with_this_head_masked(pool):
    tower = planted_tower.vision_transformer(pool)
    pixels = planted_tower.trace(tower).pixels
    start = tower.embed(pixels)
    found = run(ablate(tower, start))
    states = torch.cat(found.states)
    assert len(states) == 6 and found.heads[:3] == (("block 1", 0), ("block 1", 1), ("block 2", 0))
    for place in range(6):
        mask = torch.ones(1, 3, 2, dtype=torch.float64)
        mask[0, place // 2, place % 2] = 0
        assert torch.allclose(states[place], run_tower(tower, pixels, head_mask=mask).state[0], atol=1e-12)
    assert not torch.allclose(states[0], states[1])
    assert torch.allclose(found.whole, run_tower(tower, pixels).state)
    assert all(0 < mass <= 1 + 1e-6 for mass in found.masses)


def test_all_heads_off_is_the_residual_stream_with_its_mlps():
    tower = planted_tower.vision_transformer("token")
    x, _ = tower.embed(planted_tower.trace(tower).pixels)
    found = run(ablate(tower, (x, None)))
    for block in tower.blocks:
        x = x + block.merge(torch.zeros(1, 2, x.shape[1], 4, dtype=torch.float64))
        x = x + block.mlp(x)
    assert torch.allclose(found.all_off, tower.readout(x, None, None), atol=1e-12)
    assert not torch.allclose(found.all_off, found.whole)


def test_the_mass_is_what_the_image_token_gives_to_patches():
    tower = planted_tower.vision_transformer("token")
    pixels = planted_tower.trace(tower).pixels
    found, passed = run(ablate(tower, tower.embed(pixels))), run_tower(tower, pixels)
    expected = [float(1 - layer.probs[0, head, 0, 0]) for layer in passed.layers for head in range(2)]
    assert found.masses == pytest.approx(expected)


def test_effects_are_changes_of_the_match_best_first():
    tower = planted_tower.vision_transformer("token")
    trace = planted_tower.trace(tower)
    from crossviz.results import RelevanceMap

    count, grid = len(trace.caption.words), trace.image.grid
    values = torch.rand(count, grid.height, grid.width, generator=torch.Generator().manual_seed(0))
    chart = RelevanceMap(values, "u", False, "legrad", {}, "d", True, trace.caption.token_counts)
    phrase = trace.caption.phrase("dog")
    found = run(head_effect(Subject(trace, None, None, phrase, chart, None, None, 0)))
    match = trace.match()
    whole = float(match.score(run_tower(tower, trace.pixels).state, [phrase]))
    assert found.whole == pytest.approx(whole)
    mask = torch.ones(1, 3, 2, dtype=torch.float64)
    first = found.heads[0]
    mask[0, int(first.layer[-1]) - 1, first.head] = 0
    without = float(match.score(run_tower(tower, trace.pixels, head_mask=mask).state, [phrase]))
    assert first.effect == pytest.approx(without - whole)
    effects = [abs(head.effect) for head in found.heads]
    assert effects == sorted(effects, reverse=True) and len(effects) == 6
    assert all(head.map_change is None for head in found.heads)  # another method's map is not made again


def test_a_result_sorts_its_heads_and_comes_back_from_lists():
    heads = (Head("a", 0, 0.2, None, 0.5), Head("a", 1, -0.1, 0.3, 1.0))
    found = HeadEffect("share found", heads, 0.9, 0.1)
    assert [head.head for head in found.heads] == [0, 1]  # up or down
    tied = (Head("a", 0, 0.1, None, 0.5), Head("a", 1, -0.1, 0.3, 1.0), Head("a", 2, 0.1, 0.4, 1.0))
    assert [head.head for head in HeadEffect("share found", tied, 0.9, 0.1).heads] == [2, 1, 0]
    assert HeadEffect.from_arrays(*found.to_arrays()) == found
    assert found.as_dict()["heads"][1] == {"layer": "a", "head": 1, "effect": -0.1, "map_change": 0.3, "mass": 1.0}
    assert spearman(torch.arange(4.0), torch.arange(4.0)) == 1
