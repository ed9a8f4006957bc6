"""Places in the photo, the model's input and the grid: against open_clip's own transforms, torch, and plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from crossviz import compat
from crossviz.errors import GeometryError
from crossviz.geometry import ImageView, PatchGrid

MODES = ("squash", "shortest", "longest")
SHAPES = {"portrait": (300, 520), "landscape": (640, 400), "panorama": (1500, 160), "tower": (90, 700)}


def view_of(mode, source_wh, input_hw):
    return getattr(ImageView, mode)(source_wh, input_hw)


def open_clip_transform(mode, input_hw):
    transform = compat.import_open_clip().transform.image_transform
    return transform(
        input_hw, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=mode, interpolation="bilinear"
    )


sides = st.one_of(st.integers(1, 60), st.integers(1, 8000))
sizes = st.tuples(sides, sides)
grids = st.builds(PatchGrid, st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
inputs = st.one_of(
    st.integers(8, 512).map(lambda side: (side, side)), st.tuples(st.integers(8, 512), st.integers(8, 512))
)
views = st.builds(view_of, st.sampled_from(MODES), sizes, inputs)
points = st.lists(st.tuples(*[st.floats(-20_000, 20_000)] * 2), min_size=1, max_size=8).map(np.array)


class TestAgainstOpenClip:
    """The views say what open_clip's `image_transform` does to a photo."""

    @staticmethod
    def sampled(mode, axis, source_wh, input_hw):
        """Where in the photo each input pixel's centre lies, by open_clip's transform itself; NaN in the padding.

        A photo whose value is the coordinate stays a ramp under resampling, but near its borders, and to a tenth of
        a pixel: Pillow samples its kernel. Another rounding or offset than open_clip's is off by half an input pixel.
        """
        width, height = source_wh
        along = np.arange(width if axis == 0 else height, dtype=np.float32) + 0.5
        ramp = np.broadcast_to(along[None, :] if axis == 0 else along[:, None], (height, width))
        image = Image.fromarray(ramp + 1000.0)  # mode F; 1000 tells the photo from the padding, which is 0
        for step in open_clip_transform(mode, input_hw).transforms[:-3]:  # resize and crop; no RGB, no tensor
            image = step(image)
        values = np.asarray(image, dtype=np.float64)
        return np.where(values < 500, np.nan, values - 1000.0)

    def check(self, mode, source_wh, input_hw):
        """Compare every input pixel that lies well inside the photo; return how many there were, per axis."""
        view = view_of(mode, source_wh, input_hw)
        rows, cols = np.mgrid[: input_hw[0], : input_hw[1]] + 0.5
        expected = view.input_to_source(np.stack([cols, rows], -1))
        # Padding begins at whole input pixels, so that no centre is nearer to it than half of one.
        quarter = (np.array(view.crop_xyxy[2:]) - view.crop_xyxy[:2]) / input_hw[::-1] / 4
        outside = (expected < -quarter).any(-1) | (expected > np.array(source_wh) + quarter).any(-1)
        compared = []
        for axis in (0, 1):
            found = self.sampled(mode, axis, source_wh, input_hw)
            assert found.shape == tuple(input_hw)
            step = (view.crop_xyxy[axis + 2] - view.crop_xyxy[axis]) / input_hw[1 - axis]
            margin = 3 * max(step, 1.0)  # the reach of the resampling kernel
            inside = (expected[..., axis] > margin) & (expected[..., axis] < source_wh[axis] - margin)
            other = expected[..., 1 - axis]
            inside &= (other > 0) & (other < source_wh[1 - axis])
            assert not np.isnan(found[inside]).any()
            assert np.abs(found - expected[..., axis])[inside].max(initial=0.0) < 0.12
            assert np.isnan(found[outside]).all()  # padding, and only there
            assert not np.isnan(found[~outside]).any()
            compared.append(inside.sum())
        return compared

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("source_wh", [*SHAPES.values(), (2000, 63), (333, 777), (101, 100), (16, 16)])
    @pytest.mark.parametrize("input_hw", [(96, 96), (64, 112), (75, 33)])
    def test_every_pixel(self, mode, source_wh, input_hw):
        compared = self.check(mode, source_wh, input_hw)
        if min(source_wh) > 200:
            assert min(compared) > 300

    @given(st.sampled_from(MODES), st.tuples(st.integers(1, 400), st.integers(1, 400)), inputs)
    def test_every_pixel_of_any_size(self, mode, source_wh, input_hw):
        input_hw = tuple(min(side, 128) for side in input_hw)
        ratio = max(source_wh[1] / input_hw[0], source_wh[0] / input_hw[1])
        if mode == "longest":
            assume(round(min(source_wh) / ratio) >= 1)
        assume(max(source_wh) / min(source_wh) < 100)
        self.check(mode, source_wh, input_hw)

    def test_longest_of_a_line(self):
        """Where open_clip's transform fails because a side rounds to nothing, the view is one pixel high."""
        source_wh, input_hw = (8000, 50), (64, 64)
        with pytest.raises(ValueError):
            open_clip_transform("longest", input_hw)(Image.new("RGB", source_wh))
        view = ImageView.longest(source_wh, input_hw)
        top, bottom = view.source_to_input([(0, 0), (8000, 50)])
        assert bottom[1] - top[1] == pytest.approx(1.0)
        assert (top[0], bottom[0]) == pytest.approx((0.0, 64.0))

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("input_hw", "grid"), [((96, 96), PatchGrid(6, 6)), ((64, 128), PatchGrid(4, 8, 1))])
    def test_bright_square_lands_on_its_patch(self, mode, shape, input_hw, grid):
        """A square painted into the photo is brightest in the patch that the view names, and found back there."""
        source_wh = SHAPES[shape]
        view = view_of(mode, source_wh, input_hw)
        transform = open_clip_transform(mode, input_hw)
        checked = 0
        for row in range(grid.height):
            for col in range(grid.width):
                x0, y0, x1, y1 = view.patch_box(grid, row, col)
                left, right = (min(max(round(x), 0), source_wh[0]) for x in (x0, x1))
                top, bottom = (min(max(round(y), 0), source_wh[1]) for y in (y0, y1))
                if right - left < 2 or bottom - top < 2:
                    continue  # in the padding
                centre = ((left + right) / 2, (top + bottom) / 2)
                pixels = np.zeros((source_wh[1], source_wh[0], 3), dtype=np.uint8)
                pixels[top:bottom, left:right] = 255
                seen = transform(Image.fromarray(pixels))[0]  # input_h input_w
                brightness = F.adaptive_avg_pool2d(seen[None, None], (grid.height, grid.width))[0, 0]
                assert divmod(int(brightness.argmax()), grid.width) == (row, col)
                assert view.patch_at(grid, centre) == (row, col)
                at = view.source_to_grid(centre, grid)
                assert (math.floor(at[1]), math.floor(at[0])) == (row, col)
                for smooth in (True, False):
                    heat = view.upsample(brightness.numpy(), smooth)
                    y, x = np.unravel_index(heat.argmax(), heat.shape)
                    assert view.patch_at(grid, (x + 0.5, y + 0.5)) == (row, col)
                checked += 1
        assert checked >= min(grid.height, grid.width)


