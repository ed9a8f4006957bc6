"""ViLT on crossviz-mini's image tower: vilt-mini, or another folder of its kind.

Such a folder holds what transformers saves, and `crossviz.json` with every file's sha256 and that of the tower. Its
"pixels" are the tower's patches, `256 24 24`, of which ViLT puts 2 x 2 together.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crossviz.errors import ModelUnavailableError
from crossviz.models import transformers_load
from crossviz.models.about import ABOUT, check_files
from crossviz.models.pixels import Preprocess
from crossviz.models.transformers_load import Place
from crossviz.models.vilt_parts import ViltModule
from crossviz.models.vilt_pixels import TowerPixels
from crossviz.paths import assets_dir

__all__ = ["MINI", "TOWER", "on_tower", "read_about"]

MINI, TOWER = "vilt-mini", "crossviz-mini"
TOWER_FILE = "open_clip_model.safetensors"
_REMEDY = "install crossviz again, or name a folder that crossviz.training.vilt_export has written"


def on_tower(place: Place, about: Mapping[str, Any], module: ViltModule, device: torch.device) -> TowerPixels:
    """Put the model onto crossviz-mini's image tower, the very one that is loaded for crossviz-mini."""
    from crossviz.models import load_model  # the families are imported there

    theirs = about.get("tower_sha256")
    own = json.loads((assets_dir() / "models" / TOWER / ABOUT).read_text(encoding="utf-8"))["sha256"][TOWER_FILE]
    if about.get("tower") != TOWER or theirs != own:
        raise ModelUnavailableError(
            f"{place.name} stands on the image tower of {about.get('tower')!s:.40} with another hash "
            f"({theirs!s:.12}...) than the {TOWER} that is installed here ({own:.12}...): install the version of "
            "crossviz that it was made with, or train it again."
        )
    visual = load_model(TOWER, device).module["clip"].visual
    module.photo.tower = visual.trunk
    config = module.vilt.config
    return TowerPixels(Preprocess(visual.preprocess_cfg), config.image_size // config.patch_size)


def read_about(place: Place, folder: Path) -> dict[str, Any] | None:
    """What `crossviz.json` says of a folder of vilt-mini's kind, its files compared; None for transformers' own.

    Raises:
        ModelUnavailableError: it is of another kind or format, or a file is not the one it names.
    """
    if place.folder is None or not (folder / ABOUT).is_file():
        return None
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        hashes = dict(about["sha256"])
        kind, version = about["kind"], about["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"{ABOUT} of {folder.name} can't be read ({type(error).__name__}: {error}): {_REMEDY}."
        ) from error
    if (kind, version) != (MINI, 1):
        raise ModelUnavailableError(
            f"The folder {folder.name} holds a model of the kind '{kind!s:.40}' and format {version!s:.10}, and what "
            f"is read here is {MINI} of format 1: {_REMEDY}."
        )
    check_files(folder, {"config.json", transformers_load.WEIGHTS, "tokenizer.json"} | set(hashes), about, _REMEDY)
    return about
