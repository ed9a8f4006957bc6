"""What both sides of a comparison are given: one small open_clip model with random weights, one photo, some words."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_models import VISION, clip_folder
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.compat import import_open_clip
from crossviz.methods import Method
from crossviz.models import load_model
from crossviz.photo import load_photo
from crossviz.trace import Trace

WORDS = ("dog", "red", "frisbee", "zebra")
SQUARE = {**VISION, "image_size": 64}


class Cosines(nn.Module):
    """open_clip's own image tower and the words' own embeddings: pixels `batch 3 h w` to cosines `batch word`."""

    def __init__(self, clip: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.clip = clip
        with torch.no_grad():
            texts = clip.encode_text(tokenizer([f"a photo of a {word}" for word in WORDS]))
        self.register_buffer("texts", F.normalize(texts, dim=-1))

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.clip.encode_image(pixels), dim=-1) @ self.texts.T


@dataclass(frozen=True, eq=False)
class Pair:
    """The same weights twice: as crossviz reads them, and as open_clip loads them for the reference."""

    trace: Trace
    cosines: Cosines

    @property
    def visual(self) -> nn.Module:
        """The reference's image tower."""
        return self.cosines.clip.visual

    @property
    def pixels(self) -> Tensor:
        """The photo, `1 3 height width`; both get the very same."""
        return self.trace.pixels.clone()

    def ours(self, method: Method, layers: Any = None) -> Tensor:
        """Our map of every word, `word gh gw`, in the method's own unit."""
        return method(self.trace, layers).map.values


def pair(folder: Path, seed: int = 5, **model: Any) -> Pair:
    """A model of `small_models` in a folder, loaded by both, and a photo of noise with structure at two scales."""
    clip_folder(folder, **model)
    open_clip = import_open_clip()
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    crossviz_model = load_model(f"open_clip:{folder}", "cpu")
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (6, 10, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    photo = load_photo(coarse + rng.integers(0, 55, coarse.shape, dtype=np.uint8))
    with torch.no_grad():
        image = crossviz_model.encode_image(photo)
        crossviz_model.module.double()
        trace = crossviz_model.trace(image, " ".join(WORDS))
    # In double precision from here: what is left of a difference is then no rounding.
    image = replace(image, features={"pixels": image.features["pixels"].double()})
    cosines = Cosines(clip.double(), open_clip.get_tokenizer(f"local-dir:{folder}"))
    return Pair(replace(trace, image=image), cosines.eval())


def deviation(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the reference's largest value; a reference of zeros compares nothing."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.double(), theirs.double()
    largest = theirs.abs().max()
    assert largest > 0, "a map of zeros would prove nothing"
    return float((ours - theirs).abs().max() / largest)
