"""Loading models of transformers: the package when it is needed, all of their weights, or one clear sentence.

The package transformers is an extra, so it is imported when a model is loaded and not before.
"""

import importlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from crossviz.errors import ModelUnavailableError
from crossviz.models.about import one_line
from crossviz.models.hub import Place, shards
from crossviz.models.transformers_hub import CONFIG, INDEX, WEIGHTS, available, fetch, require_transformers

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "available",
    "check_complete",
    "fetch",
    "loading",
    "pretrained",
    "quiet",
    "read_config",
    "read_weights",
    "require_transformers",
]


@contextmanager
def loading(place: Place) -> Iterator[None]:
    """What is done inside leaves the caller's random numbers as they are, and fails with one clear sentence.

    Raises:
        ModelUnavailableError: what was done inside failed.
    """
    try:
        # transformers draws random weights first.
        with torch.random.fork_rng(devices=[]):
            yield
    except ModelUnavailableError:
        raise
    except Exception as error:
        remedy = "check the files in that folder" if place.folder is not None else "choose another model"
        raise ModelUnavailableError(f"{place.name} can't be loaded ({one_line(error)}): {remedy}.") from error


def read_config(place: Place, folder: Path) -> dict[str, Any]:
    """What the model's config.json holds.

    Raises:
        ModelUnavailableError: it is no model's; also what `json` raises, inside `loading`.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ModelUnavailableError(f"{CONFIG} of {place.name} does not describe a model: choose another one.")
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model's folder by name, as float32 where they are of a smaller float type."""
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else shards(folder / INDEX) or []
    tensors = {name: tensor for each in names for name, tensor in load_file(folder / each).items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def pretrained(cls: Any, place: Place, folder: Path, **options: Any) -> nn.Module:
    """A model of transformers' from its folder, with weights in float32 and attention computed by its own plain code.

    To be called inside `loading`.

    Args:
        cls: transformers' class of it.
        place: what is loaded.
        folder: from `fetch`.
        options: more of what `from_pretrained` takes.

    Raises:
        ModelUnavailableError: the files lack some of the weights, which transformers would fill with random ones.
    """
    with quiet("transformers"):
        model, about = cls.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            **options,
        )
    check_complete(place, sorted({*about["missing_keys"], *(key for key, *_ in about["mismatched_keys"])}))
    return model.eval()


def check_complete(place: Place, missing: Sequence[str]) -> None:
    """Refuse a model some of whose weights are not in its files.

    Raises:
        ModelUnavailableError: there are such.
    """
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelUnavailableError(
            f"The files of {place.name} don't hold all of its weights ({', '.join(missing[:3])}{more} are missing or "
            "of another size): choose another model."
        )


@contextmanager
def quiet(*packages: str) -> Iterator[None]:
    """Without the progress bars and remarks of transformers, or of diffusers, on what they load."""
    logs = [importlib.import_module(f"{package}.utils.logging") for package in packages]
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity(logging.CRITICAL)  # what fails is raised as well
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (level, bars) in zip(logs, before, strict=True):
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
