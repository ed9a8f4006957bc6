"""Write vilt-mini as a folder that transformers and crossviz load: no pickle, fp16, every file hashed."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import ViltConfig

from crossviz.models.shared_tower import TOWER, tower_sha256
from crossviz.training.vilt_model import config
from crossviz.training.vilt_words import LONGEST, SPECIAL

__all__ = ["FILES", "export"]

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
TIED = "mlm_score.decoder.weight"
"""The same tensor as the word embedding: transformers ties them when it loads, so it is stored once."""


def export(state: dict[str, Tensor], shape: ViltConfig, tokenizer: Tokenizer, facts: dict[str, Any], out: Path) -> None:
    """Write FILES and `crossviz.json` with their hashes. `facts` says how they were made; it must hold `trained`.

    Raises:
        ValueError: a weight does not fit fp16 or is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    shape.save_pretrained(out)
    weights = {}
    for name, tensor in state.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not torch.isfinite(half.float()).all():
            raise ValueError(f"{name} does not fit fp16 or is not finite.")
        if name != TIED:
            weights[name] = half.contiguous().clone()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    marks = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    own = {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "model_max_length": LONGEST, **marks}
    _write_json(out / "tokenizer_config.json", own)
    for name in FILES:
        (out / name).chmod(0o644)
    about = {
        "format": 1,
        "kind": "vilt-mini",
        "tower": TOWER,
        "tower_sha256": tower_sha256(),
        "sha256": {name: _sha256(out / name) for name in FILES},
        "training": facts,
    }
    _write_json(out / "crossviz.json", about)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of crossviz.training.vilt")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    tokenizer = Tokenizer.from_str(saved["vocabulary"])
    facts = {"trained": True, **saved["facts"]}
    export(saved["model"], config(tokenizer.get_vocab_size()), tokenizer, facts, args.out)


if __name__ == "__main__":
    main()
