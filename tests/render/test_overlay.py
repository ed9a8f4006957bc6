"""Heat on the photo: against the written arithmetic in plain loops, planted patches, and what must never be drawn."""

import math

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossviz.errors import RenderError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.render import colour, overlay
from crossviz.render.overlay import dim_photo, display_rgba, draw_overlay, stamp_untrained, unseen_boxes
from crossviz.render.scale import Scale, shared_scale, word_scale

CHANCE_TO_8 = Scale("probability", 1.0, 8.0, factor=12.0)
SIGNED = Scale("share", -2.0, 2.0, power=1.0, signed=True)
SHAPES = {
    "landscape": (90, 60),
    "portrait": (50, 110),
    "panorama": (240, 24),
    "one pixel high": (64, 1),
    "tiny": (1, 1),
}


def by_hand(values, scale, size_wh, view, smooth, opacity, name):
    """The steps at the top of overlay.py, one pixel after the other."""
    (width, height), (gh, gw) = size_wh, values.shape
    (source_w, source_h), (x0, y0, x1, y1) = view.source_wh, view.crop_xyxy
    table = colour.rgb_table(name, scale.signed)
    out = np.zeros((height, width, 4), dtype=np.uint8)
    for j in range(height):
        for i in range(width):
            sx, sy = (i + 0.5) * source_w / width, (j + 0.5) * source_h / height
            if not (x0 <= sx < x1 and y0 <= sy < y1):
                continue
            gx, gy = (sx - x0) / (x1 - x0) * gw, (sy - y0) / (y1 - y0) * gh
            if smooth:
                u, v = min(max(gx - 0.5, 0), gw - 1), min(max(gy - 0.5, 0), gh - 1)
                a, c = math.floor(u), math.floor(v)
                b, d, w, z = min(a + 1, gw - 1), min(c + 1, gh - 1), u - a, v - c
                top = values[c, a] * (1 - w) + values[c, b] * w
                bottom = values[d, a] * (1 - w) + values[d, b] * w
                value = top * (1 - z) + bottom * z
            else:
                value = values[min(math.floor(gy), gh - 1), min(math.floor(gx), gw - 1)]
            m = value * scale.factor
            if scale.signed:
                index = math.floor(128 + 127 * min(max(m / scale.vmax, -1), 1) + 0.5)
                t = abs(index - 128) / 127
            else:
                index = math.floor(255 * min(max((m - scale.vmin) / (scale.vmax - scale.vmin), 0), 1) ** 0.5 + 0.5)
                t = index / 255
            out[j, i] = (*table[index], math.floor(255 * opacity * t**0.75 + 0.5))
    return out


@settings(max_examples=40)
@given(
    seed=st.integers(0, 9999),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    mode=st.sampled_from(["squash", "shortest", "longest"]),
    smooth=st.booleans(),
    signed=st.booleans(),
)
def test_the_heat_is_the_written_arithmetic(seed, grid, source, size, mode, smooth, signed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, grid) if signed else rng.gamma(0.5, 0.4, grid)
    scale, name = (SIGNED, "RdBu_r") if signed else (CHANCE_TO_8, "viridis")
    view = getattr(ImageView, mode)(source, (32, 32))
    got = display_rgba(values, scale, size, view=view, smooth=smooth, opacity=0.7)
    expected = by_hand(values, scale, size, view, smooth, 0.7, name)
    # sums in another order may round to the neighbouring entry of the table, very rarely
    assert np.abs(got.astype(int) - expected).max() <= 4
    assert (got != expected).any(-1).mean() <= 0.01 or got.size < 400


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("smooth", [True, False])
def test_the_heat_agrees_with_the_heatmap_in_source_pixels(mode, smooth):
    ex = factories.explanation(view=getattr(ImageView, mode)((60, 40), (64, 64)))
    values = ex.patch_map("dog")
    heat = ex.heatmap("dog", smooth=smooth)
    assert heat.shape == (40, 60) and heat.dtype == np.float32
    t = ex.scale.position(heat)
    expected = colour.rgba_table("viridis")[np.floor(255 * t + 0.5).astype(int)]
    got = display_rgba(values, ex.scale, (60, 40), view=ex.view, smooth=smooth)
    shown = got[..., 3] > 0
    assert np.abs(got[shown].astype(int) - expected[shown]).max() <= 4
    assert (expected[~shown][:, 3] <= 2).all()


