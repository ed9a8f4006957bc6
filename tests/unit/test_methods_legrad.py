"""LeGrad against differences of a tower in numpy loops, and against what a planted tower's map must be."""

import numpy as np
import pytest
import torch
from tiny_towers import CAPTION, WORDS, Tiny, slopes

from crossviz.errors import SelectionError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.legrad import LeGrad
from crossviz.tower import run_tower


def naive(tiny: Tiny, word: str, layers: list[int]) -> np.ndarray:
    """The paper's sum, from differences: `gh gw`."""
    total = np.zeros(tiny.tokens)
    for layer in layers:
        read = -1 if tiny.pool == "attention" else layer
        found = slopes(tiny, read, word, depth=layer + 1, mean=tiny.pool == "token")  # head query key
        total += np.maximum(found, 0).mean((0, 1))
    return total[tiny.prefix :].reshape(tiny.grid_hw)


TOWERS = {
    "class token": Tiny(),
    "average": Tiny(pool="avg", prefix=0, seed=1),
    "average, with registers": Tiny(pool="avg", prefix=2, seed=2),
    "attention pooler": Tiny(pool="attention", prefix=0, seed=3),
    "attention pooler, class token": Tiny(pool="attention", prefix=1, seed=4),
}


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("layers", [[0, 1], [0], [1]], ids=str)
def test_the_map_is_the_papers_sum_of_positive_gradients(name, layers):
    tiny = TOWERS[name]
    found = LeGrad()(tiny.trace(), layers).map
    for place, word in enumerate(CAPTION.split()[:2]):
        expected = naive(tiny, word, layers)
        assert expected.max() > 1e-3, "an oracle of zeros would prove nothing"
        assert np.allclose(found.values[place], expected, rtol=1e-4, atol=1e-7)


def planted() -> Tiny:
    """One plain block of one head: patch 4 carries "dog", patch 1 its opposite, the others nothing of it."""
    tiny = Tiny(depth=1, heads=1, head_dim=4, plain=True, prefix=1)
    tiny.weights |= {"project": np.eye(4), "v0": np.eye(4), "o0": np.eye(4), "enter": np.eye(3, 4)}
    tiny.weights["prefix"] = np.array([[0, 0, 0, 1.0]])
    tiny.texts = {"dog": np.array([2.0, 0, 0, 0]), "cat": np.array([0, 3.0, 0, 0]), "tree": np.array([0, 0, 0, 1.0])}
    tiny.pixels = np.zeros((1, 3, 2, 3))
    tiny.pixels[0, 0].flat[4], tiny.pixels[0, 0].flat[1] = 1.5, -1.5
    return tiny


def test_a_planted_patch_has_exactly_the_gradient_that_its_value_makes():
    tiny = planted()
    found = LeGrad()(tiny.trace("dog cat tree")).map
    expected = np.zeros(6)
    expected[4] = 2.0 * 1.5 / tiny.tokens  # text . value, and the mean over tokens: whatever the attention is
    assert np.allclose(found.values[0].flatten(), expected, atol=1e-7)
    assert torch.equal(found.values[1], torch.zeros(2, 3))
    assert torch.equal(found.values[2], torch.zeros(2, 3)), "only the class token carries it, and that is no patch"


def test_single_layers_and_heads_add_up_and_layers_can_be_chosen():
    tiny = Tiny(depth=3, seed=5)
    found = LeGrad()(tiny.trace())
    assert found.map.per_head.shape == (3, 2, 4, 2, 3)
    assert found.map.reduce == "sum"
    assert found.map.layers == found.record.layers == ("block 1", "block 2", "block 3")
    assert found.record.probs.shape == (3, 2, 1, tiny.tokens)
    last = LeGrad()(tiny.trace(), 2).map
    assert last.params["layers"] == ["block 2", "block 3"]
    assert torch.allclose(last.per_head, found.map.per_head[1:])
    with pytest.raises(SelectionError):
        LeGrad()(tiny.trace(), 4)


def test_the_record_of_a_pooler_is_the_poolers_own_row():
    found = LeGrad()(TOWERS["attention pooler"].trace())
    assert found.record.layers == ("pooler",)
    assert found.map.layers == ("block 1", "block 2")


def test_a_word_that_occurs_twice_has_one_map_and_a_coarser_tower_fills_whole_cells():
    tiny = Tiny()
    values = LeGrad()(tiny.trace()).map.values
    assert torch.equal(values[0], values[3]) and not torch.allclose(values[0], values[1])
    fine = LeGrad()(tiny.trace(grid=PatchGrid(4, 9))).map.values
    assert torch.equal(fine, values.repeat_interleave(2, 1).repeat_interleave(3, 2))


def test_where_the_match_reads_a_feature_map_the_tokens_are_not_averaged():
    tiny, seen = Tiny(seed=6), []

    def readout(x, beside, features):
        seen.append(x.detach())
        return x[:, 1:].square().mean(1) @ tiny.torch("project")

    trace = tiny.trace(features=lambda x, beside: x, readout=readout)
    assert LeGrad()(trace).map.values.max() > 0
    layers = run_tower(tiny.image_tower(), trace.pixels).layers
    assert torch.allclose(seen[-2], layers[0].output) and torch.allclose(seen[-1], layers[1].output)


def test_it_works_where_autograd_is_off_and_refuses_a_tower_without_blocks():
    tiny = Tiny()
    expected = LeGrad()(tiny.trace()).map.values
    with torch.no_grad():
        assert torch.equal(LeGrad()(tiny.trace()).map.values, expected)
    with pytest.raises(UnsupportedMethodError, match="self-attention in its image tower: it is made of convolutions"):
        LeGrad()(tiny.trace(blocks=()))


def test_words_are_told_apart_by_what_they_are_not_by_where_they_stand():
    tiny = Tiny()
    there = LeGrad()(tiny.trace(" ".join(WORDS))).map.values
    back = LeGrad()(tiny.trace(" ".join(reversed(WORDS)))).map.values
    assert torch.equal(there, back.flip(0))
