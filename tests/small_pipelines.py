"""Small text-to-image pipelines with random weights, as folders that diffusers loads: SD, SDXL, PixArt, SD3, Flux.

Their attention is far from even, so that a mixed-up head, half or axis shows. Nothing is fetched: the tokenizers are
built from a few words.
"""

import json
from pathlib import Path
from typing import Any

import torch

from crossviz import compat

WORDS = ["a", "red", "cube", "left", "of", "blue", "sphere", "on", "the", "floor"]
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 16
"""Tokens that the CLIP towers read, both ends included."""
SHARP = ("to_q", "to_k", "add_k_proj")
"""The denoiser's weights that are made large, so that its attention is far from even."""
KINDS = ("sd", "sdxl", "pixart", "sd3", "flux")


def clip_tokenizer(words: list[str] = WORDS, **options: Any) -> Any:
    """CLIP's byte pairs over the alphabet, with a token for each of `words`; others are spelled."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("!,.<|>")
    tokens, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
                tokens.append("".join(pair))
            parts = ["".join(pair), *parts[2:]]
    vocab = {token: place for place, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH, **options)


def t5_tokenizer() -> Any:
    """A SentencePiece model over the alphabet and WORDS."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS]
    pieces += [(chr(code), -8.0) for code in range(ord("a"), ord("z") + 1)] + [(",", -8.0), (".", -8.0)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def clip_tower(tokenizer: Any, width: int, projection: int | None = None) -> Any:
    """A CLIP text tower of `width`; with an output projection where one is asked for."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, projection_dim=projection or width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return (CLIPTextModel if projection is None else CLIPTextModelWithProjection)(config)


def t5_tower(tokenizer: Any, width: int) -> Any:
    """A T5 encoder of `width`."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return T5EncoderModel(config)


def autoencoder(channels: int = 4, blocks: int = 2, **options: Any) -> Any:
    """Pixels to latents of half the side (`blocks` of 2) and back."""
    from diffusers import AutoencoderKL

    kinds = ("DownEncoderBlock2D",) * blocks, ("UpDecoderBlock2D",) * blocks
    return AutoencoderKL(
        block_out_channels=(8,) * blocks, down_block_types=kinds[0], up_block_types=kinds[1], norm_num_groups=2,
        latent_channels=channels, sample_size=32, **options,
    )  # fmt: skip


def build(kind: str, **changes: Any) -> Any:
    """A pipeline with random weights.

    Args:
        kind: one of KINDS, or "lcm", "pixart_alpha", "heun".
        changes: other options of the denoiser than its own here.
    """
    compat.ensure_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        pipe = _MAKERS[kind](changes)
        for name in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
            module = getattr(pipe, name, None)
            if module is None:
                continue
            module.eval()
            for label, parameter in module.named_parameters():
                sharp = name in ("unet", "transformer") and any(part in label for part in SHARP)
                parameter.data += torch.randn(parameter.shape) * (0.35 if sharp else 0.03)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _sd(changes: dict[str, Any]) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    tokenizer = clip_tokenizer()
    options = {
        "block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 16, "norm_num_groups": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 24,
        "attention_head_dim": 2,
    }  # fmt: skip
    return StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=clip_tower(tokenizer, 24), tokenizer=tokenizer,
        unet=UNet2DConditionModel(**{**options, **changes}), scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl(changes: dict[str, Any]) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    one, two = clip_tokenizer(), clip_tokenizer(pad_token="!")
    options = {
        "block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 16, "norm_num_groups": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "cross_attention_dim": 24 + 16,
        "attention_head_dim": (2, 4), "transformer_layers_per_block": (1, 2), "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8,
        "use_linear_projection": True,
    }  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=autoencoder(latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[1.1, 0.9, 1.2, 0.8]),
        text_encoder=clip_tower(one, 24), text_encoder_2=clip_tower(two, 16, 16), tokenizer=one, tokenizer_2=two,
        unet=UNet2DConditionModel(**{**options, **changes}), scheduler=EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip


def _pixart(changes: dict[str, Any]) -> Any:
    from diffusers import DDIMScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    tokenizer = t5_tokenizer()
    options = {
        "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8, "num_layers": 2,
        "cross_attention_dim": 16, "caption_channels": 24, "sample_size": 16, "patch_size": 2,
        "use_additional_conditions": False,
    }  # fmt: skip
    return PixArtSigmaPipeline(
        tokenizer=tokenizer, text_encoder=t5_tower(tokenizer, 24), vae=autoencoder(),
        transformer=PixArtTransformer2DModel(**{**options, **changes}),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
    )  # fmt: skip


def _sd3(changes: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    one, two, three = clip_tokenizer(), clip_tokenizer(pad_token="!"), t5_tokenizer()
    options = {
        "sample_size": 16, "patch_size": 2, "in_channels": 4, "num_layers": 3, "attention_head_dim": 8,
        "num_attention_heads": 2, "joint_attention_dim": 48, "caption_projection_dim": 16,
        "pooled_projection_dim": 40, "out_channels": 4, "pos_embed_max_size": 32, "qk_norm": "rms_norm",
    }  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**{**options, **changes}), scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(shift_factor=0.1), text_encoder=clip_tower(one, 24, 24), tokenizer=one,
        text_encoder_2=clip_tower(two, 16, 16), tokenizer_2=two, text_encoder_3=t5_tower(three, 48), tokenizer_3=three,
    )  # fmt: skip


