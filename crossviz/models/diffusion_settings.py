"""What a drawing of a diffusers pipeline is told: checked, with the pipeline's own choices for what is left open."""

import inspect
from typing import Any

from crossviz.errors import SettingsError
from crossviz.models.diffusion_kinds import PipelineKind
from crossviz.models.generators import Settings, number, whole

__all__ = ["LARGEST_SIDE", "MOST_STEPS", "chosen", "defaults", "most_steps"]

LARGEST_SIDE = 4096
MOST_STEPS = 1000
"""Timesteps that diffusion models are trained with."""


def defaults(pipe: Any, kind: PipelineKind) -> Settings:
    """The pipeline's own guidance, steps and size; it has no temperature."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    side = getattr(pipe, "default_sample_size", None) or getattr(pipe, kind.denoiser).config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    scale = pipe.vae_scale_factor
    return Settings(
        guidance=float(parameters["guidance_scale"].default),
        steps=int(parameters["num_inference_steps"].default),
        size_wh=(int(width) * scale, int(height) * scale),
    )


def most_steps(scheduler: Any) -> int:
    """How many steps a scheduler can take: as many as the model was distilled for (latent consistency models), or was
    trained with, less those that the scheduler leaves out."""
    config = scheduler.config
    trained = int(config.get("num_train_timesteps") or MOST_STEPS) - int(config.get("steps_offset") or 0)
    return max(1, min(MOST_STEPS, trained, int(config.get("original_inference_steps") or trained)))


def chosen(settings: Settings, own: Settings, multiple: int, name: str, most: int = MOST_STEPS) -> Settings:
    """The settings, with `own` for what they leave open.

    Args:
        settings: what was asked for.
        own: from `defaults`.
        multiple: what height and width in pixels must be multiples of.
        name: the model's, for the message.
        most: steps, from `most_steps`.

    Raises:
        SettingsError: something can't be used.
    """
    if settings.temperature is not None:
        raise SettingsError(f"{name} has no temperature, but {settings.temperature!r:.40} was given: leave it out.")
    if settings.candidates is not None:
        raise SettingsError(f"{name} draws one picture a seed and compares none: leave the candidates out.")
    seed = whole("A seed", settings.seed, 0, 2**32 - 1)  # torch's generator of the CPU takes no more bits
    steps = own.steps if settings.steps is None else whole("The number of steps", settings.steps, 1, most)
    guidance = number("Guidance (1 is none)", own.guidance if settings.guidance is None else settings.guidance, 0)
    size = own.size_wh if settings.size_wh is None else settings.size_wh
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise SettingsError(f"A size is two numbers of pixels, width and height, but {size!r:.60} was given.")
    sides = [
        whole(f"The {what} in pixels", side, multiple, LARGEST_SIDE)
        for what, side in zip(("width", "height"), size, strict=True)
    ]
    if any(side % multiple for side in sides):
        near = " x ".join(str(max(multiple, round(side / multiple) * multiple)) for side in sides)
        raise SettingsError(
            f"{name} draws sizes that are multiples of {multiple} pixels, but {sides[0]} x {sides[1]} was asked for: "
            f"take {near}."
        )
    return Settings(seed, guidance, None, steps, (sides[0], sides[1]))
