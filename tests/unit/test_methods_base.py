"""What methods share: bringing maps to a grid, the image's row, gradients word by word, prompts."""

from types import SimpleNamespace

import factories
import pytest
import torch
from planted_tower import trace, vision_transformer

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.base import (
    check_prompt,
    each_gradient,
    embedded,
    image_record,
    image_row,
    patch_cells,
    read_phrases,
    scatter,
    to_grid,
    tracked_pass,
)


def test_cells_are_repeated_or_shared():
    values = torch.arange(1.0, 13).reshape(2, 2, 3)
    whole, shared = (to_grid(values, PatchGrid(4, 9), share=share) for share in (False, True))
    assert whole.shape == shared.shape == (2, 4, 9)
    for row in range(4):
        for col in range(9):
            assert torch.equal(whole[:, row, col], values[:, row // 2, col // 3])
    assert torch.allclose(shared.sum((1, 2)), values.sum((1, 2)))
    assert torch.equal(to_grid(values, PatchGrid(2, 3), share=True), values)


@pytest.mark.parametrize("grid", [(3, 3), (4, 4), (1, 3)])
def test_factors_that_are_not_whole_are_refused(grid):
    with pytest.raises(MethodError, match="2 x 3 cells"):
        to_grid(torch.zeros(2, 3), PatchGrid(*grid), share=False)


def test_words_that_were_not_read_have_zeros():
    caption = factories.caption("one two three", read=2)
    asked = SimpleNamespace(caption=caption, only=None)
    indices, phrases = read_phrases(asked)
    asked.only = (1, 2)
    assert read_phrases(asked) == ([1], phrases[1:])
    assert indices == [0, 1] and [phrase.text for phrase in phrases] == ["one", "two"]
    placed = scatter(torch.ones(3, 2, 4, 6), indices, caption)
    assert placed.shape == (3, 3, 4, 6) and placed[:, :2].all() and not placed[:, 2].any()


def test_the_row_of_the_image():
    tokens = torch.randn(2, 7, 7)
    by_token, by_mean, by_pooler = (vision_transformer(pool) for pool in ("token", "avg", "attention"))
    assert torch.equal(image_row(tokens, by_token), tokens[:, 0])
    assert torch.allclose(image_row(tokens, by_mean), sum(tokens[:, i] for i in range(1, 7)) / 6)
    with pytest.raises(MethodError, match="attention"):
        image_row(tokens, by_pooler)
    cells = patch_cells(tokens, by_token)
    assert cells.shape == (2, 7, 2, 3) and torch.equal(cells[1, 4, 1, 0], tokens[1, 4, 1 + 3])


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_the_record_is_of_the_layers_that_were_read(pool):
    tower = vision_transformer(pool)
    passed = tracked_pass(trace(tower))
    record = image_record(passed, ["block 1", "block 3"], tower)
    assert record.layers == (("pooler",) if pool == "attention" else ("block 1", "block 3"))
    assert record.key_kind == "class token, then image patches" and "image" in record.query_kind
    assert torch.allclose(torch.softmax(record.scores, -1), record.probs, atol=1e-6)
    row = passed.pooler.probs[0, :, 0] if pool == "attention" else image_row(passed.layers[2].probs[0], tower)
    assert torch.allclose(record.probs[-1, :, 0].double(), row, atol=1e-6)


def test_gradients_are_those_of_each_word_alone():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 3, 2, generator=rng).requires_grad_(True) for _ in range(2))
    scores = torch.stack([(a * b).sum(), (a**2).sum() + b.sum()])[None]
    by_a, by_b = each_gradient(scores, [a, b])
    assert torch.allclose(by_a, torch.cat([b, 2 * a])) and torch.allclose(by_b, torch.cat([a, torch.ones_like(b)]))
    assert a.grad is None and b.grad is None
    none = each_gradient(scores[:, :0], [a])
    assert none[0].shape == (0, 3, 2)


def test_a_tracked_pass_has_a_graph_whether_or_not_autograd_is_on():
    asked = trace(vision_transformer())
    with torch.no_grad():
        passed = tracked_pass(asked)
    assert passed.state.requires_grad and passed.layers[0].probs.requires_grad
    with torch.enable_grad():
        assert not embedded(asked)[0].requires_grad
    assert embedded(asked)[0] is embedded(asked)[0], "computed once per photo"


@pytest.mark.parametrize("prompt", ["a photo", "{} and {}", "{word}", "{", "{}}"])
def test_prompts_have_one_place_for_the_word(prompt):
    assert check_prompt("a photo of a {}") == "a photo of a {}"
    with pytest.raises(MethodError, match="once, where the word goes"):
        check_prompt(prompt)
