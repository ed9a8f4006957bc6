"""Where things are: one affine map between the photo, what the model saw of it, and the grid of patches.

Three frames, all in continuous coordinates, x to the right and y down:

- source: pixels of the photo after EXIF rotation. Pixel (row i, column j) covers [j, j+1) x [i, i+1), so its
  centre lies at (j + 0.5, i + 0.5).
- input: pixels of the tensor that the model saw, in the same way.
- grid: patch (row, column) covers [column, column+1) x [row, row+1).

Points are arrays of shape `(..., 2)` that hold x, y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossviz.errors import GeometryError

__all__ = ["ImageView", "PatchGrid"]


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The spatial tokens of an image tower: `height` x `width` patches in reading order, after the prefix tokens.

    Args:
        height: rows of patches.
        width: columns of patches.
        num_prefix_tokens: tokens before the first patch that belong to no place (CLS, registers).

    Raises:
        GeometryError: for a size below 1 or a negative number of prefix tokens.
    """

    height: int
    width: int
    num_prefix_tokens: int = 0

    def __post_init__(self) -> None:
        height, width = _size("PatchGrid(height, width)", (self.height, self.width))
        prefix = self.num_prefix_tokens
        if isinstance(prefix, bool) or not isinstance(prefix, int | np.integer) or prefix < 0:
            raise GeometryError(f"`num_prefix_tokens` must be an integer of at least 0, but is {prefix!r}.")
        object.__setattr__(self, "height", height)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "num_prefix_tokens", int(prefix))

    @property
    def num_patches(self) -> int:
        """height * width."""
        return self.height * self.width

    @property
    def num_tokens(self) -> int:
        """Prefix tokens and patches: the length of the image tower's sequence."""
        return self.num_prefix_tokens + self.num_patches

    def index(self, row: int, col: int) -> int:
        """The patch's number in reading order, prefix tokens not counted.

        Raises:
            GeometryError: when there is no such patch.
        """
        if not (0 <= row < self.height and 0 <= col < self.width):
            raise GeometryError(
                f"There is no patch at row {row}, column {col}: the grid has {self.height} rows "
                f"and {self.width} columns, counted from 0."
            )
        return row * self.width + col

    def row_col(self, patch: int) -> tuple[int, int]:
        """The (row, column) of a patch number, prefix tokens not counted; the inverse of `index`.

        Raises:
            GeometryError: when there is no such patch.
        """
        if not 0 <= patch < self.num_patches:
            raise GeometryError(f"There is no patch {patch}: the grid has {self.num_patches}, counted from 0.")
        return divmod(patch, self.width)


