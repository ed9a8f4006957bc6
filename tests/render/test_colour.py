"""The colour tables: what matplotlib says, even in lightness, neutral at zero."""

import matplotlib
import numpy as np
import pytest

from crossviz.errors import RenderError
from crossviz.render import colour


def lightness(rgb):
    """CIE L* of sRGB bytes."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


@pytest.mark.parametrize("name", colour.SEQUENTIAL)
def test_sequential_tables_are_matplotlibs_and_grow_steadily_lighter(name):
    table = colour.rgb_table(name)
    expected = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    assert np.abs(table.astype(int) - expected).max() <= 1
    steps = np.diff(lightness(table.astype(float))[::5])
    assert (steps > 0).all()
    assert steps.max() < 3 * np.median(steps)


@pytest.mark.parametrize("name", colour.DIVERGING)
def test_diverging_tables_are_neutral_and_lightest_at_zero(name):
    table = colour.rgb_table(name, True).astype(float)
    assert np.ptp(table[128]) < 8, "the middle is grey or white"
    light = lightness(table)
    assert abs(int(light.argmax()) - 128) <= 2
    assert abs(light[1] - light[255]) < 25, "as strong for as against"
    assert (table[0] == table[1]).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.85, 1.0])
def test_alpha_rises_from_nothing_to_the_opacity(signed, opacity):
    table = colour.rgba_table((colour.DIVERGING if signed else colour.SEQUENTIAL)[0], opacity, signed)
    alpha = table[:, 3].astype(int)
    middle = 128 if signed else 0
    assert alpha[middle] == 0
    assert alpha[255] == int(255 * opacity + 0.5)
    assert (np.diff(alpha[middle:]) >= 0).all()
    if signed:
        assert (alpha[1:128] == alpha[:128:-1]).all()
    assert alpha[64 + middle // 2] == int(255 * opacity * ((64 - middle // 2) / (127 if signed else 255)) ** 0.75 + 0.5)


def test_tables_can_not_be_changed():
    with pytest.raises(ValueError):
        colour.rgba_table("viridis")[0] = 1


@pytest.mark.parametrize("name, signed", [("jet", False), ("viridis", True), ("RdBu_r", False), (3, False)])
def test_other_maps_are_refused_by_name_with_those_that_there_are(name, signed):
    with pytest.raises(RenderError, match="RdBu_r" if signed else "viridis"):
        colour.check_cmap(name, signed=signed)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan"), "0.5"])
def test_opacity_is_a_number_from_0_to_1(opacity):
    with pytest.raises(RenderError, match="0 to 1"):
        colour.rgba_table("viridis", opacity)
