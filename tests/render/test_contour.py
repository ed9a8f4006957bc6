"""The half-mass region: against sums over fine rasters and plain loops, and planted shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path

from crossviz.render.contour import SAMPLES, bilinear, half_mass, half_mass_outlines, sample_axis

grids = st.tuples(st.integers(1, 9), st.integers(1, 9))


def maps(seed, gh, gw):
    return np.random.default_rng(seed).gamma(0.7, 1.0, (gh, gw))


def enclosed(lines, x, y):
    """Which lattice points lie inside by the even-odd rule, holes left out."""
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    inside = np.zeros(len(points), dtype=bool)
    for line in lines:
        inside ^= Path(line).contains_points(points)
    return inside.reshape(len(y), len(x))


def blob(gh, gw, row, col, spread=1.5):
    y, x = np.mgrid[:gh, :gw] + 0.5
    return np.exp(-((x - col) ** 2 + (y - row) ** 2) / (2 * spread**2))


@given(st.floats(-3, 12, allow_nan=False), st.integers(1, 8))
def test_sampling_is_linear_between_centres_and_clamped_beyond(at, size):
    low, high, weight = sample_axis(np.array([at]), size)
    values = np.arange(size, dtype=float)
    got = values[low] * (1 - weight) + values[high] * weight
    assert got == pytest.approx(min(max(at - 0.5, 0), size - 1))


@given(st.integers(0, 9999), grids)
def test_the_region_is_the_smallest_that_holds_half(seed, grid):
    values = maps(seed, *grid)
    region = half_mass(values, smooth=False)
    chosen = np.sort(values.ravel())[::-1][: round(region.area * values.size)]
    assert chosen.sum() >= 0.5 * values.sum() * (1 - 1e-12)
    assert chosen[:-1].sum() < 0.5 * values.sum()
    assert region.level == chosen[-1]
    assert region.mass == pytest.approx(chosen.sum() / values.sum())


def test_the_smooth_region_agrees_with_a_fine_raster():
    values = blob(9, 12, 4, 7) + 0.02
    region = half_mass(values)
    x, y = (np.linspace(0, n, n * 60, endpoint=False) + 1 / 120 for n in (12, 9))
    fine = bilinear(values, x, y)
    above = fine >= region.level
    assert fine[above].sum() / fine.sum() == pytest.approx(0.5, abs=0.01)
    assert above.mean() == pytest.approx(region.area, abs=0.01)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_outlines_enclose_what_lies_above_the_level_and_half_of_the_mass(seed, smooth):
    values = maps(seed, 7, 10) if seed % 2 else blob(7, 10, seed + 0.37, 2 * seed + 0.21, 1 + seed / 2) + 0.01
    region = half_mass(values, smooth=smooth)
    x, y = ((np.arange(n * 20) + 0.5) / 20 for n in (10, 7))
    field = bilinear(values, x, y) if smooth else np.kron(values, np.ones((20, 20)))
    inside = enclosed(half_mass_outlines(values, smooth=smooth), x, y)
    assert (inside == (field >= region.level)).mean() > (0.985 if smooth else 0.9999)
    assert field[inside].sum() / field.sum() == pytest.approx(region.mass, abs=0.02)
    assert region.mass == pytest.approx(0.5, abs=0.02 if smooth else values.max() / values.sum())


@given(st.integers(0, 9999), grids, st.booleans())
def test_outlines_are_closed_and_stay_on_the_grid(seed, grid, smooth):
    for line in half_mass_outlines(maps(seed, *grid), smooth=smooth):
        assert (line[0] == line[-1]).all()
        assert line.min() >= 0 and (line <= (grid[1], grid[0])).all()


def test_patch_outlines_run_along_patch_edges():
    values = np.zeros((4, 5))
    values[1, 2] = values[1, 3] = 1
    (line,) = half_mass_outlines(values, smooth=False, share=0.9)
    assert (line == np.round(line)).all()
    assert line[:, 0].min() == 2 and line[:, 0].max() == 4
    assert line[:, 1].min() == 1 and line[:, 1].max() == 2


def test_a_hole_is_left_out():
    values = np.ones((9, 9))
    values[3:6, 3:6] = 0
    x = y = np.arange(9) + 0.5
    inside = enclosed(half_mass_outlines(values, smooth=False, share=1.0), x, y)
    assert (inside == (values > 0)).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_maps_without_mass_or_shape_do_no_harm(smooth):
    assert half_mass_outlines(np.zeros((3, 4)), smooth=smooth) == []
    assert half_mass(np.zeros((3, 4)), smooth=smooth).mass == 0
    assert half_mass_outlines(-np.ones((3, 4)), smooth=smooth) == []
    constant = half_mass(np.ones((3, 4)), smooth=smooth)
    assert constant.level == 1 and constant.area == pytest.approx(0.5)
    (line,) = half_mass_outlines(np.ones((3, 4)), smooth=smooth)
    assert np.ptp(line, axis=0).tolist() == [4, 3], "all of a constant map lies at its level"


def test_only_what_speaks_for_the_word_counts_in_signed_maps():
    values = np.array([[3.0, 1.0], [-50.0, 0.0]])
    region = half_mass(values, smooth=False)
    assert region.level == 3 and region.area == 0.25 and region.mass == 0.75


def test_the_lattice_is_fine_enough():
    assert SAMPLES >= 8
