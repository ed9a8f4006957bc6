"""The figures of vilt-mini's card: an exported folder on all dev photos, without the app's code.

`python -m crossviz.training.vilt_figures --data DIR --work DIR --folder DIR`.
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import ViltConfig

from crossviz.training.patch_features import open_patches
from crossviz.training.vilt import absence, settings
from crossviz.training.vilt_dev import measure, thorough_rows
from crossviz.training.vilt_export import TIED
from crossviz.training.vilt_model import ViltMini
from crossviz.training.vilt_samples import Sampler

__all__ = ["load"]


def load(folder: Path) -> ViltMini:
    """The model of an exported folder, in fp32.

    Raises:
        ValueError: its weights are not those of a vilt-mini.
    """
    model = ViltMini(ViltConfig.from_pretrained(folder))
    state = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    found = model.load_state_dict(state, strict=False)
    if found.missing_keys != [TIED] or found.unexpected_keys:
        raise ValueError(f"{folder} lacks {found.missing_keys[:3]} or holds too much: {found.unexpected_keys[:3]}.")
    return model.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the patches")
    parser.add_argument("--folder", type=Path, required=True, help="the exported model")
    parser.add_argument("--photos", type=int, default=1000, help="how many photos of the dev split")
    args = parser.parse_args()
    features = open_patches(args.data, args.work)
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
    sampler = Sampler(features.photos, tokenizer, absence(features.photos, alike=False), settings()["batch"])
    figures = measure(load(args.folder), thorough_rows(sampler, args.photos, seed=1), sampler, features.maps)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
