"""A photo as ViLT takes it: transformers' own preprocessing, and where the photo's pixels went.

The whole photo is resized, nothing is cropped: its shorter side to 384 pixels unless the longer one would pass 639,
then both sides down to a multiple of 32. So the grid follows the photo's shape, and is hardly ever square.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.pixels import Preprocess
from crossviz.photo import Photo

__all__ = ["OwnPixels", "TowerPixels"]


class OwnPixels:
    """The photo's own pixels.

    Args:
        processor: transformers' ViltImageProcessorPil.
        patch: side of a patch in pixels.
    """

    def __init__(self, processor: Any, patch: int) -> None:
        self._processor = processor
        self._patch = patch

    def size(self, photo_wh: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the model's input. A side that transformers would round to nothing is one patch."""
        from transformers.models.vilt import image_processing_pil_vilt as own

        shorter = self._processor.size.shortest_edge
        resized = own.get_resize_output_image_size(
            np.broadcast_to(np.uint8(0), (3, photo_wh[1], photo_wh[0])),  # it reads the shape alone
            shorter=shorter,
            longer=int(own.MAX_LONGER_EDGE / own.MAX_SHORTER_EDGE * shorter),
            size_divisor=self._processor.size_divisor,
            input_data_format="channels_first",
        )
        height, width = (max(self._patch, int(side)) for side in resized)
        return height, width

    def __call__(self, photo: Photo) -> tuple[Tensor, ImageView, PatchGrid]:
        """Pixels `1 3 height width`, the view and the grid that belong to them."""
        size, image = self.size(photo.wh), photo.image()
        resized = image.resize(size[::-1], Image.Resampling(self._processor.resample))
        pixels = torch.as_tensor(
            self._processor(resized, do_resize=False, do_pad=True, return_tensors="pt")["pixel_values"]
        )
        grid = PatchGrid(size[0] // self._patch, size[1] // self._patch, 1)
        view = ImageView.squash(photo.wh, size)
        read = (grid.height * self._patch, grid.width * self._patch)
        return pixels, view if read == size else view.trimmed(read), grid


class TowerPixels:
    """The photo squashed to what an image tower takes, whose patches ViLT puts together.

    Args:
        preprocess: the tower's.
        side: ViLT's patches in a row.
    """

    def __init__(self, preprocess: Preprocess, side: int) -> None:
        self._preprocess = preprocess
        self._grid = PatchGrid(side, side, 1)

    def __call__(self, photo: Photo) -> tuple[Tensor, ImageView, PatchGrid]:
        """As `OwnPixels`."""
        pixels, view = self._preprocess(photo)
        return pixels, view, self._grid
