"""Grad-CAM: the last feature map, its channels weighted by what they do to the match.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017), eqs. 1
and 2: alpha_k = mean over places of dy / dA_k, map = ReLU(sum over k of alpha_k A_k), with the match of photo and word
as y. A is the last feature map of the tower where it has one; of a vision transformer the patches among the normed
tokens that enter its last block's attention, as is common practice (Gildenblat et al., pytorch-grad-cam, 2021).
Deviation: nothing is scaled to 0..1.
"""

import torch
from torch import Tensor

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    each_gradient,
    image_record,
    patch_cells,
    read_phrases,
    select_layers,
    to_grid,
    tower_labels,
    tracked_pass,
)
from crossviz.methods.gradients import relevance_result
from crossviz.trace import Trace

__all__ = ["GradCam", "grad_cam"]


class GradCam:
    """Channels of the last feature map, weighted by their gradient; reads one place, which is its one layer."""

    info = MethodInfo(
        name="gradcam",
        title="Grad-CAM",
        sentence="Where the last feature map holds what raises the match of photo and word.",
        paper="Selvaraju et al., Grad-CAM, 2017",
        unit="gradient relevance",
        signed=False,
        text_dependent=True,
        requires=("match", "image_tower"),
        families="every model whose image tower can be run part by part",
    )
    needs_grad = True

    @torch.enable_grad()
    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record is the last block's attention where the tokens before it are read, else None."""
        tower, match = trace.image_tower(), trace.match()
        tokens = tower.features is None
        labels = tower_labels(tower) if tokens else ["last feature map"]
        last = len(tower.blocks) - 1 if tokens else 0
        select_layers(layers, labels, [last])
        label = labels[last]
        passed = tracked_pass(trace)
        indices, phrases = read_phrases(trace)
        scores = match.score(passed.state, phrases)  # 1 phrase
        if tokens:
            read, record = passed.layers[-1].normed, image_record(passed, [label], tower)
        else:
            read, record = passed.features, None
        (slopes,) = each_gradient(scores, [read])
        if tokens:  # token dim to dim gh gw
            read, slopes = patch_cells(read.mT, tower), patch_cells(slopes.mT, tower)
        cells = to_grid(grad_cam(read[0].detach(), slopes), trace.image.grid, share=False)
        place = f"the normed tokens that enter {label}" if tokens else f"the {label}"
        return relevance_result(
            trace,
            self.info,
            record,
            cells,
            indices,
            {"layers": [label], "match": match.unit},
            (
                f"The gradient is that of the match: {match.sentence}",
                f"The map is read from one place: {place}, {read.shape[-2]} x {read.shape[-1]} cells.",
                "What lowers the match is cut off at zero, so a word may have no map at all.",
            ),
        )


def grad_cam(features: Tensor, slopes: Tensor) -> Tensor:
    """ReLU of the channels' sum, each weighted by its mean gradient.

    Args:
        features: `channel gh gw`.
        slopes: gradients with respect to them, `phrase channel gh gw`.

    Returns:
        `phrase gh gw`, not negative.
    """
    weights = slopes.mean((-2, -1))  # phrase channel
    return torch.einsum("pc,chw->phw", weights, features).relu()
