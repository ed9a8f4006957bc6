"""Loading text-to-image pipelines of diffusers: every weight from its files, on the device, or one clear sentence.

The safety checker is left off: it looks at the finished picture and has no share in the attention. Everything is read
from a folder on this machine, so that neither diffusers nor transformers sends anything anywhere.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from crossviz.errors import ModelUnavailableError
from crossviz.models import diffusion_hub
from crossviz.models.about import says_trained
from crossviz.models.diffusion_hub import Files
from crossviz.models.diffusion_kinds import PipelineKind, text_sites
from crossviz.models.generators import GeneratorInfo
from crossviz.models.hub import Place
from crossviz.models.transformers_load import check_complete, loading, quiet
from crossviz.sites import refusal

__all__ = ["Loaded", "infos", "load"]


class Listed(NamedTuple):
    """A model of the hub that is listed."""

    what: str
    own: Mapping[str, Any] = MappingProxyType({})
    """What it wants of the `Settings` instead of what its pipeline's class takes."""


CHOICE = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Listed("Stable Diffusion 1.5, 512 x 512"),
    "stabilityai/sd-turbo": Listed(
        "SD-Turbo, in one to four steps and without guidance", MappingProxyType({"guidance": 1.0, "steps": 4})
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": Listed("Stable Diffusion XL, 1024 x 1024"),
    "PixArt-alpha/PixArt-Sigma-XL-2-512-MS": Listed("PixArt-Σ, a transformer, 512 x 512"),
}
"""What `crossviz.generators()` lists of the hub's, and what each is."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A pipeline with what is known of it."""

    info: GeneratorInfo
    kind: PipelineKind
    pipe: Any
    sites: dict[str, nn.Module]
    """The modules in which image tokens look at text tokens, by their name in the denoiser."""
    device: torch.device
    own: Mapping[str, Any]
    """As in `Listed`."""

    @property
    def denoiser(self) -> nn.Module:
        """The part that draws."""
        return getattr(self.pipe, self.kind.denoiser)

    @property
    def rounds_up(self) -> bool:
        """As `grid_of`: without padding a UNet's halving drops the last place of an odd side."""
        return self.denoiser.config.get("downsample_padding", 1) != 0


def infos() -> list[GeneratorInfo]:
    """The choice of the hub's models; available are those whose files are on this machine."""
    found = []
    for repository, listed in CHOICE.items():
        place = diffusion_hub.place(f"{diffusion_hub.FAMILY}:{repository}")
        reason = diffusion_hub.available(place)
        found.append(_info(place, listed.what, available=not reason, reason=reason))
    return found


def load(name: str, device: torch.device) -> Loaded:
    """The pipeline on that device; half precision on CUDA, but for the decoder of its pictures.

    Raises:
        UnknownModelError: the name is none of a model.
        ModelUnavailableError: it can't be loaded here; the message names the model, the reason and what to do.
    """
    place = diffusion_hub.place(name)
    diffusers = diffusion_hub.require_diffusers(place.name)
    folder, kind, index, files = diffusion_hub.fetch(place)
    with loading(place), quiet("diffusers", "transformers"):
        dtype = kind.half if device.type == "cuda" else torch.float32
        parts = {
            part: _part(place, folder / part, *origin, torch.float32 if part == "vae" else dtype, files)
            for part, origin in diffusion_hub.parts_of(index).items()
            if (folder / part / "config.json").is_file()
        }
        cls = getattr(diffusers, diffusion_hub.class_of(index))
        absent: dict[str, Any] = {part: None for part in diffusion_hub.LEFT_OUT if part in cls._optional_components}
        if "safety_checker" in absent:
            absent["requires_safety_checker"] = False
        pipe = cls.from_pretrained(folder, local_files_only=True, **parts, **absent).to(device)
        pipe.set_progress_bar_config(disable=True)
        _check_tokenizers(place, kind, pipe)
        sites = _sites(place, getattr(pipe, kind.denoiser))
        info = _info(place, f"{kind.title}, loaded by diffusers", trained=says_trained(folder))
        listed = CHOICE.get(place.repository)
        return Loaded(info, kind, pipe, sites, device, listed.own if listed else {})


def _part(place: Place, folder: Path, library: str, name: str, dtype: torch.dtype, files: Files) -> nn.Module:
    """One model of the pipeline, with all of its weights."""
    if library not in ("diffusers", "transformers"):
        raise ModelUnavailableError(
            f"The part {folder.name} of {place.name} is of {library:.40}, and only those of diffusers and transformers "
            "are loaded: choose another model."
        )
    module = importlib.import_module(library)
    options: dict[str, Any] = {"dtype" if library == "transformers" else "torch_dtype": dtype}
    own = f"{folder.name}/"
    if files.variant and any(each.startswith(own) and files.variant in each for each in files.names):
        options["variant"] = files.variant
    model, about = getattr(module, name).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )
    lost = {*about["missing_keys"], *(key for key, *_ in about["mismatched_keys"])}
    check_complete(place, sorted(f"{own}{key}" for key in lost))
    return model.eval().requires_grad_(False)


def _check_tokenizers(place: Place, kind: PipelineKind, pipe: Any) -> None:
    found = [getattr(pipe, name) for text in kind.texts for name in text.tokenizers]
    there = [tokenizer for tokenizer in found if tokenizer is not None]  # SD3's third may be left out
    if not there:
        raise ModelUnavailableError(f"{place.name} has no tokenizer, so it reads no caption: choose another model.")
    for tokenizer in there:
        if not tokenizer.is_fast:
            raise ModelUnavailableError(
                f"The tokenizer of {place.name} ({type(tokenizer).__name__}) does not say which characters a token "
                "covers, as the fast ones of transformers do: choose another model."
            )


def _sites(place: Place, denoiser: nn.Module) -> dict[str, nn.Module]:
    found = text_sites(denoiser)
    if not found:
        raise ModelUnavailableError(
            f"No module of {place.name} looks at the text, so there is nothing to show: choose another model."
        )
    for name, module in found.items():
        reason = refusal(module)
        if reason is not None:
            raise ModelUnavailableError(f"{place.name} can't be read at '{name}': {reason}. Choose another model.")
    return found


def _info(place: Place, what: str, *, trained: bool = True, available: bool = True, reason: str = "") -> GeneratorInfo:
    return GeneratorInfo(place.name, place.title, f"{what}.", trained=trained, available=available, reason=reason)