@dataclass(frozen=True, slots=True)
class ImageView:
    """Which part of the photo the model saw, and at what size.

    The rectangle `crop_xyxy` of the photo was resized to `input_hw`. It may reach outside the photo: there the model
    saw padding (letterbox). `squash`, `shortest` and `longest` make the views of open_clip's three resize modes.

    Args:
        source_wh: width and height of the photo after EXIF rotation, in pixels.
        input_hw: height and width of what the model saw, in pixels.
        crop_xyxy: left, top, right, bottom in source coordinates.

    Raises:
        GeometryError: for a size below 1 or a rectangle without area.
    """

    source_wh: tuple[int, int]
    input_hw: tuple[int, int]
    crop_xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_wh", _size("source_wh", self.source_wh))
        object.__setattr__(self, "input_hw", _size("input_hw", self.input_hw))
        try:
            crop = tuple(float(value) for value in self.crop_xyxy)
        except (TypeError, ValueError):
            crop = ()
        if len(crop) != 4 or not np.isfinite(crop).all() or crop[0] >= crop[2] or crop[1] >= crop[3]:
            raise GeometryError(
                "`crop_xyxy` must be four finite numbers, left < right and top < bottom, "
                f"but is {self.crop_xyxy!r:.80}."
            )
        object.__setattr__(self, "crop_xyxy", crop)

    # The three ways to bring a photo to a model's size -------------------------------------------------------

    @classmethod
    def squash(cls, source_wh: tuple[int, int], input_hw: tuple[int, int]) -> ImageView:
        """The whole photo, both sides stretched to the input's: open_clip's resize mode "squash"."""
        width, height = _size("source_wh", source_wh)
        return cls((width, height), input_hw, (0.0, 0.0, float(width), float(height)))

    @classmethod
    def shortest(cls, source_wh: tuple[int, int], input_hw: tuple[int, int]) -> ImageView:
        """The centre of the photo, its shorter side fitted, the longer one cropped: open_clip's mode "shortest".

        Square inputs go through torchvision's `Resize`, which rounds the longer side down, others through timm's
        `ResizeKeepRatio`, which rounds to the nearest even; both then crop at the rounded middle.
        """
        width, height = _size("source_wh", source_wh)
        target_h, target_w = _size("input_hw", input_hw)
        if target_h == target_w:
            short, long = min(width, height), max(width, height)
            fitted = int(target_h * long / short)
            resized_hw = (target_h, fitted) if height <= width else (fitted, target_h)
        else:
            ratio = min(height / target_h, width / target_w)
            resized_hw = (round(height / ratio), round(width / ratio))
        return cls._centred((width, height), (target_h, target_w), resized_hw)

    @classmethod
    def longest(cls, source_wh: tuple[int, int], input_hw: tuple[int, int]) -> ImageView:
        """The whole photo, its longer side fitted, the shorter one padded on both sides: open_clip's mode "longest".

        A side that rounds to no pixel at all counts as one pixel; open_clip's own transform fails on it.
        """
        width, height = _size("source_wh", source_wh)
        target_h, target_w = _size("input_hw", input_hw)
        ratio = max(height / target_h, width / target_w)
        resized_hw = (max(1, round(height / ratio)), max(1, round(width / ratio)))
        return cls._centred((width, height), (target_h, target_w), resized_hw)

    @classmethod
    def _centred(cls, source_wh: tuple[int, int], input_hw: tuple[int, int], resized_hw: tuple[int, int]) -> ImageView:
        """The view of a photo that was resized to `resized_hw`, then cropped or padded about its middle."""
        left, top = _offset(resized_hw[1], input_hw[1]), _offset(resized_hw[0], input_hw[0])
        scale_x, scale_y = source_wh[0] / resized_hw[1], source_wh[1] / resized_hw[0]
        crop = (left * scale_x, top * scale_y, (left + input_hw[1]) * scale_x, (top + input_hw[0]) * scale_y)
        return cls(source_wh, input_hw, crop)

    def trimmed(self, input_hw: tuple[int, int]) -> ImageView:
        """The same view, cut (or padded) at the right and the bottom to another input size, at the same scale.

        For image towers whose patches don't fill the input: a convolution of 14 px patches over 384 px reads
        27 x 14 = 378 px and leaves the rest out, so its view is `.trimmed((378, 378))`.
        """
        height, width = _size("input_hw", input_hw)
        x0, y0, x1, y1 = self.crop_xyxy
        right = x0 + (x1 - x0) * (width / self.input_hw[1])
        bottom = y0 + (y1 - y0) * (height / self.input_hw[0])
        return ImageView(self.source_wh, (height, width), (x0, y0, right, bottom))

    # Points ---------------------------------------------------------------------------------------------------

    @property
    def seen_xyxy(self) -> tuple[float, float, float, float]:
        """The part of the photo that the model saw, in source pixels: `crop_xyxy` without its padding."""
        width, height = self.source_wh
        x0, y0, x1, y1 = self.crop_xyxy
        return (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))

    def source_to_input(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """Source coordinates to input coordinates, `(..., 2)` to `(..., 2)`. Points outside the crop are kept."""
        return self._from_source(points_xy, (self.input_hw[1], self.input_hw[0]))

    def input_to_source(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """The inverse of `source_to_input`."""
        return self._to_source(points_xy, (self.input_hw[1], self.input_hw[0]))

    def source_to_grid(self, points_xy: ArrayLike, grid: PatchGrid) -> NDArray[np.float64]:
        """Source coordinates to grid coordinates, `(..., 2)` to `(..., 2)`. Points outside the crop are kept."""
        return self._from_source(points_xy, (grid.width, grid.height))

    def grid_to_source(self, points_xy: ArrayLike, grid: PatchGrid) -> NDArray[np.float64]:
        """The inverse of `source_to_grid`."""
        return self._to_source(points_xy, (grid.width, grid.height))

    def _from_source(self, points_xy: ArrayLike, frame_wh: tuple[int, int]) -> NDArray[np.float64]:
        x0, y0, x1, y1 = self.crop_xyxy
        return (_points(points_xy) - (x0, y0)) * (frame_wh[0] / (x1 - x0), frame_wh[1] / (y1 - y0))

    def _to_source(self, points_xy: ArrayLike, frame_wh: tuple[int, int]) -> NDArray[np.float64]:
        x0, y0, x1, y1 = self.crop_xyxy
        return _points(points_xy) * ((x1 - x0) / frame_wh[0], (y1 - y0) / frame_wh[1]) + (x0, y0)

    # Patches --------------------------------------------------------------------------------------------------

    def patch_box(self, grid: PatchGrid, row: int, col: int) -> tuple[float, float, float, float]:
        """The patch's rectangle xyxy in source pixels, not clipped to the photo.

        Raises:
            GeometryError: when there is no such patch.
        """
        grid.index(row, col)
        corners = self.grid_to_source([[col, row], [col + 1, row + 1]], grid)
        return tuple(float(value) for value in corners.ravel())

    def patch_at(self, grid: PatchGrid, xy: ArrayLike) -> tuple[int, int] | None:
        """The (row, column) of the patch over a source point, or None where the model saw nothing of the photo."""
        x, y = _points(xy)
        x0, y0, x1, y1 = self.seen_xyxy
        if not (x0 <= x < x1 and y0 <= y < y1):
            return None
        col, row = np.floor(self.source_to_grid((x, y), grid)).astype(int)
        return min(max(int(row), 0), grid.height - 1), min(max(int(col), 0), grid.width - 1)

    def upsample(self, values: ArrayLike, smooth: bool = True) -> NDArray[np.float32]:
        """Values of patches, drawn out to the pixels of the photo. Nothing is rescaled.

        Every pixel whose centre the model saw takes the value there: bilinear between the centres of the patches, level
        beyond the outermost ones (as `F.interpolate(mode="bilinear", align_corners=False)`), or that of the patch it
        lies in.

        Args:
            values: finite, `(..., gh, gw)`.
            smooth: bilinear if True, else the patch's own value.

        Returns:
            float32 `(..., H, W)` in source pixels; 0 where the model did not see the photo. At least one pixel is
            filled: where the crop misses every centre, the one in its middle.

        Raises:
            GeometryError: for an array of fewer than two axes, an empty one, or one that is not finite.
        """
        values = np.asarray(values, dtype=np.float32)
        if values.ndim < 2 or 0 in values.shape[-2:]:
            raise GeometryError(f"`values` must be of shape (..., grid height, grid width), but is {values.shape}.")
        if not np.isfinite(values).all():
            raise GeometryError("`values` must be finite, but holds NaN or infinity.")
        x0, y0, x1, y1 = self.crop_xyxy
        width, height = self.source_wh
        # The weights are sparse, but a product with the small dense matrix is one BLAS call and faster than gathers.
        rows = _weights(height, y0, y1, values.shape[-2], smooth)  # H gh
        cols = _weights(width, x0, x1, values.shape[-1], smooth)  # W gw
        return (rows @ values) @ cols.T  # ... H W


def _weights(pixels: int, start: float, stop: float, cells: int, smooth: bool) -> NDArray[np.float32]:
    """How much of each cell a pixel takes, along one axis: `pixels cells`, rows sum to 1, or 0 where unseen."""
    centres = np.arange(pixels) + 0.5
    seen = (centres >= start) & (centres < stop)
    if not seen.any():  # a crop thinner than a pixel, out of a photo a few pixels wide
        seen[min(max(int((start + stop) / 2), 0), pixels - 1)] = True
    at = (centres - start) * (cells / (stop - start))  # in grid coordinates
    weights = np.zeros((pixels, cells), dtype=np.float32)
    pixel = np.arange(pixels)
    if not smooth:
        weights[pixel, np.clip(np.floor(at).astype(int), 0, cells - 1)] = 1.0
    else:
        at = np.clip(at - 0.5, 0.0, cells - 1.0)  # in units of cell centres
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        high_share = at - low
        weights[pixel, low] = 1.0 - high_share
        weights[pixel, np.minimum(low + 1, cells - 1)] += high_share
    weights[~seen] = 0.0
    return weights


def _offset(size: int, target: int) -> int:
    """Where the target's window starts in a side of `size`, below 0 for padding; rounded as torchvision does."""
    if target > size:
        return -((target - size) // 2)
    return round((size - target) / 2.0)


def _points(points_xy: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(points_xy, dtype=np.float64)
    if points.ndim < 1 or points.shape[-1] != 2:
        raise GeometryError(f"Points must be of shape (..., 2), x before y, but have shape {points.shape}.")
    return points


def _size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    try:
        first, second = size
        whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in (first, second))
    except (TypeError, ValueError):
        whole = False
    if not whole or min(first, second) < 1:
        raise GeometryError(f"`{name}` must be two integers of at least 1, but is {size!r:.80}.")
    return int(first), int(second)
