"""How the maps of words and heads are drawn elsewhere: a function per peer, each of every map that it is given.

Every peer gets the photo at the size of a cell already, and draws maps out by bilinear interpolation.
"""

import io
from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from PIL import Image

__all__ = ["PEERS", "grid_figure", "map_figures", "map_overlays"]

DPI = 100


def map_figures(photo: np.ndarray, maps: torch.Tensor, *, encode: bool) -> None:
    """As notebooks draw them: `plt.subplots`, the photo, the map over it with alpha .5 in jet, `savefig`; one per map.

    Args:
        photo: uint8 `H W 3`.
        maps: `word head gh gw`.
        encode: write each as a PNG (into memory); or else only draw it.
    """
    for values in drawn_out(photo, maps):
        figure, axes = plt.subplots(figsize=(photo.shape[1] / DPI, photo.shape[0] / DPI), dpi=DPI)
        figure.subplots_adjust(0, 0, 1, 1)
        axes.imshow(photo)
        axes.imshow(values, alpha=0.5, cmap="jet")
        axes.axis("off")
        figure.savefig(io.BytesIO(), format="png") if encode else figure.canvas.draw()
        plt.close(figure)


def grid_figure(photo: np.ndarray, maps: torch.Tensor, *, encode: bool) -> None:
    """The same with one figure for all: `plt.subplots` of words x heads. Args as `map_figures`."""
    rows, columns = maps.shape[:2]
    size = columns * photo.shape[1] / DPI, rows * photo.shape[0] / DPI
    figure, grid = plt.subplots(rows, columns, figsize=size, dpi=DPI, squeeze=False)
    figure.subplots_adjust(0, 0, 1, 1, 0, 0)
    for axes, values in zip(grid.flat, drawn_out(photo, maps), strict=True):
        axes.imshow(photo)
        axes.imshow(values, alpha=0.5, cmap="jet")
        axes.axis("off")
    figure.savefig(io.BytesIO(), format="png") if encode else figure.canvas.draw()
    plt.close(figure)


def map_overlays(photo: np.ndarray, maps: torch.Tensor, *, encode: bool) -> None:
    """As pytorch-grad-cam's `show_cam_on_image`, in numpy: min-max, jet, half and half, divided by the largest value;
    a picture per map. Args as `map_figures`."""
    table = (mpl.colormaps["jet"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    under = photo.astype(np.float32) / 255
    for values in drawn_out(photo, maps):
        values = (values - values.min()) / (1e-7 + values.max() - values.min())
        heat = table[np.uint8(255 * values)].astype(np.float32) / 255
        mixed = 0.5 * heat + 0.5 * under
        picture = Image.fromarray(np.uint8(255 * mixed / mixed.max()))
        if encode:
            picture.save(io.BytesIO(), "PNG")


PEERS: dict[str, Callable[..., None]] = {
    "a matplotlib figure per map": map_figures,
    "one matplotlib figure, an axes per map": grid_figure,
    "numpy overlay per map, as pytorch-grad-cam": map_overlays,
}


def drawn_out(photo: np.ndarray, maps: torch.Tensor) -> Iterator[np.ndarray]:
    """Every map in the photo's pixels, float32 `H W`, one by one."""
    for values in maps.flatten(0, 1):
        yield F.interpolate(values[None, None], photo.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
