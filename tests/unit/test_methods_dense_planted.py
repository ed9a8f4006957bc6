"""MaskCLIP, ClearCLIP, SCLIP, NACLIP: things planted in a tower have the values that the formulas say."""

import math
from dataclasses import replace

import planted_tower
import pytest
import torch

from crossviz.errors import MethodError, SelectionError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.clearclip import ClearClip
from crossviz.methods.clip_surgery import ClipSurgery
from crossviz.methods.maskclip import MaskClip
from crossviz.methods.nacclip import NacClip, neighbourhood
from crossviz.methods.sclip import Sclip
from crossviz.trace import ImageTower, TowerBlock

METHODS = [MaskClip, ClearClip, Sclip, NacClip]


def things(*, positions: float = 0.0, mlp: float = 0.0, grid: PatchGrid | None = None) -> ImageTower:
    """A tower whose patches are axes 0 (a thing on the left third) and 1 (the rest); its blocks ask for likeness.

    Axis 2 + i is the patch's own, `positions` strong; an MLP adds `mlp` times axis 1. One head, nothing is normed.
    """
    grid = PatchGrid(2, 3) if grid is None else grid
    count = grid.num_patches
    kind = torch.tensor([float(i % grid.width != 0) for i in range(count)])
    tokens = torch.cat([torch.stack([1 - kind, kind], 1), positions * torch.eye(count)], 1)[None]
    block = TowerBlock(
        label="block 1",
        norm=lambda x: x,
        project=lambda x: (100 * x[:, None, :, :2], 100 * x[:, None, :, :2], x[:, None]),
        scale=1.0,
        merge=lambda context: context[:, 0],
        mlp=lambda x: mlp * torch.eye(x.shape[-1])[1].expand_as(x),
    )
    return ImageTower(
        embed=lambda pixels: (tokens, None),
        blocks=(block,),
        grid=grid,
        pool="avg",
        features=None,
        readout=lambda x, beside, features: x.mean(1),
        to_text=lambda x: x,
    )


def asked(tower, caption="dog", grid=None, read=None):
    """A trace in which every text is axis 0."""
    made = planted_tower.trace(replace(tower), caption, grid=grid, read=read, pixels=torch.zeros(1, 3, 8, 12))
    width = 2 + tower.grid.num_patches
    made = replace(made, image=replace(made.image, embedding=torch.eye(width)[0]))
    return replace(made, embed_texts=lambda texts: torch.eye(width)[0].expand(len(texts), width))


@pytest.mark.parametrize(
    ("method", "on", "off"),
    [
        # Two patches are the thing, four are the rest; each patch's own axis is as strong as its kind.
        (MaskClip(), 2 / math.sqrt(8), 0.0),  # itself twice: by residual and value
        (ClearClip(), 1 / math.sqrt(1 + 2 / 4), 0.0),  # the mean of the two alike: their own axes at half strength
        (Sclip(), 3 / math.sqrt(9 + 2**2 + 1), 0.0),  # itself and twice that mean
        (NacClip(std=1e-3), 1 / math.sqrt(1 + 2 / 4), 0.0),  # the scores of the planted kinds outweigh any window
    ],
    ids=lambda value: getattr(getattr(value, "info", None), "name", None),
)
def test_a_planted_thing_has_the_value_that_the_formula_says(method, on, off):
    values = method(asked(things(positions=1.0))).map.values
    expected = torch.tensor([[on, off, off], [on, off, off]])
    if isinstance(method, NacClip):  # alike scores are equal but for the window's 1 on a patch itself
        own = math.e / (math.e + 1)
        expected = expected * math.sqrt(1.5) / math.sqrt(1 + own**2 + (1 - own) ** 2)
    assert torch.allclose(values[0], expected, atol=1e-5)


@pytest.mark.parametrize(("method", "kept"), [(MaskClip, 1), (ClearClip, 0), (Sclip, 1), (NacClip, 0)])
def test_the_mlp_is_kept_or_left_out(method, kept):
    """The MLP adds axis 1, and nothing else of the value is not axis 0 on the thing's patches."""
    strength = {MaskClip: 2, Sclip: 3}.get(method, 1)
    values = method()(asked(things(mlp=1.0))).map.values
    assert float(values[0, 0, 0]) == pytest.approx(strength / math.sqrt(strength**2 + kept), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_coarser_tower_repeats_its_cells(method):
    fine = method()(asked(things(positions=1.0), grid=PatchGrid(4, 9))).map.values
    coarse = method()(asked(things(positions=1.0))).map.values
    assert torch.equal(fine, coarse.repeat_interleave(2, -2).repeat_interleave(3, -1))


def test_the_window_is_a_gaussian_of_the_distance_in_patches():
    window = neighbourhood(PatchGrid(3, 5, num_prefix_tokens=2), 1.5)
    assert window.shape == (17, 17) and not window[:2].any() and not window[:, :2].any()
    for a in range(15):
        for b in range(15):
            squared = (a // 5 - b // 5) ** 2 + (a % 5 - b % 5) ** 2
            assert float(window[a + 2, b + 2]) == pytest.approx(math.exp(-squared / 4.5), rel=1e-5)


@pytest.mark.parametrize("method", [*METHODS, ClipSurgery])
def test_a_word_that_was_cut_off_has_no_map(method):
    found = method()(asked(things(positions=1.0), "dog and zebra", read=2)).map
    assert found.token_counts[2] == 0 and not found.values[2].any()
    assert found.values[:2].any() or method is ClipSurgery  # all texts are one, so that surgery leaves nothing


@pytest.mark.parametrize("method", METHODS)
def test_there_is_one_layer(method):
    tower = planted_tower.vision_transformer()
    trace = planted_tower.trace(tower, "dog")
    prompted = method("{}")
    same = [prompted(trace, layers).map for layers in (None, 1, ["block 3"], [2], [-1])]
    assert all(found == same[0] for found in same) and same[0].params["layers"] == ["block 3"]
    for layers in (2, ["block 1"], [0], [1]):
        with pytest.raises(SelectionError):
            prompted(trace, layers)


@pytest.mark.parametrize("method", [*METHODS, ClipSurgery])
def test_a_tower_that_cannot_be_read_so_is_refused(method):
    tower = planted_tower.vision_transformer()
    without = replace(planted_tower.trace(replace(tower, to_text=None)), lacks={"patch_texts": "it has no way"})
    with pytest.raises(UnsupportedMethodError, match="takes into the space of the texts: it has no way"):
        method()(without)
    with pytest.raises(UnsupportedMethodError, match=r"self-attention|an attention of"):
        method()(planted_tower.trace(planted_tower.convolutional(torch.eye(3))))


@pytest.mark.parametrize("method", [*METHODS, ClipSurgery])
def test_a_wrong_prompt_is_refused(method):
    with pytest.raises(MethodError, match="must hold"):
        method("a photo")


@pytest.mark.parametrize("std", [0, -1.0, float("nan")])
def test_a_window_without_width_is_refused(std):
    with pytest.raises(MethodError, match="above 0"):
        NacClip(std=std)
