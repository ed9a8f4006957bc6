"""Small models, built here with random weights: folders that open_clip and crossviz load as they load real ones."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from crossviz.compat import import_open_clip, import_timm
from crossviz.models.base import Model

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}
VISION = {"layers": 3, "width": 48, "head_width": 12, "patch_size": 16, "image_size": [64, 96]}
"""A grid of 4 rows and 6 columns: nothing may assume a square."""
CLIP_VARIANTS: dict[str, dict[str, Any]] = {
    "class token, quick GELU": {"vision": VISION, "quick_gelu": True},
    "average": {"vision": {**VISION, "pool_type": "avg"}},
    "average, then norm": {"vision": {**VISION, "pool_type": "avg", "final_ln_after_pool": True}},
    "no first norm, layer scale": {"vision": {**VISION, "no_ln_pre": True, "ls_init_value": 0.5}},
    "norm of queries and keys": {"vision": {**VISION, "qk_norm": True}},
    "patches that leave a rest": {"vision": {**VISION, "patch_size": 14, "image_size": 96}},
    "timm, class token": {
        "vision": {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160},
        "custom_text": True,
    },
    "timm, average, biased projection": {
        "vision": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj_bias": True, "image_size": 160},
        "custom_text": True,
    },
}
"""Image towers whose embedding is a sum, so that cross-attention and head decomposition explain them."""
OTHER_TOWERS: dict[str, dict[str, Any]] = {
    "attention pooler": {
        "vision": {**VISION, "attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 4}
    },
    "timm, attention pooler": {
        "vision": {"timm_model_name": "test_vit3", "timm_pool": "map", "image_size": 160},
        "custom_text": True,
    },
    "convolutions": {"vision": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 64}},
    "timm, convolutions": {
        "vision": {"timm_model_name": "test_convnext", "timm_pool": "avg", "image_size": 160},
        "custom_text": True,
    },
    "only as a whole": {
        "vision": {
            **VISION,
            "attentional_pool": True,
            "attn_pooler_queries": 5,
            "attn_pooler_heads": 4,
            "pool_type": "avg",
        }
    },
}
"""Image towers that are taken apart in other ways, or not at all."""


def own_copy(model: Model) -> Model:
    """A copy that shares nothing with the model, to be changed at will."""
    made = model.with_weights({})
    made.module = copy.deepcopy(model.module)
    made.take_apart()
    return made


def _add_relpos() -> None:
    """timm's smallest ViT with relative positions, where timm is older than 1.0.31 and has it not."""
    if not import_timm().is_model("test_vit_relpos"):
        from timm.models import register_model, vision_transformer_relpos

        def test_vit_relpos(pretrained: bool = False, **options: Any) -> Any:
            small = {"img_size": 160, "embed_dim": 96, "depth": 9, "num_heads": 3, "mlp_ratio": 2, "fc_norm": True}
            return vision_transformer_relpos.vit_relpos_small_patch16_224(pretrained, **{**small, **options})

        register_model(test_vit_relpos)


def clip_folder(
    folder: Path, *, vision: dict = VISION, text: dict = TEXT, preprocess: dict | None = None, **cfg
) -> Path:
    """A model of open_clip's with random weights, every bias and norm away from its neutral value.

    The image tower's keys are its queries, so that a patch attends to itself first and things stay in their place.
    """
    open_clip = import_open_clip()
    _add_relpos()
    folder.mkdir(parents=True, exist_ok=True)
    model_cfg = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, **cfg}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    build: Callable[..., Any] = open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build(**{key: value for key, value in model_cfg.items() if key != "custom_text"})
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "logit" not in name:
                parameter.data += torch.randn(parameter.shape) * 0.3
            if name.startswith("visual.") and name.endswith(("in_proj_weight", "qkv.weight")):
                query, key, _ = (part.data for part in parameter.chunk(3))
                key.copy_(query.mul_(2))
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def mini_folder(folder: Path, *, trained: bool = False) -> Path:
    """A model of the family crossviz-mini with random weights; `trained` is what its metadata claims."""
    import_open_clip()
    from crossviz.training.export import export
    from crossviz.training.model import build_attention, build_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        clip, attention = build_clip(), build_attention(null_bias=0.0)
        for parameter in attention.parameters():
            parameter.data += torch.randn(parameter.shape) * 0.05
    export(clip, attention, {"trained": trained}, folder)
    return folder
