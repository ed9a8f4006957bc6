"""LeGrad against its authors' package, `legrad-torch`.

The package scales its maps to 0..1 and resizes them to the photo; ours are compared after the same. It asks for a
square grid. It was written for an older open_clip whose blocks took the tokens first and the batch second, which its
hooked blocks still do: so all layers are read, since one without a hook would mix up the two. Its way to read CoCa's
pooler was written for that version too and is not compared.
"""

import pytest
from legrad import LeWrapper
from legrad.utils import min_max
from reading import SQUARE, WORDS, deviation, pair
from torch import nn
from torch.nn import functional as F

from crossviz.compat import import_timm
from crossviz.methods import LeGrad

CLOSE = 1e-5


def tiny_siglip(global_pool: str, num_classes: int, **unread) -> nn.Module:
    """SigLIP's image tower, small: patches only, an attention pooler, and no projection behind it."""
    shape = {"patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 4, "class_token": False}
    vit = import_timm().models.VisionTransformer(64, global_pool=global_pool, num_classes=num_classes, **shape)
    vit.pretrained_cfg = vit.default_cfg = {}
    return vit


@pytest.mark.parametrize("options", [{}, {"patch_size": 8}, {"no_ln_pre": True, "ls_init_value": 0.5}], ids=str)
def test_a_class_token_as_in_the_authors_package(options, tmp_path):
    made = pair(tmp_path, vision={**SQUARE, **options})
    found, texts = made.ours(LeGrad()), made.cosines.texts
    reference = LeWrapper(made.cosines.clip, layer_index=0)
    for word in range(len(WORDS)):
        expected = reference.compute_legrad(texts[word : word + 1], made.pixels).detach()
        ours = F.interpolate(found[word][None, None], scale_factor=reference.patch_size, mode="bilinear")
        assert deviation(min_max(ours), expected) < CLOSE


def test_siglips_pooler_as_in_the_authors_package(tmp_path):
    """Without its correction for an empty prompt; and with the tower's last norm, which it leaves out, put back."""
    import_timm().models.register_model(tiny_siglip)
    vision = {"timm_model_name": "tiny_siglip", "timm_pool": "map", "timm_proj": "none", "image_size": 64}
    made = pair(tmp_path, vision=vision, custom_text=True)
    found, texts = made.ours(LeGrad()), made.cosines.texts
    reference = LeWrapper(made.cosines.clip, layer_index=0)
    trunk = made.visual.trunk
    hooked = trunk.attn_pool.forward
    trunk.attn_pool.forward = lambda tokens: hooked(trunk.norm(tokens))
    for word in range(len(WORDS)):
        expected = reference.compute_legrad(texts[word : word + 1], made.pixels, apply_correction=False).detach()
        ours = F.interpolate(min_max(found[word][None, None]), scale_factor=reference.patch_size, mode="bilinear")
        assert deviation(ours, expected) < CLOSE