class TestPoints:
    @given(views, grids, points)
    @example(ImageView.shortest((1, 1), (224, 224)), PatchGrid(14, 14), np.array([[0.0, 0.0], [1.0, 1.0]]))
    @example(ImageView.shortest((8000, 50), (224, 224)), PatchGrid(7, 7), np.array([[0.0, 0.0], [8000.0, 50.0]]))
    @example(ImageView.longest((8000, 50), (224, 224)), PatchGrid(7, 7), np.array([[0.0, 0.0], [8000.0, 50.0]]))
    def test_round_trips(self, view, grid, xy):
        scale = max(*view.source_wh, *map(abs, view.crop_xyxy), np.abs(xy).max(), 1.0)
        for back in (
            view.input_to_source(view.source_to_input(xy)),
            view.grid_to_source(view.source_to_grid(xy, grid), grid),
        ):
            assert np.abs(back - xy).max() <= 1e-6 * scale
        for there in (
            view.source_to_input(view.input_to_source(xy)),
            view.source_to_grid(view.grid_to_source(xy, grid), grid),
        ):
            assert np.abs(there - xy).max() <= 1e-6 * max(np.abs(xy).max(), 1.0) * scale

    @given(views, grids)
    def test_the_crop_fills_the_frames(self, view, grid):
        corners = np.reshape(view.crop_xyxy, (2, 2))
        height, width = view.input_hw
        assert view.source_to_input(corners) == pytest.approx(np.array([[0, 0], [width, height]]), abs=1e-6)
        found = view.source_to_grid(corners, grid)
        assert found == pytest.approx(np.array([[0, 0], [grid.width, grid.height]]), abs=1e-6)

    @given(sizes, inputs)
    def test_what_each_mode_sees(self, source_wh, input_hw):
        whole = (0.0, 0.0, *map(float, source_wh))
        assert ImageView.squash(source_wh, input_hw).seen_xyxy == whole
        longest = ImageView.longest(source_wh, input_hw)
        assert longest.seen_xyxy == pytest.approx(whole, rel=1e-9)
        shortest = ImageView.shortest(source_wh, input_hw)
        # At the least one side whole, but for the pixel that rounding can cost or add.
        one_pixel = (np.array(shortest.crop_xyxy[2:]) - shortest.crop_xyxy[:2]) / input_hw[::-1]
        missing = np.array(source_wh) - (np.array(shortest.seen_xyxy[2:]) - shortest.seen_xyxy[:2])
        assert (missing <= one_pixel + 1e-6).any()

    @given(views)
    def test_shape_of_points_is_kept(self, view):
        assert view.source_to_input((1, 2)).shape == (2,)
        assert view.input_to_source(np.zeros((3, 4, 2), dtype=np.int64)).shape == (3, 4, 2)
        assert view.source_to_input(np.zeros((0, 2))).shape == (0, 2)

    def test_trimmed_is_what_an_unpadded_convolution_reads(self):
        """14 px patches over 96 px: six of them, and 12 px at the right and the bottom that no patch reads."""
        view = ImageView.shortest((500, 300), (96, 96))
        trimmed, grid = view.trimmed((84, 84)), PatchGrid(6, 6)
        rows, cols = np.mgrid[:96, :96] + 0.5
        where = torch.tensor(view.input_to_source(np.stack([cols, rows], -1))).permute(2, 0, 1)  # xy h w
        centres = F.avg_pool2d(where, 14).permute(1, 2, 0).numpy()  # gh gw xy
        grid_rows, grid_cols = np.mgrid[:6, :6] + 0.5
        assert centres == pytest.approx(trimmed.grid_to_source(np.stack([grid_cols, grid_rows], -1), grid))
        assert view.trimmed((96, 96)) == view
        assert (trimmed.upsample(np.ones((6, 6)))[:, -40:] == 0).all()


