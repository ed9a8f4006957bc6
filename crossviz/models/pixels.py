"""A photo as an image tower takes it: open_clip's own preprocessing, and where the photo's pixels went."""

from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from crossviz import compat
from crossviz.geometry import ImageView
from crossviz.photo import Photo

__all__ = ["Preprocess"]

MAX_RESIZED = 1 << 24
"""Pixels of the resized photo, before it is cropped, up to which open_clip's own transform runs."""


class Preprocess:
    """open_clip's preprocessing by a model's `preprocess_cfg`, with the view that belongs to it.

    Args:
        config: open_clip's: size, mean, std, interpolation, resize_mode, fill_color.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        transform = compat.import_open_clip().transform
        size = config.get("size", 224)
        # A size read from JSON is a list, which open_clip's PreprocessCfg can't take apart.
        known = transform.PreprocessCfg(**{**config, "size": tuple(size) if isinstance(size, list) else size})
        self.input_hw: tuple[int, int] = known.input_size[1:]
        self.resize_mode = known.resize_mode or "shortest"
        self._fill = int(known.fill_color or 0)
        self._resample = Image.Resampling.BILINEAR if known.interpolation == "bilinear" else Image.Resampling.BICUBIC
        self._transform = transform.image_transform_v2(known, is_train=False)

    def view(self, source_wh: tuple[int, int]) -> ImageView:
        """Where a photo of that size lies in the model's input."""
        make = {"squash": ImageView.squash, "shortest": ImageView.shortest, "longest": ImageView.longest}
        return make[self.resize_mode](source_wh, self.input_hw)

    def __call__(self, photo: Photo) -> tuple[Tensor, ImageView]:
        """Pixels `1 3 height width` and the view."""
        view = self.view(photo.wh)
        image = photo.image()
        if self._is_sliver(view):
            # As far as numbers go the same; open_clip's own transform resizes the whole photo before it crops (1.8
            # million pixels wide for a photo of 8000 x 1), or fails on a side that rounds to none.
            image = self._cropped_first(image, view)
            for stage in self._transform.transforms[-2:]:  # to a tensor, then normalised
                image = stage(image)
            return image[None], view
        pixels: Tensor = self._transform(image)
        return pixels[None], view

    def _is_sliver(self, view: ImageView) -> bool:
        if self.resize_mode == "squash":
            return False
        x0, y0, x1, y1 = view.crop_xyxy
        scale_x, scale_y = view.input_hw[1] / (x1 - x0), view.input_hw[0] / (y1 - y0)
        width, height = view.source_wh[0] * scale_x, view.source_wh[1] * scale_y
        return width * height > MAX_RESIZED or min(width, height) < 1.5

    def _cropped_first(self, image: Image.Image, view: ImageView) -> Image.Image:
        canvas = Image.new("RGB", (view.input_hw[1], view.input_hw[0]), (self._fill,) * 3)
        seen = view.seen_xyxy
        left, top, right, bottom = view.source_to_input([seen[:2], seen[2:]]).round().astype(int).ravel().tolist()
        size = (max(1, right - left), max(1, bottom - top))
        canvas.paste(image.resize(size, self._resample, box=seen), (left, top))
        return canvas
