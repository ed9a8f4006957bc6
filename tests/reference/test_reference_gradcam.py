"""Grad-CAM against pytorch-grad-cam (package `grad-cam`) and captum's LayerGradCam.

Both hook the model's own layer and call backward on open_clip's own forward; crossviz runs the tower part by part. By
design they differ in scale only: the packages' maps before scaling are compared as they are, and pytorch-grad-cam's
finished map (0..1, resized to the photo) with ours after its own scaling.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from reading import WORDS, Pair, deviation, pair
from small_models import CLIP_VARIANTS, OTHER_TOWERS
from torch import Tensor, nn

from crossviz.methods import GradCam

CLOSE = 1e-5
CONVOLUTIONS: dict[str, tuple[dict, Callable[[nn.Module], nn.Module]]] = {
    "ResNet": (
        {"vision": {**OTHER_TOWERS["convolutions"]["vision"], "image_size": 160}},
        lambda visual: visual.layer4,
    ),
    "ConvNeXt": (OTHER_TOWERS["timm, convolutions"], lambda visual: visual.trunk.stages[-1]),
}
TRANSFORMERS: dict[str, tuple[dict, Callable[[nn.Module], nn.Module]]] = {
    "class token": (CLIP_VARIANTS["class token, quick GELU"], lambda visual: visual.transformer.resblocks[-1].ln_1),
    "average": (CLIP_VARIANTS["average"], lambda visual: visual.transformer.resblocks[-1].ln_1),
    "attention pooler": (OTHER_TOWERS["attention pooler"], lambda visual: visual.transformer.resblocks[-1].ln_1),
    "timm, class token": (CLIP_VARIANTS["timm, class token"], lambda visual: visual.trunk.blocks[-1].norm1),
    "SigLIP": (OTHER_TOWERS["timm, attention pooler"], lambda visual: visual.trunk.blocks[-1].norm1),
}


def no_prefix(made: Pair) -> Callable[[Tensor], Tensor]:
    """pytorch-grad-cam's `reshape_transform`: tokens `batch token channel` to the patches' `batch channel gh gw`."""
    grid = made.trace.image.grid
    return lambda tokens: tokens[:, grid.num_prefix_tokens :].mT.unflatten(-1, (grid.height, grid.width))


def compare_with_pytorch_grad_cam(made: Pair, layer: nn.Module, reshape: Callable[[Tensor], Tensor] | None) -> None:
    found, compared = made.ours(GradCam()), 0
    with GradCAM(made.cosines, [layer], reshape) as reference:
        for word in range(len(WORDS)):
            targets = [ClassifierOutputTarget(word)]
            finished = reference(made.pixels, targets)
            activations, grads = (
                part[0].numpy()
                for part in (reference.activations_and_grads.activations, reference.activations_and_grads.gradients)
            )
            unscaled = reference.get_cam_image(made.pixels, layer, targets, activations, grads)
            expected = torch.from_numpy(np.maximum(unscaled, 0))
            ours = found[word][None]
            if not expected.any():
                assert not ours.any()
                continue
            compared += 1
            assert deviation(ours, expected) < CLOSE
            size = made.pixels.shape[:1:-1]  # width height
            scaled = scale_cam_image(scale_cam_image(ours.numpy(), size))
            assert deviation(torch.from_numpy(scaled), torch.from_numpy(finished)) < CLOSE
    assert compared >= 2, "too few words with a map: that would prove little"


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_last_feature_map_as_in_pytorch_grad_cam(name, tmp_path):
    model, layer = CONVOLUTIONS[name]
    made = pair(tmp_path, **model)
    compare_with_pytorch_grad_cam(made, layer(made.visual), None)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_last_blocks_normed_input_as_in_pytorch_grad_cam(name, tmp_path):
    model, layer = TRANSFORMERS[name]
    made = pair(tmp_path, **model)
    compare_with_pytorch_grad_cam(made, layer(made.visual), no_prefix(made))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_last_feature_map_as_in_captum(name, tmp_path):
    model, layer = CONVOLUTIONS[name]
    made = pair(tmp_path, **model)
    found, reference = made.ours(GradCam()), LayerGradCam(made.cosines, layer(made.visual))
    for word in range(len(WORDS)):
        expected = reference.attribute(made.pixels, target=word, relu_attributions=True).detach()[0, 0]
        assert deviation(found[word], expected) < CLOSE
