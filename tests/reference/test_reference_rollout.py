"""Attention rollout against fast-vit-rollout, which reads timm's own attention by hooks.

It cuts off the weakest attention by default; the paper does not, nor does crossviz, so nothing is cut off here. Both
maps are probabilities: nothing is scaled.
"""

from fast_vit_rollout import ViTAttentionRollout
from reading import deviation, pair
from small_models import CLIP_VARIANTS

from crossviz.methods import Rollout


def test_the_class_tokens_row_as_in_fast_vit_rollout(tmp_path):
    made = pair(tmp_path, **CLIP_VARIANTS["timm, class token"])
    for block in made.visual.trunk.blocks:
        block.attn.fused_attn = False  # the fused kernel hands no attention to any hook
    grid = made.trace.image.grid
    reference = ViTAttentionRollout(made.visual.trunk.float(), head_fusion="mean", discard_ratio=0)
    row = reference(made.pixels.float())[0, 0, grid.num_prefix_tokens :]  # it multiplies in single precision
    assert len(reference.attentions) == len(made.visual.trunk.blocks)
    assert deviation(made.ours(Rollout())[0], row.unflatten(-1, (grid.height, grid.width))) < 1e-5
