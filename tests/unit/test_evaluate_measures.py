"""What maps are measured by, against definitions written out as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossviz.evaluate import baselines
from crossviz.evaluate.intervals import Bootstrap
from crossviz.measures import CUTS, MeasuredMap, auroc, box_mask, iou_at, pointing


def maps(seed: int, signed: bool = False, levels: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A map, a region and a target of one random size."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2)
    heatmap = rng.normal(size=(height, width)) if signed else rng.random((height, width))
    if levels:
        heatmap = np.floor(heatmap * levels)
    region, target = rng.random((2, height, width)) < 0.4
    region[rng.integers(height), rng.integers(width)] = target[rng.integers(height), rng.integers(width)] = True
    return heatmap.astype(np.float32), region, target


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0, 2, 4]))
def test_the_figures_of_a_map_are_those_of_loops_over_pixels(seed, signed, levels):
    heatmap, region, target = maps(seed, signed, levels)
    found = MeasuredMap(heatmap).figures(region, target)
    pixels = [(float(v), bool(r), bool(t)) for v, r, t in zip(heatmap.flat, region.flat, target.flat, strict=True)]
    peak = max(v for v, _, _ in pixels)
    highest = [t for v, _, t in pixels if v == peak]
    assert found.pointing == pytest.approx(sum(highest) / len(highest))
    assert found.tied == (len(set(highest)) == 2)
    total = sum(max(v, 0) for v, _, _ in pixels)
    assert found.mass == pytest.approx(sum(max(v, 0) for v, r, _ in pixels if r) / total if total else 0, abs=1e-6)
    for cut, iou in zip(CUTS, found.ious, strict=True):
        shown = [peak > 0 and v > np.float32(cut * np.float64(peak)) for v, _, _ in pixels]
        both = sum(s and r for s, (_, r, _) in zip(shown, pixels, strict=True))
        either = sum(s or r for s, (_, r, _) in zip(shown, pixels, strict=True))
        assert iou == pytest.approx(both / either)


def test_the_cut_offs_are_shares_of_the_maximum_and_hold_the_usual_one():
    heatmap, region, _ = maps(3)
    scaled = MeasuredMap(heatmap * 1e-4).figures(region)
    assert scaled.ious == pytest.approx(MeasuredMap(heatmap).figures(region).ious)
    assert scaled.ious[CUTS.index(0.3)] == pytest.approx(iou_at(heatmap, region))
    assert tuple(sorted(CUTS)) == CUTS and CUTS[0] == 0.02 and CUTS[-1] == 0.9


def test_a_perfect_map_is_perfect_and_its_opposite_is_not():
    region = np.zeros((6, 8), bool)
    region[2:4, 1:5] = True
    good, bad = MeasuredMap(region.astype(float)), MeasuredMap((~region).astype(float))
    assert good.figures(region).pointing == good.figures(region).mass == 1
    assert set(good.figures(region).ious) == {1.0}
    assert bad.figures(region).pointing == bad.figures(region).mass == 0
    assert set(bad.figures(region).ious) == {0.0}


def test_a_map_without_a_positive_value_covers_nothing():
    found = MeasuredMap(np.full((3, 3), -1.0)).figures(np.ones((3, 3), bool))
    assert (found.pointing, found.mass, set(found.ious)) == (1.0, 0.0, {0.0})


def test_the_pointing_game_looks_at_the_centre_of_the_highest_pixel():
    heatmap = np.zeros((10, 20), np.float32)
    heatmap[3, 15] = 1
    assert pointing(heatmap, box_mask(((15.0, 3.0, 16.0, 4.0),), 10, 20)) == 1
    assert pointing(heatmap, box_mask(((3.0, 15.0, 4.0, 16.0),), 10, 20)) == 0
    assert pointing(heatmap, box_mask(((15.6, 3.0, 20.0, 4.0),), 10, 20)) == 0
    heatmap[3, 16] = 1
    assert pointing(heatmap, box_mask(((15.0, 3.0, 16.0, 4.0),), 10, 20)) == 0.5


def test_a_box_holds_the_pixels_whose_centres_it_holds():
    mask = box_mask(((1.5, 0.0, 3.49, 2.0), (4.0, 4.0, 9.0, 9.0)), 5, 6)
    wanted = np.zeros((5, 6), bool)
    for row in range(5):
        for col in range(6):
            x, y = col + 0.5, row + 0.5
            wanted[row, col] = (1.5 <= x <= 3.49 and 0 <= y <= 2) or (4 <= x <= 9 and 4 <= y <= 9)
    assert np.array_equal(mask, wanted) and mask.sum() == 4 + 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(absent, present):
    pairs = [(a > p) + (a == p) / 2 for a in absent for p in present]
    assert auroc(np.array(absent), np.array(present)) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("height, width", [(1, 1), (4, 7), (10, 3), (30, 40)])
def test_the_uniform_map_points_as_often_as_the_region_is_large(height, width):
    rng = np.random.default_rng(height)
    region = rng.random((height, width)) < 0.3
    region[0, 0] = True
    found = MeasuredMap(baselines.uniform_map(height, width)).figures(region)
    assert found.pointing == pytest.approx(region.mean())
    assert found.mass == pytest.approx(region.mean()) and found.ious == pytest.approx([region.mean()] * len(CUTS))


def test_the_centre_baseline_is_the_middle_pixel_or_those_that_meet_there():
    assert np.argwhere(baselines.centre_map(5, 3)).tolist() == [[2, 1]]
    assert np.argwhere(baselines.centre_map(4, 3)).tolist() == [[1, 1], [2, 1]]
    assert np.argwhere(baselines.centre_map(4, 6)).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    half = box_mask(((0.0, 0.0, 2.0, 3.0),), 3, 4)  # its right edge runs through the middle
    assert pointing(baselines.centre_map(3, 4), half) == 0.5


def test_the_gaussian_has_its_standard_deviation():
    values = baselines.gaussian_map(400, 600)
    assert np.unravel_index(values.argmax(), values.shape) in [(199, 299), (199, 300), (200, 299), (200, 300)]
    at = np.exp(-0.5)  # of the top, one sigma away
    assert values[200, 300 + 150] == pytest.approx(at, rel=0.01) and values[200 + 100, 300] == pytest.approx(
        at, rel=0.01
    )
    assert np.allclose(values, values[::-1, ::-1])


def test_the_interval_of_a_mean_draws_whole_photos():
    # Every photo has the same share of hits, so that other photos would give the same figure, however few phrases.
    values, photo = np.array([1.0, 0.0] * 50), np.arange(100) // 2
    figure = Bootstrap(50).mean(values, photo)
    assert (figure.value, figure.low, figure.high) == (0.5, 0.5, 0.5)
    # All phrases of a photo hit or all miss: as uncertain as 50 coins, not as 500.
    coins = np.random.default_rng(0).random(50) < 0.5
    figure = Bootstrap(50, rounds=4000).mean(np.repeat(coins, 10).astype(float), np.repeat(np.arange(50), 10))
    error = np.sqrt(coins.mean() * (1 - coins.mean()) / 50)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert figure.low < coins.mean() < figure.high


def test_the_interval_of_an_auroc_is_that_of_drawn_photos():
    rng = np.random.default_rng(1)
    absent, present = rng.normal(1, 1, 60), rng.normal(0, 1, 90)
    owners = rng.integers(0, 12, 60), rng.integers(0, 12, 90)
    boot = Bootstrap(12, seed=5, rounds=200)
    figure = boot.auroc(absent, owners[0], present, owners[1])
    assert figure.value == pytest.approx(auroc(absent, present))
    drawn = []
    for counts in boot._counts:
        pick = [np.repeat(v, counts[o]) for v, o in ((absent, owners[0]), (present, owners[1]))]
        if len(pick[0]) and len(pick[1]):
            drawn.append(auroc(*pick))
    assert (figure.low, figure.high) == pytest.approx((np.quantile(drawn, 0.025), np.quantile(drawn, 0.975)))


def test_a_figure_of_nothing_is_unknown_and_intervals_repeat_with_their_seed():
    empty = np.array([])
    assert np.isnan(Bootstrap(3).mean(empty, empty.astype(int)).value)
    values, photo = np.random.default_rng(0).random(40), np.arange(40) // 4
    assert Bootstrap(10, 1).mean(values, photo) == Bootstrap(10, 1).mean(values, photo)
    assert Bootstrap(10, 1).mean(values, photo) != Bootstrap(10, 2).mean(values, photo)


def test_what_the_model_did_not_see_points_nowhere():
    heatmap = np.full((4, 8), -0.2)
    heatmap[:, 2:6] = -0.5
    heatmap[1, 3] = -0.3  # the highest that was seen; all of it is below zero
    seen = np.zeros((4, 8), bool)
    seen[:, 2:6] = True
    found = MeasuredMap(heatmap, seen)
    target = np.zeros((4, 8), bool)
    target[1, 3] = True
    assert found.pointing(target) == 1 and found.pointing(~seen) == 0
    figures = found.figures(target)
    assert figures.mass == 0 and max(figures.ious) == 0
    assert MeasuredMap(heatmap).pointing(~seen) == 1