class TestPatches:
    @given(grids)
    def test_numbers(self, grid):
        cells = [(row, col) for row in range(grid.height) for col in range(grid.width)]
        assert [grid.row_col(patch) for patch in range(grid.num_patches)] == cells
        assert [grid.index(*cell) for cell in cells] == list(range(grid.num_patches))
        assert grid.num_tokens == grid.num_patches + grid.num_prefix_tokens

    @given(views, st.builds(PatchGrid, st.integers(1, 8), st.integers(1, 8)))
    def test_boxes_tile_the_crop(self, view, grid):
        boxes = np.array([view.patch_box(grid, *grid.row_col(patch)) for patch in range(grid.num_patches)])
        x0, y0, x1, y1 = view.crop_xyxy
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum()
        assert area == pytest.approx((x1 - x0) * (y1 - y0))
        assert [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)] == pytest.approx([x0, y0, x1, y1], abs=1e-6)
        width, height = view.source_wh
        for patch, (left, top, right, bottom) in enumerate(boxes):
            x, y = (left + right) / 2, (top + bottom) / 2
            inside = 0 <= x < width and 0 <= y < height
            assert view.patch_at(grid, (x, y)) == (grid.row_col(patch) if inside else None)

    def test_a_click_beside_the_photo_hits_nothing(self):
        grid = PatchGrid(4, 4)
        view = ImageView.longest((400, 100), (64, 64))
        assert view.patch_at(grid, (399.999, 99.999)) == (2, 3)
        for xy in [(-0.1, 50), (400, 50), (50, -0.1), (50, 100), (math.nan, 50)]:
            assert view.patch_at(grid, xy) is None
        cropped = ImageView.shortest((400, 100), (64, 64))
        assert cropped.patch_at(grid, (149, 50)) is None
        assert cropped.patch_at(grid, (151, 50)) == (2, 0)
        assert cropped.patch_at(grid, (249, 50)) == (2, 3)
        assert cropped.patch_at(grid, (251, 50)) is None


def upsample_by_loop(view, values, smooth):
    """The definition, a pixel at a time."""
    width, height = view.source_wh
    gh, gw = values.shape
    x0, y0, x1, y1 = view.crop_xyxy
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            x, y = j + 0.5, i + 0.5
            if not (x0 <= x < x1 and y0 <= y < y1):
                continue
            gx, gy = (x - x0) / (x1 - x0) * gw, (y - y0) / (y1 - y0) * gh
            if not smooth:
                result[i, j] = values[int(gy), int(gx)]
                continue
            for row in range(gh):
                for col in range(gw):
                    # Hat functions about the patches' centres, the outermost ones level to the border.
                    wx = max(0.0, 1 - abs(min(max(gx, 0.5), gw - 0.5) - (col + 0.5)))
                    wy = max(0.0, 1 - abs(min(max(gy, 0.5), gh - 0.5) - (row + 0.5)))
                    result[i, j] += wx * wy * values[row, col]
    return result


