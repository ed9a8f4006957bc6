"""Grids from the latents' own height and width, and maps brought to one of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crossviz.errors import CaptureError, ResultError
from crossviz.models.diffusion_maps import WordMapsBuilder, grid_of, to_grid

SIDES = st.integers(1, 200)


@given(SIDES, SIDES, st.integers(0, 4), st.booleans())
def test_a_unets_grids_are_those_of_its_own_halvings(height, width, halvings, pads):
    """Against torch's convolutions, with diffusers' two kinds of padding."""
    x = torch.zeros(1, 1, height, width)
    for _ in range(halvings):
        x = x if pads else nn.functional.pad(x, (0, 1, 0, 1))
        if min(x.shape[-2:]) + 2 * pads < 3:
            return
        x = nn.functional.conv2d(x, torch.zeros(1, 1, 3, 3), stride=2, padding=int(pads))
    found = grid_of(x[0, 0].numel(), (height, width), None, rounds_up=pads)
    assert found == tuple(x.shape[-2:])


@given(SIDES, SIDES, st.integers(1, 4))
def test_a_transformers_grid_is_one_of_patches(height, width, patch):
    tokens = (height // patch) * (width // patch)
    if tokens:
        assert grid_of(tokens, (height, width), patch) == (height // patch, width // patch)


@pytest.mark.parametrize(("tokens", "patch"), [(25, None), (385, None), (0, None), (384, 2)])
def test_tokens_that_are_no_grid_are_refused(tokens, patch):
    with pytest.raises(CaptureError, match=f"{tokens} image tokens are no grid of latents of 16 x 24"):
        grid_of(tokens, (16, 24), patch)


def test_a_map_at_its_own_size_is_left_as_it_is_and_others_stay_shares():
    maps = torch.rand(2, 5, 4, 6).softmax(1) ** 4
    maps = maps / maps.sum(1, keepdim=True)
    assert to_grid(maps, (4, 6)) is maps
    finer = to_grid(maps, (9, 13))
    assert finer.shape == (2, 5, 9, 13) and finer.min() >= 0
    torch.testing.assert_close(finer.sum(1), torch.ones(2, 9, 13))


def test_what_is_even_stays_even_and_a_peak_keeps_its_place():
    even = torch.full((1, 4, 3, 5), 0.25)
    torch.testing.assert_close(to_grid(even, (6, 10)), torch.full((1, 4, 6, 10), 0.25))
    one = torch.zeros(1, 2, 3, 5)
    one[0, 1] = 1
    one[0, :, 2, 4] = torch.tensor([1.0, 0.0])
    row, column = divmod(int(to_grid(one, (6, 10))[0, 0].argmax()), 10)
    assert (row // 2, column // 2) == (2, 4)


def shares(*shape):
    return torch.rand(*shape).softmax(1)  # head word h w


def test_layers_of_several_grids_and_heads_come_together_as_means():
    builder = WordMapsBuilder()
    steps = [(shares(2, 3, 4, 6), shares(4, 3, 2, 3)) for _ in range(3)]
    for step, (fine, coarse) in enumerate(steps, start=1):
        builder.add("fine", fine)
        builder.add("coarse", coarse)
        builder.end_step(step, 3)
    maps = builder.maps()
    assert builder.grid == (4, 6) and builder.averaged_heads and maps.layers == ("fine", "coarse")
    assert maps.values.shape == (3, 2, 1, 2, 4, 6) and maps.steps == (1, 2, 3)
    for step, (fine, coarse) in enumerate(steps):
        torch.testing.assert_close(maps.values[step, 0, 0], fine.mean(0)[:-1])
        torch.testing.assert_close(maps.values[step, 1, 0], to_grid(coarse, (4, 6)).mean(0)[:-1])
        torch.testing.assert_close(maps.none[step, 1, 0], to_grid(coarse, (4, 6)).mean(0)[-1])


def test_a_denoiser_that_is_asked_twice_in_a_step_counts_once():
    builder = WordMapsBuilder()
    calls = [shares(2, 3, 4, 6) for _ in range(2)]
    for call in calls:
        builder.add("layer", call)
    builder.end_step(1, 1)
    torch.testing.assert_close(builder.maps().values[0, 0], torch.stack(calls).mean(0)[:, :-1])


def test_steps_without_layers_or_with_others_are_refused():
    builder = WordMapsBuilder()
    with pytest.raises(CaptureError, match="no step"):
        builder.maps()
    with pytest.raises(CaptureError, match="No layer looked at the text"):
        builder.end_step(1, 2)
    builder.add("one", shares(1, 3, 2, 2))
    builder.end_step(1, 2)
    builder.add("other", shares(1, 3, 2, 2))
    with pytest.raises(CaptureError, match="Step 2 ran other layers"):
        builder.end_step(2, 2)


def test_maps_that_name_their_steps_wrongly_are_refused():
    builder = WordMapsBuilder()
    builder.add("one", shares(1, 3, 2, 2))
    builder.end_step(1, 1)
    maps = builder.maps()
    assert type(maps).from_arrays(*maps.to_arrays()) == maps
    for steps in ((1, 2), (0,)):
        with pytest.raises(ResultError, match="growing numbers"):
            type(maps)(maps.values, maps.none, maps.layers, maps.direction, steps)
