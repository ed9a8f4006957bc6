"""Small CoCas with random weights, as folders that open_clip loads."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from crossviz.compat import import_open_clip

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2, "embed_cls": True}
DECODER = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
VISION = {
    "layers": 2, "width": 32, "head_width": 8, "patch_size": 16, "image_size": [64, 96], "output_tokens": True,
    "attentional_pool": True, "attn_pooler_queries": 7, "attn_pooler_heads": 4,
}  # fmt: skip
"""A grid of 4 rows and 6 columns: nothing may assume a square."""
COCAS = {
    "one pooler": VISION,
    "one pooler, the photo's embedding is a mean": {**VISION, "pool_type": "avg"},
    "two poolers, side by side": {**VISION, "attentional_pool": "parallel"},
    "two poolers, one after the other": {**VISION, "attentional_pool": "cascade"},
    "patches that leave a rest": {**VISION, "patch_size": 14, "image_size": 96},
}


def coca_folder(folder: Path, *, vision: dict = VISION, text: dict | None = None, resize_mode: str = "squash") -> Path:
    """A CoCa with random weights, every bias and norm away from its neutral value."""
    open_clip = import_open_clip()
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 32,
        "vision_cfg": vision,
        "text_cfg": {**TEXT, "output_tokens": True, **(text or {})},
        "multimodal_cfg": DECODER,
    }
    whole = {"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {"resize_mode": resize_mode}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CoCa(**config)
        for name, parameter in model.named_parameters():
            if name == "text_decoder.text_projection":  # open_clip leaves it as whatever was in memory
                parameter.data.normal_(std=0.5)
            if parameter.ndim == 1 and "logit" not in name:
                parameter.data += torch.randn(parameter.shape) * 0.3
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
