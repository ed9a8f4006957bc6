"""Occlusion against captum's, in the match's own unit: nothing is scaled on either side.

Captum's last window hangs over the border where the stride leaves a rest (a smaller window); crossviz moves it back
inside (a whole one). So windows and strides here leave none.
"""

import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from reading import WORDS, deviation, pair
from small_models import CLIP_VARIANTS, OTHER_TOWERS

from crossviz.methods import Occlusion
from crossviz.methods.fill import fill

CLOSE = 1e-5
MODELS = {
    "class token": CLIP_VARIANTS["class token, quick GELU"],
    "SigLIP": OTHER_TOWERS["timm, attention pooler"],
    "convolutions": {"vision": {**OTHER_TOWERS["convolutions"]["vision"], "image_size": 128}},
    "only as a whole": OTHER_TOWERS["only as a whole"],
}


@pytest.mark.parametrize(
    ("name", "window", "stride", "kind"),
    [
        *(("class token", *sizes, kind) for sizes in ((1, 1), (2, 1), (2, 2)) for kind in ("grey", "mean", "blur")),
        ("SigLIP", 2, 2, "mean"),
        ("convolutions", 2, 1, "blur"),
        ("only as a whole", 2, 1, "grey"),
    ],
)
def test_the_fall_of_the_match_as_in_captum(name, window, stride, kind, tmp_path):
    made = pair(tmp_path, **MODELS[name])
    grid, pixels = made.trace.image.grid, made.pixels
    rows, columns = pixels.shape[-2] // grid.height, pixels.shape[-1] // grid.width
    baselines = {
        "grey": torch.zeros_like(pixels),
        "mean": pixels.mean((2, 3), keepdim=True).expand_as(pixels),
        # What the blur is, is tested elsewhere; here only that it is what covers.
        "blur": fill(pixels, "blur", window * min(rows, columns) / 2),
    }
    found = made.ours(Occlusion(window, stride, kind))
    reference = CaptumOcclusion(made.cosines)
    for word in range(len(WORDS)):
        with torch.no_grad():
            expected = reference.attribute(
                pixels,
                sliding_window_shapes=(3, window * rows, window * columns),
                strides=(3, stride * rows, stride * columns),
                baselines=baselines[kind],
                target=word,
            )
        ours = found[word].repeat_interleave(rows, 0).repeat_interleave(columns, 1)
        assert deviation(ours.expand(3, -1, -1), expected[0].float()) < CLOSE
