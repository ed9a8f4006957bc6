"""The text-to-image pipelines of diffusers that are read here: what each is made of and how it is called.

What is not here is refused. The reasons, for those that people ask for: DeepFloyd IF and Kandinsky mix text and image
keys in one softmax of their own; PAG and ControlNet pipelines replace the attention; Hunyuan, Lumina, CogView, Qwen,
Sana, Chroma, Z-Image and Flux 2 put a language model's template around the caption, so that a word's tokens would have
to be found inside that first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from crossviz.errors import ModelUnavailableError

__all__ = ["IMAGE_THEN_TEXT", "KINDS", "TEXT_THEN_IMAGE", "PipelineKind", "Text", "kind_of_class", "text_sites"]

IMAGE_THEN_TEXT, TEXT_THEN_IMAGE = "image, text", "text, image"


@dataclass(frozen=True)
class Text:
    """Keys that a caption becomes: those of one tokenizer, or of several whose towers' states lie side by side."""

    tokenizers: tuple[str, ...]
    longest: int | None = None
    """Tokens that are read at most, marks included; None for as many as the tokenizer states. A tokenizer that states
    fewer has its way."""
    lowered: bool = False
    """Whether the pipeline reads the caption in lower case."""


@dataclass(frozen=True)
class PipelineKind:
    """What is to be known of a pipeline's class."""

    classes: tuple[str, ...]
    title: str
    denoiser: str
    """The pipeline's part that draws."""
    texts: tuple[Text, ...]
    """The text keys in their order."""
    layout: str | None = None
    """How image and text tokens follow each other in joint attention; None for cross-attention."""
    patch: int | None = None
    """Latents per image token and side; None where the denoiser halves the latents' sides itself (a UNet)."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What every call is told beside the settings."""
    half: torch.dtype = torch.float16
    """What it computes in on CUDA."""


_CLIP = (Text(("tokenizer",)),)
_T5 = {"clean_caption": False, "use_resolution_binning": False}
"""PixArt would draw at another size and cut the result, so that its places would not be those of its attention."""

KINDS: tuple[PipelineKind, ...] = (
    PipelineKind(
        ("StableDiffusionPipeline", "LatentConsistencyModelPipeline"),
        "Stable Diffusion",
        "unet",
        _CLIP,
    ),
    PipelineKind(("StableDiffusionXLPipeline",), "Stable Diffusion XL", "unet", (Text(("tokenizer", "tokenizer_2")),)),
    PipelineKind(
        ("PixArtAlphaPipeline",), "PixArt-α", "transformer", (Text(("tokenizer",), 120, lowered=True),), patch=2,
        options=_T5,
    ),
    PipelineKind(
        ("PixArtSigmaPipeline",), "PixArt-Σ", "transformer", (Text(("tokenizer",), 300, lowered=True),), patch=2,
        options=_T5,
    ),
    PipelineKind(
        ("StableDiffusion3Pipeline",),
        "Stable Diffusion 3",
        "transformer",
        (Text(("tokenizer", "tokenizer_2")), Text(("tokenizer_3",), 256)),
        IMAGE_THEN_TEXT,
        patch=2,
    ),
    PipelineKind(
        ("FluxPipeline",), "Flux", "transformer", (Text(("tokenizer_2",), 512),), TEXT_THEN_IMAGE, patch=2,
        half=torch.bfloat16,
    ),
)  # fmt: skip


def kind_of_class(name: str, model: str) -> PipelineKind:
    """The kind of a pipeline's class.

    Args:
        name: the class, as model_index.json has it.
        model: the model's name, for the message.

    Raises:
        ModelUnavailableError: it is not read here.
    """
    for kind in KINDS:
        if name in kind.classes:
            return kind
    read = ", ".join(kind.title for kind in KINDS)
    raise ModelUnavailableError(
        f"{model} is a {name:.60}, no text-to-image pipeline whose attention is read here: choose one of {read}."
    )


def text_sites(denoiser: nn.Module) -> dict[str, nn.Module]:
    """The modules of a denoiser in which image tokens look at text tokens, by name, whether covered or not."""
    return {
        name: module
        for name, module in denoiser.named_modules()
        if getattr(module, "is_cross_attention", False)
        or getattr(module, "add_k_proj", None) is not None
        or type(module).__name__ == "FluxAttention"
    }