@pytest.mark.parametrize("size_wh", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
def test_a_planted_patch_glows_at_its_own_pixels_and_nowhere_else(size_wh, mode):
    grid = PatchGrid(5, 8)
    view = getattr(ImageView, mode)(size_wh, (40, 64))
    photo = factories.photo(*size_wh).image()
    base = np.asarray(dim_photo(photo)).astype(int)
    for patch in [(0, 0), (2, 3), (4, 7), (1, 6)]:
        values = factories.planted(grid, [patch], [0.0]).numpy()
        scale = shared_scale(values, "probability")
        drawn = draw_overlay(photo, values[0], view, scale, smooth=False, contour=False)
        assert drawn.size == size_wh and drawn.mode == "RGB"
        x0, y0, x1, y1 = view.patch_box(grid, *patch)
        x, y = np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5
        expected = ((x0 <= x) & (x < x1))[None] & ((y0 <= y) & (y < y1))[:, None]
        seen = np.ones_like(expected)
        for left, top, right, bottom in unseen_boxes(view, size_wh):
            seen[top:bottom, left:right] = False
        changed = (np.asarray(drawn).astype(int) != base).any(-1)
        np.testing.assert_array_equal(changed & seen, expected)
        # in the smooth view the peak pixel lies in that patch
        heat = display_rgba(values[0], scale, size_wh, view=view)[..., 3]
        if expected.any():
            assert expected[np.unravel_index(heat.argmax(), heat.shape)] or heat[expected].max() == heat.max()


def test_the_overlay_has_the_size_of_the_photo_and_leaves_it_alone():
    ex = factories.explanation(size_wh=(173, 91))
    before = ex.photo.pixels.copy()
    drawn = ex.overlay("dog")
    assert drawn.size == (173, 91) and drawn.mode == "RGB"
    assert (ex.photo.pixels == before).all()
    photo = ex.photo.image()
    untouched = photo.tobytes()
    draw_overlay(photo, ex.patch_map("dog"), ex.view, ex.scale, trained=False)
    assert photo.tobytes() == untouched


def test_words_share_one_scale_and_their_own_is_a_choice():
    ex = factories.explanation(
        "dog cat", peaks=[(0, 0), (0, 0)], null=[0.0, 0.6], layers=1, heads=1, grid=PatchGrid(4, 6)
    )
    strong, weak = ex.patch_map("dog"), ex.patch_map("cat")
    both = np.concatenate([strong, weak])
    value = ex.scale.position(both)
    np.testing.assert_array_equal(value[:4], ex.scale.position(strong))
    heat = [display_rgba(v, ex.scale, (60, 40), view=ex.view)[..., 3].max() for v in (strong, weak)]
    assert heat[1] < heat[0] == round(255 * colour.OPACITY)
    own = display_rgba(weak, word_scale(weak, ex.scale), (60, 40), view=ex.view)[..., 3].max()
    assert own == heat[0]
    assert ex.overlay("cat", scale="word").tobytes() != ex.overlay("cat").tobytes()
    assert ex.overlay("dog", scale="word").tobytes() == ex.overlay("dog").tobytes()


def test_swapping_two_words_swaps_their_pictures():
    one = factories.explanation("dog cat", peaks=[(0, 1), (3, 4)], layers=1, heads=1)
    other = factories.explanation("cat dog", peaks=[(3, 4), (0, 1)], layers=1, heads=1)
    plain = {"contour": False, "smooth": False}
    dog, cat = (np.asarray(one.overlay(word, **plain)).astype(int) for word in ("dog", "cat"))
    assert (dog != cat).any()
    # the heads' scatter differs, the places do not
    base = np.asarray(dim_photo(one.photo.image()))
    for word, picture in (("dog", dog), ("cat", cat)):
        swapped = np.asarray(other.overlay(word, **plain))
        np.testing.assert_array_equal((picture != base).any(-1), (swapped != base).any(-1))


def test_an_absent_word_does_not_glow_and_gets_no_contour():
    ex = factories.explanation(
        "a dog and a zebra", peaks=[(0, 0), (1, 1), (2, 2), (3, 3), (3, 4)], null=[0.1, 0.1, 0.1, 0.1, 0.97]
    )
    drawn = ex.overlay("zebra")
    assert drawn.tobytes() == dim_photo(ex.photo.image()).tobytes()
    assert ex.overlay("dog").tobytes() != drawn.tobytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_map_at_or_below_chance_is_the_dim_photo(share):
    photo = factories.photo(50, 30).image()
    values = np.full((4, 6), share / 24)
    view = ImageView.squash((50, 30), (32, 32))
    for scale in (shared_scale(values, "probability"), word_scale(values, shared_scale(values, "probability"))):
        assert draw_overlay(photo, values, view, scale).tobytes() == dim_photo(photo).tobytes()


def test_the_photo_under_the_heat_is_grey_and_darker():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    dim = np.asarray(dim_photo(Image.fromarray(pixels))).astype(float)
    assert np.ptp(dim, axis=-1).max() == 0
    np.testing.assert_allclose(dim[..., 0], 0.7 * (pixels @ [0.2126, 0.7152, 0.0722]), atol=1)


def test_heat_lies_over_the_photo_with_its_alpha():
    ex = factories.explanation(layers=1, heads=1)
    heat = display_rgba(ex.patch_map("dog"), ex.scale, ex.photo.wh, view=ex.view, opacity=0.6).astype(float)
    base = np.asarray(dim_photo(ex.photo.image())).astype(float)
    alpha = heat[..., 3:] / 255
    drawn = np.asarray(ex.overlay("dog", opacity=0.6, contour=False)).astype(float)
    np.testing.assert_allclose(drawn, base * (1 - alpha) + heat[..., :3] * alpha, atol=1)


@pytest.mark.parametrize(("contour", "share"), [(True, 0.5), (0.8, 0.8)])
def test_the_contour_is_thin_and_lies_at_the_level(contour, share):
    size = (400, 300)
    y, x = np.mgrid[:12, :16] + 0.5
    values = np.exp(-((x - 9) ** 2 + (y - 5) ** 2) / 8)
    values /= values.sum()
    view, photo = ImageView.squash(size, (64, 64)), factories.photo(*size).image()
    scale = shared_scale(values, "probability")
    plain = np.asarray(draw_overlay(photo, values, view, scale, contour=False)).astype(int)
    drawn = np.asarray(draw_overlay(photo, values, view, scale, contour=contour)).astype(int)
    line = np.abs(drawn - plain).max(-1) > 8
    assert 0.002 < line.mean() < 0.03
    from crossviz.render.contour import half_mass

    heat = view.upsample(values)
    level = half_mass(values, share=share).level
    rise = np.abs(np.gradient(heat)).sum(0).max()
    assert np.abs(heat[line] - level).max() < 4 * rise, "within a few pixels of the level"
    white = drawn.min(-1) > 200
    inside = heat >= level
    assert white.any() and inside.any()


@pytest.mark.parametrize("contour", [0, 1.2, -0.5, float("nan"), "half", None])
def test_a_contour_of_no_share_is_an_error(contour):
    with pytest.raises(RenderError, match="`contour` must be"):
        factories.explanation().overlay("dog", contour=contour)


def test_what_the_model_did_not_see_is_darkened_and_hatched():
    size = (200, 100)
    view = ImageView.shortest(size, (32, 32))
    photo = Image.new("RGB", size, (180, 180, 180))
    drawn = np.asarray(draw_overlay(photo, np.full((4, 4), 1 / 16), view, CHANCE_TO_8)).astype(int)[..., 0]
    boxes = unseen_boxes(view, size)
    assert boxes == [(0, 0, 50, 100), (150, 0, 200, 100)]
    seen = drawn[:, 50:150]
    assert np.ptp(seen) == 0
    for left, top, right, bottom in boxes:
        part = drawn[top:bottom, left:right]
        assert part.min() < 0.6 * seen[0, 0] and len(np.unique(part)) == 2
        np.testing.assert_array_equal(part[1:, :-1], part[:-1, 1:])  # along the diagonals it is constant


def test_a_letterboxed_view_hides_nothing():
    view = ImageView.longest((200, 100), (32, 32))
    assert unseen_boxes(view, (200, 100)) == []


@pytest.mark.parametrize("size_wh", [(640, 400), (300, 900), (40, 40), (200, 1), (1, 1)])
def test_untrained_weights_leave_a_stripe_from_corner_to_corner(size_wh):
    picture = Image.new("RGB", size_wh, (60, 60, 60))
    stamp_untrained(picture)
    assert picture.size == size_wh
    pixels = np.asarray(picture).astype(int)
    changed = (pixels != 60).any(-1)
    width, height = size_wh
    along = [(round(s * (width - 1)), round((1 - s) * (height - 1))) for s in np.linspace(0, 1, 30)]
    assert all(changed[y, x] for x, y in along)
    if min(size_wh) >= 300:
        assert 0.03 < changed.mean() < 0.35
        band = pixels[changed]
        assert (band.max(-1) > 150).any() and (band.max(-1) < 80).any(), "dark letters on a bright band"


def test_the_stripe_is_on_every_overlay_of_untrained_weights():
    trained, untrained = (factories.explanation(trained=value, size_wh=(300, 200)) for value in (True, False))
    for word in range(len(trained.words)):
        one, other = (np.asarray(ex.overlay(word=word)).astype(int) for ex in (trained, untrained))
        assert (one != other).any(-1).mean() > 0.03


def test_signed_maps_use_a_diverging_map_and_show_both_signs():
    ex = factories.signed_explanation()
    values = ex.patch_map(word=1)
    heat = display_rgba(values, ex.scale, (60, 40), view=ex.view, smooth=False)
    low, high = np.unravel_index(values.argmin(), values.shape), np.unravel_index(values.argmax(), values.shape)
    at = lambda patch: heat[patch[0] * 10 + 5, patch[1] * 10 + 5].astype(int)  # noqa: E731
    assert at(high)[0] > at(high)[2] and at(low)[2] > at(low)[0], "red for, blue against"
    with pytest.raises(RenderError, match="RdBu_r"):
        ex.overlay(word=1, cmap="viridis")


def test_weak_words_of_signed_maps_are_not_outlined():
    rng = np.random.default_rng(0)
    strong, noise = np.zeros((6, 8)), rng.normal(0, 0.01, (6, 8))
    strong[2:4, 3:5] = 1.0
    scale = shared_scale(np.stack([strong, noise]), "similarity share", signed=True)
    assert overlay.contour_is_shown(strong, scale) and not overlay.contour_is_shown(noise, scale)
    assert not overlay.contour_is_shown(-strong, scale), "nothing speaks for it"


@pytest.mark.parametrize("wrong", [{"cmap": "jet"}, {"opacity": 2.0}, {"scale": "own"}])
def test_a_wrong_wish_is_one_sentence(wrong):
    with pytest.raises(RenderError, match=next(iter(wrong))):
        factories.explanation().overlay("dog", **wrong)


def test_a_size_of_zero_is_refused():
    with pytest.raises(RenderError, match="at least 1 x 1"):
        display_rgba(np.ones((2, 2)), CHANCE_TO_8, (0, 5))


def test_large_photos_are_drawn_in_bands_without_seams(monkeypatch):
    values = np.random.default_rng(0).gamma(0.5, 0.1, (3, 4))
    size, view = (90, 1100), ImageView.shortest((90, 1100), (32, 32))
    whole = display_rgba(values, CHANCE_TO_8, size, view=view)
    for pixels in (1, 100, 1000):
        monkeypatch.setattr(overlay, "_BAND", pixels)
        np.testing.assert_array_equal(display_rgba(values, CHANCE_TO_8, size, view=view), whole)
