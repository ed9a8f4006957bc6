"""ViLT on crossviz-mini's image tower: vilt-mini, or another folder of its kind.

Such a folder holds what transformers saves, and `crossviz.json` with every file's sha256 and that of the tower. Its
"pixels" are the tower's patches, `256 24 24`, of which ViLT puts 2 x 2 together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crossviz.models import transformers_load
from crossviz.models.about import ABOUT, check_files
from crossviz.models.about import read_about as _read_about
from crossviz.models.hub import Place
from crossviz.models.pixels import Preprocess
from crossviz.models.shared_tower import TOWER, check_tower
from crossviz.models.vilt_parts import ViltModule
from crossviz.models.vilt_pixels import TowerPixels

__all__ = ["MINI", "on_tower", "read_about"]

MINI = "vilt-mini"
_REMEDY = "install crossviz again, or name a folder that crossviz.training.vilt_export has written"


def on_tower(place: Place, about: Mapping[str, Any], module: ViltModule, device: torch.device) -> TowerPixels:
    """Put the model onto crossviz-mini's image tower, the very one that is loaded for crossviz-mini."""
    from crossviz.models import load_model  # the families are imported there

    check_tower(place.name, about)
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
    needed = {"tower": str, "tower_sha256": str, "sha256": dict, "training": dict}
    about = _read_about(folder, needed, _REMEDY, MINI)
    files = {transformers_load.CONFIG, transformers_load.WEIGHTS, "tokenizer.json", *about["sha256"]}
    check_files(folder, files, about, _REMEDY)
    return about