class TestUpsample:
    @given(
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        st.integers(0, 9),
    )
    @example((1, 1), (24, 24), 0)
    @example((8000, 50), (7, 5), 0)
    def test_smooth_is_torch_interpolation(self, source_wh, grid_hw, seed):
        values = np.random.default_rng(seed).normal(size=(2, 3, *grid_hw)).astype(np.float32)
        found = ImageView.squash(source_wh, (64, 64)).upsample(values)
        expected = F.interpolate(torch.tensor(values), source_wh[::-1], mode="bilinear", align_corners=False)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert np.abs(found - expected.numpy()).max() < 2e-5

    @pytest.mark.parametrize("smooth", [True, False])
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("source_wh", [(22, 40), (46, 18), (1, 1), (4, 32)])  # no centre on an edge
    @pytest.mark.parametrize("grid_hw", [(3, 3), (2, 4), (5, 1)])
    def test_against_a_loop(self, smooth, mode, source_wh, grid_hw):
        view = view_of(mode, source_wh, (30, 30 if grid_hw[0] == grid_hw[1] else 40))
        values = np.random.default_rng(1).normal(size=grid_hw)
        assert np.abs(view.upsample(values, smooth) - upsample_by_loop(view, values, smooth)).max() < 1e-5

    @given(views, st.booleans())
    @example(ImageView.shortest((2, 1), (9, 8)), True)
    @example(ImageView.shortest((100, 1), (224, 224)), True)
    @example(ImageView.longest((8000, 50), (224, 224)), False)
    def test_a_level_map_stays_level_where_the_model_looked(self, view, smooth):
        assume(view.source_wh[0] * view.source_wh[1] < 2e6)
        heat = view.upsample(np.full((3, 5), 0.25), smooth)
        width, height = view.source_wh
        assert heat.shape == (height, width)
        x0, y0, x1, y1 = view.seen_xyxy
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        seen_x, seen_y = (x >= x0) & (x < x1), (y >= y0) & (y < y1)
        # Out of a tiny photo a crop can be that misses every pixel's centre: then one pixel is filled.
        assert (heat != 0).any(0).sum() == max(seen_x.sum(), 1)
        assert (heat != 0).any(1).sum() == max(seen_y.sum(), 1)
        assert np.abs(heat[heat != 0] - 0.25).max() < 1e-6
        if seen_x.any() and seen_y.any():
            assert ((heat != 0) == seen_y[:, None] & seen_x[None, :]).all()

    def test_patches_keep_their_very_values(self):
        values = np.random.default_rng(2).normal(size=(7, 9)).astype(np.float32)
        heat = ImageView.squash((63, 49), (64, 64)).upsample(values, smooth=False)
        assert (heat == np.kron(values, np.ones((7, 7), np.float32))).all()

    def test_large_photo(self):
        view, values = ImageView.squash((4000, 3000), (384, 384)), np.random.default_rng(3).random((24, 24))
        heat = view.upsample(values)
        assert heat.shape == (3000, 4000)
        assert heat.dtype == np.float32


class TestRefused:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: PatchGrid(0, 3),
            lambda: PatchGrid(2.5, 3),
            lambda: PatchGrid(3, 3, -1),
            lambda: PatchGrid(3, 3, True),
            lambda: ImageView.squash((0, 10), (8, 8)),
            lambda: ImageView.shortest((10, 10), (8, 0)),
            lambda: ImageView.longest((10, -1), (8, 8)),
            lambda: ImageView.longest(10, (8, 8)),
            lambda: ImageView((10, 10), (8, 8), (0, 0, 0, 10)),
            lambda: ImageView((10, 10), (8, 8), (0, 0, math.inf, 10)),
            lambda: ImageView((10, 10), (8, 8), (0, 0, 10)),
            lambda: ImageView((10, 10), (8, 8), None),
            lambda: PatchGrid(2, 3).index(2, 0),
            lambda: PatchGrid(2, 3).index(0, -1),
            lambda: PatchGrid(2, 3).row_col(6),
            lambda: ImageView.squash((9, 9), (8, 8)).patch_box(PatchGrid(2, 3), 0, 3),
            lambda: ImageView.squash((9, 9), (8, 8)).source_to_input([1.0, 2.0, 3.0]),
            lambda: ImageView.squash((9, 9), (8, 8)).upsample([1.0, 2.0]),
            lambda: ImageView.squash((9, 9), (8, 8)).upsample(np.zeros((0, 2))),
            lambda: ImageView.squash((9, 9), (8, 8)).upsample([[1.0, math.nan]]),
        ],
    )
    def test_with_one_sentence(self, make):
        with pytest.raises(GeometryError) as caught:
            make()
        assert str(caught.value).endswith(".")

    def test_lists_are_taken_and_kept_as_tuples(self):
        """As they come back from JSON."""
        view = ImageView([40, 30], [8, 8], [0, 0, 40, 30])
        assert view == ImageView.squash((40, 30), (8, 8))
        assert hash(view) == hash(ImageView.squash((40, 30), (8, 8)))
