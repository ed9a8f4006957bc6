"""Write a trained model as a folder that open_clip and crossviz load: no pickle, every file hashed."""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from crossviz.attention import CrossModalAttention
from crossviz.models.about import ABOUT
from crossviz.models.crossviz_mini import FILES
from crossviz.models.mini_tower import FINE_GRID
from crossviz.training.model import ATTENTION, MODEL_CFG, PREPROCESS_CFG, build_attention, build_clip
from crossviz.training.trunk import pretrained_body

__all__ = ["export", "write_folder"]


def export(clip: nn.Module, attention: CrossModalAttention, facts: dict, folder: Path) -> None:
    """Write `open_clip_config.json`, `open_clip_model.safetensors`, `cross_attention.safetensors`, `crossviz.json`.

    Weights are stored as fp16. `facts` says how they were made; it must hold `trained`.
    """
    about = {
        "name": "crossviz-mini",
        "format": 1,
        "cross_attention": ATTENTION,
        "grid": {"height": FINE_GRID, "width": FINE_GRID},
        "text_states": "token states after ln_final, before text_projection",
        "image_states": "patch tokens of the image tower's forward_dense, before open_clip's projection",
        "training": facts,
    }
    write_folder(folder, {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}, about, clip, attention)


def write_folder(folder: Path, config: dict, about: dict, clip: nn.Module, attention: nn.Module) -> None:
    """Write a model's files: open_clip's `config`, both weights, and `about` with every file's sha256 as crossviz.json.

    Raises:
        ValueError: a weight does not fit fp16 or is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / FILES[0], config)
    _write_weights(folder / FILES[1], clip)
    _write_weights(folder / FILES[2], attention)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    _write_json(folder / ABOUT, {**about, "sha256": hashes})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_weights(path: Path, module: nn.Module) -> None:
    state = {}
    for name, tensor in module.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not torch.isfinite(half.float()).all():
            raise ValueError(f"{name} does not fit fp16 or is not finite.")
        state[name] = half.contiguous().clone()
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)


def main() -> None:
    """Command line: without a checkpoint, the same shapes with random weights (to build and test against)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=None, help="checkpoint of crossviz.training.train")
    parser.add_argument("--detector", type=Path, required=True, help="folder with nanodet.json and nanodet.bin")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    torch.manual_seed(0)
    clip, attention, facts = build_clip(), build_attention(), {"trained": False}
    body = pretrained_body(args.detector).state_dict()
    own = {name: weight for name, weight in body.items() if not name.startswith("detector.boxes.")}  # the teacher's
    clip.visual.trunk.body.load_state_dict(own)
    if args.checkpoint is not None:
        saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
        missing = clip.load_state_dict(saved["clip"], strict=False).missing_keys
        if any(not name.startswith("visual.trunk.body.") for name in missing):
            raise ValueError(f"The checkpoint lacks {missing[:3]}.")
        attention.load_state_dict(saved["attention"])
        facts = {"trained": True, **saved["facts"]}
    export(clip, attention, facts, args.out)


if __name__ == "__main__":
    main()
