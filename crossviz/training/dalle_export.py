"""Writes dalle-mini-scenes as a model folder: fp16 safetensors, every file hashed."""

import argparse
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossviz.models.dalle_load import CHECKER, NAME, READER, TOKENIZER, TRANSFORMER
from crossviz.models.dalle_reader import ReaderConfig
from crossviz.models.dalle_transformer import TransformerConfig
from crossviz.models.dalle_vqvae import VqVaeConfig
from crossviz.training.config import DALLE, load_config

__all__ = ["export", "export_work", "main"]


def export(
    tokenizer: dict[str, Tensor],
    transformer: dict[str, Tensor],
    reader: dict[str, Tensor],
    checker: Path,
    about: dict[str, Any],
    out: Path,
    configs: Mapping[str, Any] | None = None,
) -> None:
    """Write the weights and `crossviz.json`.

    Args:
        checker: the file that `crossviz.training.checker` wrote.
        about: `sampling` and `training`, which says how it was made and must hold `trained`.
        configs: the sizes of "tokenizer", "transformer" and "reader"; the usual ones if None.

    Raises:
        ValueError: a weight does not fit fp16 or is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    if configs is None:
        configs = {"tokenizer": VqVaeConfig(), "transformer": TransformerConfig(), "reader": ReaderConfig()}
    for name, state in ((TOKENIZER, tokenizer), (TRANSFORMER, transformer), (READER, reader)):
        halves = {key: tensor.half().contiguous() for key, tensor in state.items()}
        if not all(torch.isfinite(tensor).all() for tensor in halves.values()):
            raise ValueError(f"A weight of {name} does not fit fp16 or is not finite.")
        save_file(halves, out / name, metadata={"format": "pt"})
        (out / name).chmod(0o644)
    if checker.resolve() != (out / CHECKER).resolve():
        shutil.copyfile(checker, out / CHECKER)
    names = (TOKENIZER, TRANSFORMER, READER, CHECKER)
    hashes = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    whole = {
        "format": 1,
        "kind": NAME,
        "sha256": hashes,
        **{name: dataclasses.asdict(config) for name, config in configs.items()},
        **about,
    }
    (out / "crossviz.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def export_work(work: Path, checker: Path, out: Path) -> None:
    """Write the model folder from what the training left in its work folder."""
    names = {"tokenizer": "vqvae.pt", "decoder": "decoder.pt", "transformer": "writer.pt", "reader": "reader.pt"}
    states = {part: torch.load(work / name, weights_only=True, map_location="cpu") for part, name in names.items()}
    config = load_config(DALLE)
    steps = {part: state["step"] for part, state in states.items()}
    about = {"sampling": config["sampling"], "training": {"trained": True, "steps": steps, "settings": config}}
    weights = [states[part]["average"] for part in ("decoder", "transformer", "reader")]
    export(*weights, checker, about, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder that crossviz.training.dalle worked in")
    parser.add_argument("--checker", type=Path, required=True, help="file that crossviz.training.checker wrote")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    args = parser.parse_args()
    export_work(args.work, args.checker, args.out)


if __name__ == "__main__":
    main()
