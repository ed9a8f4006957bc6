"""The folder of a scene model: weights as safetensors, and `crossviz.json` with their hashes and how they were made."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from crossviz.errors import ModelUnavailableError
from crossviz.models.about import check_files, one_line, read_about
from crossviz.models.dalle_reader import DalleReader, ReaderConfig
from crossviz.models.dalle_transformer import DalleTransformer, TransformerConfig
from crossviz.models.dalle_vqvae import VqVae, VqVaeConfig
from crossviz.paths import assets_dir
from crossviz.scenes.checker import SceneChecker, load_checker

__all__ = ["CHECKER", "FOLDER", "NAME", "READER", "TOKENIZER", "TRANSFORMER", "load_parts"]

NAME = "dalle-mini-scenes"
TOKENIZER, TRANSFORMER = "image_tokenizer.safetensors", "transformer.safetensors"
READER, CHECKER = "reader.safetensors", "checker.safetensors"
FOLDER = assets_dir() / "models" / NAME
_REMEDY = "install crossviz again, or name a folder that crossviz.training.dalle has written"


def load_parts(
    device: torch.device, folder: Path | None = None
) -> tuple[VqVae, DalleTransformer, DalleReader, SceneChecker, dict[str, Any]]:
    """The image tokenizer, the transformer, the reader, the checker, and what `crossviz.json` says of them.

    Args:
        folder: of the model; the one that comes with crossviz if None.

    Raises:
        ModelUnavailableError: a file is missing, damaged or of another format.
    """
    folder = FOLDER if folder is None else folder
    parts = dict.fromkeys(("tokenizer", "transformer", "reader"), dict)
    needed = {"sha256": dict, "training": dict, "sampling": dict, **parts}
    about = read_about(folder, needed, _REMEDY, NAME)
    check_files(folder, (TOKENIZER, TRANSFORMER, READER, CHECKER), about, _REMEDY)
    try:
        sizes = {**about["tokenizer"], "widths": tuple(about["tokenizer"]["widths"])}
        vqvae, transformer = VqVae(VqVaeConfig(**sizes)), DalleTransformer(TransformerConfig(**about["transformer"]))
        reader = DalleReader(ReaderConfig(**about["reader"]))
        for name, module in ((TOKENIZER, vqvae), (TRANSFORMER, transformer), (READER, reader)):
            _fill(module, folder / name)
    except (TypeError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailableError(
            f"The model {folder.name} is not of the kind {NAME} ({one_line(error)}): {_REMEDY}."
        ) from error
    for module in (vqvae, transformer, reader):
        module.to(device).eval().requires_grad_(False)
    return vqvae, transformer, reader, load_checker(folder / CHECKER), about


def _fill(module: nn.Module, path: Path) -> None:
    module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
