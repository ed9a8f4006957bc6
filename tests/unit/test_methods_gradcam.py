"""Grad-CAM: the closed form of a linear network, finite differences on a transformer, planted channels."""

from dataclasses import replace

import pytest
import torch
from planted_tower import DIM, convolutional, matrices, texts, trace, vision_transformer

from crossviz.errors import SelectionError
from crossviz.geometry import PatchGrid
from crossviz.methods.base import embedded
from crossviz.methods.gradcam import GradCam, grad_cam
from crossviz.methods.gradients import WHERE_NOT_WHETHER

WORDS = ["a", "dog", "and", "zebra"]


def test_a_mean_and_a_product_have_a_closed_form():
    """score = t . mean of C x, so dy/dA_k = t_k / 24 everywhere: the map is ReLU(t . C x) / 24, which is CAM."""
    (channels,) = matrices(5, (4, 3))
    vectors = texts(WORDS, 4)
    asked = trace(convolutional(channels), "a dog and zebra", vectors=vectors)
    found = GradCam()(asked)
    for place, word in enumerate(WORDS):
        by_hand = torch.zeros(4, 6)
        for row in range(4):
            for col in range(6):
                total = sum(float(vectors[word][k] * channels[k] @ asked.pixels[0, :, row, col]) for k in range(4))
                by_hand[row, col] = max(total, 0) / 24
        assert torch.allclose(found.map.values[place], by_hand, atol=1e-6)
    assert (found.map.values > 0).any() and (found.map.values == 0).any()
    assert found.record is None and found.map.params["layers"] == ["last feature map"]


@pytest.mark.parametrize("pool", ["token", "avg", "attention"])
def test_weights_on_a_transformer_are_finite_differences(pool):
    """Channel k of all patches moved by h together moves the score by 6 h alpha_k."""
    tower = vision_transformer(pool)
    vectors = texts(WORDS)
    asked = trace(tower, "a dog and zebra", vectors=vectors)
    x, _ = tower.embed(asked.pixels)
    for block in tower.blocks[:-1]:
        x = x + block.merge(attended(block, block.norm(x)))
        x = x + block.mlp(x)
    last = tower.blocks[-1]
    normed = last.norm(x)

    def score(moved):
        y = x + last.merge(attended(last, moved))
        y = y + last.mlp(y)
        if tower.pooler is not None:
            y = tower.pooler.merge(attended(tower.pooler, tower.final_norm(y)))
        return tower.readout(y, None, None)[0] @ torch.stack([vectors[word] for word in WORDS]).T

    expected = torch.zeros(4, 6, dtype=torch.float64)
    for k in range(DIM):
        step = torch.zeros_like(normed)
        step[:, 1:, k] = 1e-5
        alpha = (score(normed + step) - score(normed - step)) / 2e-5 / 6
        expected += alpha[:, None] * normed[0, 1:, k]
    found = GradCam()(asked)
    assert torch.allclose(found.map.values.flatten(1), expected.relu().float(), atol=1e-6)
    assert (expected > 1e-3).any() and (expected < 0).any()
    assert found.map.params["layers"] == ["block 3"]
    assert "normed tokens that enter block 3" in " ".join(found.map.notes)
    assert found.record.layers == (("pooler",) if pool == "attention" else ("block 3",))


def attended(part, normed):
    queries, keys, values = part.project(normed)
    return torch.softmax(queries @ keys.mT * part.scale, -1) @ values


def test_a_last_feature_map_behind_blocks_is_what_is_read():
    """Patches go into a map of 4 x 6 whose mean is the state: as in a network of convolutions."""
    (channels,) = matrices(6, (5, DIM))
    base = vision_transformer()

    def features(x, beside):
        cells = (x[:, 1:] @ channels.T).mT.unflatten(-1, (2, 3))
        return cells.repeat_interleave(2, -2).repeat_interleave(2, -1).tanh()

    tower = replace(base, features=features, readout=lambda x, beside, found: found.mean((-2, -1)))
    vectors = texts(WORDS)
    asked = trace(tower, "a dog and zebra", vectors=vectors, grid=PatchGrid(4, 6))
    found = GradCam()(asked)
    x, _ = tower.embed(asked.pixels)
    for block in tower.blocks:
        x = x + block.merge(attended(block, block.norm(x)))
        x = x + block.mlp(x)
    cells = features(x, None)[0]
    expected = torch.einsum("pk,khw->phw", torch.stack([vectors[word] for word in WORDS]), cells).relu() / 24
    assert torch.allclose(found.map.values, expected.float(), atol=1e-6)
    assert found.record is None


def test_channels_that_lower_the_match_leave_nothing():
    features = torch.zeros(2, 3, 3)
    features[0, 1, 1] = features[1, 2, 2] = 1
    slopes = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])[:, :, None, None].expand(2, 2, 3, 3)
    cells = grad_cam(features, slopes)
    assert cells[0].nonzero().tolist() == [[1, 1]] and not cells[1].any()


def test_words_and_layers():
    asked = trace(vision_transformer(), "a dog a dog", read=3)
    values = GradCam()(asked, 1).map.values
    assert torch.equal(values[0], values[2]) and not torch.equal(values[0], values[1])
    assert not values[3].any()
    assert torch.equal(GradCam()(asked, [2]).map.values, values)
    with pytest.raises(SelectionError, match=r"does not read 'block 1' .* only: 2 'block 3'"):
        GradCam()(asked, ["block 1"])
    with pytest.raises(SelectionError, match="does not read 'pooler'"):
        GradCam()(trace(vision_transformer("attention")), [-1])


def test_it_works_where_autograd_is_off_and_says_what_a_gradient_is():
    asked = trace(vision_transformer(), "a dog")
    with torch.no_grad():
        found = GradCam()(asked).map
    assert torch.equal(found.values, GradCam()(asked).map.values) and found.values.any()
    assert WHERE_NOT_WHETHER in found.notes


def test_weights_that_need_a_gradient_get_none():
    (weight,) = matrices(5, (4, 3))
    weight.requires_grad_(True)
    asked = trace(convolutional(weight), "a dog and zebra", vectors=texts(WORDS, 4))
    with torch.enable_grad():
        GradCam()(asked)
    assert weight.grad is None and asked.pixels.grad is None and not asked.pixels.requires_grad
    assert not embedded(asked)[0].requires_grad, "what is kept of the photo belongs to no graph"
