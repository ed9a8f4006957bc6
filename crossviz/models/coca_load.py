"""Names of CoCas, and how they become a loaded one: open_clip's by name or folder, and the embedded coca-mini."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossviz import compat
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.models.about import kind_of
from crossviz.models.base import ModelInfo, folder_state
from crossviz.models.open_clip_load import Naming, Source, identity, infos, load, source_of
from crossviz.paths import assets_dir

__all__ = ["MINI", "coca_identity", "coca_infos", "coca_source", "is_mini", "load_coca"]

MINI, TOWER = "coca-mini", "crossviz-mini"
ATTENTION = "query: text tokens, key: image patches; the decoder's cross-attention times that of the image pooler"


def _is_coca(arch: str) -> bool:
    return "multimodal_cfg" in (compat.import_open_clip().get_model_config(arch) or {})


NAMING = Naming(
    prefix="coca:",
    what="a contrastive model that also writes captions,",
    attention=lambda arch: ATTENTION,
    folder_attention=ATTENTION,
    choice=tuple(
        (f"coca_ViT-{size}", f"{finetuned}laion2b_s13b_b90k")
        for size in ("B-32", "L-14")
        for finetuned in ("", "mscoco_finetuned_")
    ),
    takes=_is_coca,
)


def coca_infos(everything: bool) -> list[ModelInfo]:
    """coca-mini where it is shipped, and open_clip's trained CoCas."""
    found = infos(everything, NAMING)
    if not _mini_folder().is_dir():
        return found
    try:
        return [coca_source(MINI).info, *found]
    except (ModelUnavailableError, UnknownModelError) as error:
        return [replace(_mini_info(trained=False), available=False, reason=str(error)), *found]


def coca_source(name: str) -> Source:
    """Read a name: "coca-mini", or as `source_of` with the prefix "coca:".

    Raises:
        UnknownModelError: open_clip knows no such model, or it is no CoCa.
        ModelUnavailableError: there is no model in that folder.
    """
    found = source_of(f"{NAMING.prefix}{_mini_folder()}" if name == MINI else name, NAMING)
    if found.folder == _mini_folder().resolve():  # by whatever name it was asked for
        found = replace(found, info=_mini_info(trained=found.info.trained))
    here = _is_coca(found.arch) if found.folder is None else _holds_coca(found.folder)
    if not here:
        rest = name.removeprefix(NAMING.prefix)
        raise UnknownModelError(
            f"{found.info.title} is no CoCa: it has no decoder that looks at the photo. Load it as open_clip:{rest}."
        )
    return found


def coca_identity(name: str) -> tuple[str, str]:
    """As `Family`; a model that stands on crossviz-mini's tower changes with it."""
    source = coca_source(name)
    place, state = identity(source)
    if is_mini(source):
        state += "\n" + folder_state(assets_dir() / "models" / TOWER)
    return place, state


def load_coca(source: Source, device: torch.device) -> tuple[nn.Module, Any]:
    """The model, on whatever device it comes, and its tokenizer.

    Args:
        source: from `coca_source`.
        device: where it will be used; coca-mini shares the image tower of the crossviz-mini that is loaded there.

    Raises:
        ModelUnavailableError: it can't be loaded here.
    """
    if is_mini(source):
        compat.import_open_clip()
        from crossviz.models.coca_mini import load_coca_mini  # registers its image side with timm

        return load_coca_mini(source.folder, device)[:2]
    module, tokenizer = load(source)
    if source.folder is None and not source.tag:
        _draw_words(module)
    return module, tokenizer


def is_mini(source: Source) -> bool:
    """Whether a model is of coca-mini's kind."""
    return source.folder is not None and kind_of(source.folder) == MINI


def _draw_words(module: nn.Module) -> None:
    """open_clip leaves the decoder's last projection as whatever was in memory; here it is drawn as meant there."""
    weights = module.text_decoder.text_projection
    with torch.no_grad():
        weights.normal_(std=weights.shape[0] ** -0.5, generator=torch.Generator().manual_seed(0))


def _holds_coca(folder: Path) -> bool:
    """Whether a model folder is of a CoCa; one that can't be read is left to open_clip, which says what is wrong."""
    try:
        return "multimodal_cfg" in json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _mini_folder() -> Path:
    return assets_dir() / "models" / MINI


def _mini_info(*, trained: bool) -> ModelInfo:
    return ModelInfo(
        name=MINI,
        title=MINI,
        sentence="The embedded captioner: crossviz-mini's image tower, and a small decoder that writes what it sees.",
        attention_sentence=ATTENTION,
        trained=trained,
    )
