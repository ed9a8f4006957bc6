"""Occlusion: closed forms of a linear model, where nothing may change, and what covers the photo."""

import math
from dataclasses import replace

import factories
import pytest
import torch
from planted_tower import convolutional, matrices, texts, trace
from small_vilts import mini_vilt_folder

from crossviz import Explainer
from crossviz.errors import MethodError, SelectionError
from crossviz.geometry import PatchGrid
from crossviz.methods import occlusion
from crossviz.methods.fill import blurred, fill
from crossviz.methods.occlusion import Occlusion, windows

WORDS = ["a", "dog", "and", "zebra"]


def linear(pixels=None, grid=None):
    """score = t . C (mean of the pixels); 4 x 6 pixels, each a patch."""
    (channels,) = matrices(5, (4, 3))
    vectors = texts(WORDS, 4)
    return trace(convolutional(channels), "a dog and zebra", vectors=vectors, pixels=pixels, grid=grid), torch.stack(
        [vectors[word] @ channels for word in WORDS]
    )


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 3)])
@pytest.mark.parametrize("kind", ["grey", "mean", "blur"])
def test_a_linear_model_falls_by_what_the_window_held(window, stride, kind):
    asked, weights = linear()
    found = Occlusion(window, stride, kind)(asked)
    cover = fill(asked.pixels, kind, sigma=window / 2)
    lost = torch.einsum("pc,chw->phw", weights, (asked.pixels - cover)[0]) / 24  # of each patch by itself
    sums, counts = torch.zeros(4, 4, 6).double(), torch.zeros(4, 6)
    for row in {*range(0, 4 - window + 1, stride), 4 - window}:
        for col in {*range(0, 6 - window + 1, stride), 6 - window}:
            for i in range(row, row + window):
                for j in range(col, col + window):
                    sums[:, i, j] += lost[:, row : row + window, col : col + window].sum((1, 2))
                    counts[i, j] += 1
    assert torch.allclose(found.map.values, (sums / counts).float(), atol=1e-6)
    assert found.record is None and found.map.signed and (found.map.values < 0).any()


def test_covering_nothing_changes_nothing():
    """Photos that are what covers them: exactly zero, though the whole photo and the windows run in other batches."""
    flat = torch.full((1, 3, 4, 6), 0.5, dtype=torch.float64)
    for kind, pixels in (("mean", flat), ("grey", flat * 0)):
        values = Occlusion(2, fill=kind)(linear(pixels)[0]).map.values
        assert not values.any()
    assert Occlusion(2, fill="grey")(linear(flat)[0]).map.values.all()


def test_the_one_patch_that_counts_is_found():
    pixels = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    asked, weights = linear(pixels)
    asked.pixels[0, :, 2, 4] = weights[1]  # what the second word looks for
    values = Occlusion(1, fill="grey")(asked).map.values
    assert values[1].argmax() == 2 * 6 + 4 and values[1].count_nonzero() == 1
    assert float(values[1].max()) == pytest.approx(float(weights[1] @ weights[1]) / 24)


def test_sizes_by_default_are_a_sixth_and_three_quarters_of_it():
    def sizes(height, width):
        asked, _ = linear(torch.rand(1, 3, height, width, dtype=torch.float64), PatchGrid(height, width))
        params = Occlusion(fill="mean")(asked).map.params
        return params["window"], params["stride"]

    assert sizes(24, 24) == (4, 3) and sizes(14, 20) == (2, 1) and sizes(7, 7) == (1, 1) and sizes(16, 16) == (3, 2)
    assert sizes(1, 9) == (1, 1)


@pytest.mark.parametrize(("grid", "side", "stride"), [((4, 6), 2, 2), ((5, 7), 3, 2), ((1, 9), 1, 1), ((8, 8), 8, 1)])
def test_windows_cover_every_patch_and_stay_inside(grid, side, stride):
    grid = PatchGrid(*grid)
    seen = torch.zeros(grid.height, grid.width)
    for row, col in windows(grid, side, stride):
        assert 0 <= row <= grid.height - side and 0 <= col <= grid.width - side
        seen[row : row + side, col : col + side] += 1
    assert (seen > 0).all()


def test_pixels_that_no_patch_reads_are_left_alone():
    """Of 5 x 7 pixels the grid covers the upper left 4 x 6: each window is exactly its patches' pixels."""
    pixels = torch.rand(1, 3, 5, 7, dtype=torch.float64)
    asked, weights = linear(pixels, PatchGrid(2, 3))
    asked = replace(asked, image=replace(asked.image, view=asked.image.view.trimmed((4, 6))))
    values = Occlusion(1, fill="grey")(asked).map.values
    for row in range(2):
        for col in range(3):
            cell = pixels[0, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2].sum((1, 2))
            assert torch.allclose(values[:, row, col], (weights @ cell / 35).float(), atol=1e-6)


