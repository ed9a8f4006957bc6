"""A small model with random weights of every family that reads photo and text together, by what `Explainer` takes."""

import json
from collections.abc import Callable
from pathlib import Path

from small_blips import blip_folder
from small_cocas import COCAS, coca_folder
from small_vilts import vilt_folder

__all__ = ["JOINT_MODELS"]


def short_vilt(folder: Path, head: str) -> Path:
    """A ViLT that reads captions of 30 tokens, and photos of 96 pixels on their shorter side."""
    vilt_folder(folder, head, max_position_embeddings=32, image_size=96)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"shortest_edge": 96}}))
    return folder


JOINT_MODELS: dict[str, Callable[[Path], str]] = {
    "coca, one pooler": lambda folder: f"coca:{coca_folder(folder)}",
    "coca, two poolers": lambda folder: f"coca:{coca_folder(folder, vision=COCAS['two poolers, side by side'])}",
    "vilt, matching": lambda folder: f"vilt:{short_vilt(folder, 'ViltForImageAndTextRetrieval')}",
    "vilt, words": lambda folder: f"vilt:{short_vilt(folder, 'ViltForMaskedLM')}",
    "blip, matching": lambda folder: f"blip:{blip_folder(folder, False)}",
    "blip, captioner": lambda folder: f"blip:{blip_folder(folder, True)}",
}
"""A kind of model to what builds one in an empty folder and gives its name."""
