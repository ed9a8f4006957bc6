"""Grad-ECLIP against its formula in loops, with differences in the place of gradients."""

import numpy as np
import pytest
import torch
from tiny_towers import CAPTION, Loop, Tiny

from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.grad_eclip import GradEclip, loosened

TOWERS = {
    "class token": Tiny(),
    "class token and register": Tiny(prefix=2, seed=6),
    "average": Tiny(pool="avg", prefix=0, seed=1),
    "average, with registers": Tiny(pool="avg", prefix=2, seed=2),
    "attention pooler": Tiny(pool="attention", prefix=0, seed=3),
    "attention pooler, class token": Tiny(pool="attention", prefix=1, seed=4),
}


def naive(tiny: Tiny, word: str, queries: list[int]) -> np.ndarray:
    """The paper's formula, summed over those queries: `gh gw`."""
    loop, step = Loop(tiny), 1e-5
    loop.score(word)
    last = -1 if tiny.pool == "attention" else tiny.depth - 1
    patches = range(tiny.prefix, tiny.tokens)
    total = np.zeros(len(patches))
    for query in queries:
        grads = np.zeros((tiny.heads, tiny.head_dim))
        for head, channel in np.ndindex(grads.shape):
            ends = [Loop(tiny, context_nudge=(head, query, channel, s)).score(word) for s in (step, -step)]
            grads[head, channel] = (ends[0] - ends[1]) / (2 * step)
        q = loop.queries[last][query]
        cosines = [q @ k / np.linalg.norm(q) / np.linalg.norm(k) for k in loop.keys[last][tiny.prefix :]]
        places = (np.array(cosines) - min(cosines)) / (max(cosines) - min(cosines))
        total += [places[n] * (grads.flatten() @ loop.values[last][i]) for n, i in enumerate(patches)]
    return np.maximum(total, 0).reshape(tiny.grid_hw)


@pytest.mark.parametrize("name", TOWERS)
def test_the_map_is_the_papers_formula(name):
    tiny = TOWERS[name]
    queries = list(range(tiny.tokens)) if tiny.pool == "avg" else [0]  # the paper's: of the class token alone
    found = GradEclip()(tiny.trace())
    for place, word in enumerate(CAPTION.split()[:2]):
        expected = naive(tiny, word, queries)
        assert expected.max() > 1e-3, "an oracle of zeros would prove nothing"
        assert np.allclose(found.map.values[place], expected, rtol=1e-4, atol=1e-8)
    label = "pooler" if tiny.pool == "attention" else "block 2"
    assert found.record.layers == (label,) and found.map.params["layers"] == [label]


def test_a_planted_tower_has_the_map_that_its_keys_and_values_say():
    tiny = Tiny(depth=1, heads=2, head_dim=2, plain=True)
    tiny.weights |= {name: np.eye(4) for name in ("project", "q0", "k0", "v0", "o0")} | {"enter": np.eye(3, 4)}
    tiny.weights["prefix"] = np.array([[1.0, 0, 0, 0]])
    tiny.texts = {"dog": np.array([0, 5.0, 0, 0]), "cat": np.array([0, -5.0, 0, 0])}
    rows = [[1, 2, 0], [1, 0, 0], [0, 2, 0], [-1, 2, 0], [0, 0, 1], [1, -2, 0]]
    tiny.pixels = np.array(rows, dtype=float).T.reshape(1, 3, 2, 3)
    cosines = np.array([1 / 5**0.5, 1, 0, -1 / 5**0.5, 0, 1 / 5**0.5])  # with (1, 0, 0, 0)
    places = (cosines + 1 / 5**0.5) / (1 + 1 / 5**0.5)
    contents = np.array([10.0, 0, 10, 10, 0, -10])  # 5 times the second channel
    found = GradEclip()(tiny.trace("dog cat")).map.values.flatten(1)
    assert np.allclose(found[0], np.maximum(places * contents, 0), rtol=1e-5, atol=1e-6)
    assert np.allclose(found[1], np.maximum(-places * contents, 0), rtol=1e-5, atol=1e-6)


def test_cosines_go_from_0_to_1_over_the_patches_and_equal_ones_count_in_full():
    rng = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 4, 3, generator=rng), torch.randn(2, 5, 3, generator=rng)
    found = loosened(queries, keys)
    assert torch.equal(found.amin(1), torch.zeros(4)) and torch.equal(found.amax(1), torch.ones(4))
    assert torch.allclose(found, loosened(queries * 7, keys * torch.rand(1, 5, 1)), atol=1e-5)
    assert torch.equal(loosened(queries, keys[:, :1]), torch.ones(4, 1))


def test_a_coarser_tower_fills_whole_cells_and_a_word_twice_has_one_map():
    tiny = Tiny()
    values = GradEclip()(tiny.trace()).map.values
    assert torch.equal(values[0], values[3]) and not torch.allclose(values[0], values[1])
    fine = GradEclip()(tiny.trace(grid=PatchGrid(4, 9))).map.values
    assert torch.equal(fine, values.repeat_interleave(2, 1).repeat_interleave(3, 2))


def test_there_is_one_layer_to_choose_and_towers_without_attention_are_refused():
    tiny = Tiny()
    expected = GradEclip()(tiny.trace()).map.values
    for layers in (1, [1], [-1], ["block 2"]):
        assert torch.equal(GradEclip()(tiny.trace(), layers).map.values, expected)
    for layers in (2, [0], ["block 1"]):
        with pytest.raises(SelectionError):
            GradEclip()(tiny.trace(), layers)
    with pytest.raises(UnsupportedMethodError, match="it is made of convolutions"):
        GradEclip()(tiny.trace(blocks=()))