def test_all_words_come_from_the_same_passes():
    asked, _ = linear()
    match = asked.match()
    sizes = []

    def state(pixels):
        sizes.append(len(pixels))
        return match.state(pixels)

    counted = replace(asked, provides={"match": lambda: replace(match, state=state)})
    assert Occlusion(1)(counted).map.values.shape == (4, 4, 6)
    assert sizes[0] == 1 and sum(sizes[1:]) == 24 and max(sizes) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"window": 0}, "window"),
        ({"window": 1.5}, "window"),
        ({"stride": True}, "stride"),
        ({"window": 2, "stride": 3}, "leaves patches out"),
        ({"fill": "black"}, "grey, mean, blur"),
    ],
)
def test_what_can_not_be_is_refused(arguments, says):
    with pytest.raises(MethodError, match=says):
        Occlusion(**arguments)


def test_what_does_not_fit_the_grid_is_refused():
    asked, _ = linear()
    with pytest.raises(MethodError, match="does not fit into 4 x 6"):
        Occlusion(5)(asked)
    with pytest.raises(MethodError, match="leaves patches out"):
        Occlusion(stride=2)(asked)
    with pytest.raises(SelectionError):
        Occlusion()(asked, 2)


def test_the_blur_is_a_gaussian():
    point = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    point[..., 15, 15] = 1
    found = blurred(point, 2.0)[0, 0]
    kernel = torch.tensor([math.exp(-(d**2) / 8) for d in range(-6, 7)], dtype=torch.float64)
    kernel /= kernel.sum()
    assert torch.allclose(found[9:22, 9:22], torch.outer(kernel, kernel), atol=1e-12)
    assert float(found.sum()) == pytest.approx(1)
    flat = torch.full((2, 3, 9, 5), 0.7, dtype=torch.float64)
    assert torch.allclose(blurred(flat, 30.0), flat), "also where the blur is wider than the photo"


def test_fills():
    pixels = torch.rand(1, 3, 4, 6)
    assert torch.allclose(fill(pixels, "mean", 1.0)[0, :, 3, 2], pixels[0].mean((1, 2)))
    assert not fill(pixels, "grey", 1.0).any()
    assert torch.equal(fill(pixels, "blur", 1.5), blurred(pixels, 1.5))
    with pytest.raises(MethodError, match="grey, mean, blur"):
        fill(pixels, "noise", 1.0)


def test_another_caption_of_the_photo_runs_none_of_its_windows_again():
    asked, _ = linear(torch.rand(1, 3, 4, 6, dtype=torch.float64))
    first = Occlusion(2, 1)(asked).map.values
    calls = []
    found = asked.match()
    again = replace(found, state=lambda pixels: calls.append(len(pixels)) or found.state(pixels))
    asked.provides["match"] = lambda: again
    assert torch.equal(Occlusion(2, 1)(asked).map.values, first)
    assert calls == [1]  # the whole photo
    Occlusion(2, 2)(asked)
    assert sum(calls) == 1 + 1 + 6


@pytest.mark.parametrize(
    ("model_key", "most", "kept"),
    [("small cpu abc", 1e6, 1), ("small cpu copy 3", 1e6, 0), ("small cpu abc", 10, 0)],
)
def test_states_of_copies_and_large_ones_are_not_kept(model_key, most, kept, monkeypatch):
    monkeypatch.setattr(occlusion, "MOST_KEPT", most)
    asked, _ = linear(torch.rand(1, 3, 4, 6, dtype=torch.float64))
    expected = Occlusion(2, 1)(asked).map
    asked = replace(asked, image=replace(asked.image, model_key=model_key))
    assert Occlusion(2, 1)(asked).map == Occlusion(2, 1)(asked).map == expected
    assert len(asked.image._kept["occlusion"]) == kept


def test_a_hidden_word_is_not_read(tmp_path):
    """What a ViLT's matching head is asked then holds a mask, the same whatever word it stands for."""
    explainer = Explainer(f"vilt:{mini_vilt_folder(tmp_path / 'mini')}", "cpu")
    image = explainer.encode(factories.photo())

    def values(caption, hide=None):
        return explainer.explain(image, caption, Occlusion(6, 6), hide=hide).map.values

    plain, dog, cat = values("a dog on"), values("a dog on", "dog"), values("a cat on", "cat")
    assert torch.equal(dog, cat)
    assert not torch.allclose(dog[1], plain[1], rtol=1e-3)
    assert torch.equal(dog[[0, 2]], plain[[0, 2]]), "the other words are asked for by themselves"


def test_a_states_size_is_that_of_all_its_tensors():
    one, other = torch.zeros(3, 4), torch.zeros(5, dtype=torch.float64)
    assert occlusion._size([([1], {"a": one, "b": (other, 7)}), ([2], other)]) == 48 + 40 + 40
