"""Write a trained coca-mini as a folder that crossviz loads: no pickle, every file hashed, the image tower left out."""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from open_clip import CoCa
from safetensors.torch import save_file

from crossviz.models.about import ABOUT
from crossviz.models.coca_mini import FILES, KIND, build_coca, own_state
from crossviz.models.mini_tower import FINE_GRID
from crossviz.models.shared_tower import TOWER, tower_sha256
from crossviz.training.coca_model import model_cfg
from crossviz.training.coca_words import Words
from crossviz.training.model import PREPROCESS_CFG

__all__ = ["export"]


def export(module: CoCa, config: dict, vocabulary: Path, facts: dict, folder: Path) -> None:
    """Write `open_clip_config.json`, `coca.safetensors` (fp16), `bpe_vocab.txt.gz` and `crossviz.json`.

    Args:
        module: the model.
        config: the `model_cfg` that it was built by.
        vocabulary: its byte-pair merges.
        facts: how the weights were made; must hold `trained`.
        folder: where to.

    Raises:
        ValueError: a weight does not fit fp16 or is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / FILES[0], {"model_cfg": config, "preprocess_cfg": PREPROCESS_CFG})
    state = {name: value.detach().half().contiguous().clone() for name, value in own_state(module).items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} does not fit fp16 or is not finite.")
    save_file(state, folder / FILES[1], metadata={"format": "pt"})
    (folder / FILES[1]).chmod(0o644)
    (folder / FILES[2]).write_bytes(vocabulary.read_bytes())
    about = {
        "name": KIND,
        "format": 1,
        "kind": KIND,
        "tower": TOWER,
        "tower_sha256": tower_sha256(),
        "grid": {"height": FINE_GRID, "width": FINE_GRID},
        "training": facts,
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES},
    }
    _write_json(folder / ABOUT, about)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="work folder of crossviz.training.coca")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    vocabulary = args.work / FILES[2]
    config = model_cfg(Words(vocabulary).size)
    saved = torch.load(args.work / "checkpoint.pt", map_location="cpu", weights_only=True)
    module = build_coca(config)
    module.load_state_dict(saved["average"])
    export(module, config, vocabulary, {"trained": True, **saved["facts"]}, args.out)


if __name__ == "__main__":
    main()