def _flux(changes: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    one, two = clip_tokenizer(), t5_tokenizer()
    options = {
        "patch_size": 1, "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 24, "guidance_embeds": True,
        "axes_dims_rope": (4, 4, 8),
    }  # fmt: skip
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=autoencoder(shift_factor=0.1),
        text_encoder=clip_tower(one, 24), tokenizer=one, text_encoder_2=t5_tower(two, 32), tokenizer_2=two,
        transformer=FluxTransformer2DModel(**{**options, **changes}),
    )  # fmt: skip


def _lcm(changes: dict[str, Any]) -> Any:
    """A latent consistency model: its guidance is an input of the UNet, and each step runs once."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    parts = _sd({"time_cond_proj_dim": 32, **changes}).components
    parts |= {"scheduler": LCMScheduler()}
    return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def _pixart_alpha(changes: dict[str, Any]) -> Any:
    from diffusers import PixArtAlphaPipeline

    return PixArtAlphaPipeline(**_pixart(changes).components)


def _heun(changes: dict[str, Any]) -> Any:
    """SDXL with a scheduler that asks the denoiser twice a step, but for the last."""
    from diffusers import HeunDiscreteScheduler

    pipe = _sdxl(changes)
    pipe.scheduler = HeunDiscreteScheduler()
    return pipe


_MAKERS = {
    "sd": _sd,
    "sdxl": _sdxl,
    "pixart": _pixart,
    "sd3": _sd3,
    "flux": _flux,
    "lcm": _lcm,
    "pixart_alpha": _pixart_alpha,
    "heun": _heun,
}


def model_of(pipe: Any) -> Any:
    """The `DiffusionModel` of a pipeline, without saving and loading it."""
    from crossviz.models.diffusion import DiffusionModel
    from crossviz.models.diffusion_kinds import kind_of_class, text_sites
    from crossviz.models.diffusion_load import Loaded
    from crossviz.models.generators import GeneratorInfo

    kind = kind_of_class(type(pipe).__name__, "small")
    info = GeneratorInfo("small", "small", "A small pipeline.", trained=False)
    sites = text_sites(getattr(pipe, kind.denoiser))
    return DiffusionModel(Loaded(info, kind, pipe, sites, torch.device("cpu"), {}))


def pipeline_folder(folder: Path, kind: str, pipe: Any = None) -> Path:
    """That pipeline (or another), as `save_pretrained` leaves it, with the mark that its weights were not trained."""
    (build(kind) if pipe is None else pipe).save_pretrained(folder)
    (folder / "crossviz.json").write_text(json.dumps({"format": 1, "training": {"trained": False}}), encoding="utf-8")
    return folder
