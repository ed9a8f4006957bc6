"""What a drawing of a diffusers pipeline is told: checked, with the pipeline's own choices for what is left open."""

import inspect
import math
from typing import Any, SupportsIndex

from crossviz.errors import SettingsError
from crossviz.models.diffusion_kinds import PipelineKind
from crossviz.models.generators import Settings

__all__ = ["LARGEST_SIDE", "MOST_STEPS", "chosen", "defaults"]

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


def chosen(settings: Settings, own: Settings, multiple: int, name: str) -> Settings:
    """The settings, with `own` for what they leave open.

    Args:
        settings: what was asked for.
        own: from `defaults`.
        multiple: what height and width in pixels must be multiples of.
        name: the model's, for the message.

    Raises:
        SettingsError: something can't be used.
    """
    if settings.temperature is not None:
        raise SettingsError(f"{name} has no temperature, but {settings.temperature!r:.40} was given: leave it out.")
    if settings.candidates is not None:
        raise SettingsError(f"{name} draws one picture a seed and compares none: leave the candidates out.")
    seed = _whole("A seed", settings.seed, 0, 2**63 - 1)
    steps = own.steps if settings.steps is None else _whole("The number of steps", settings.steps, 1, MOST_STEPS)
    guidance = own.guidance if settings.guidance is None else settings.guidance
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance < math.inf:
        raise SettingsError(f"Guidance is a number from 0 on (1 is none), but {guidance!r:.40} was given.")
    size = own.size_wh if settings.size_wh is None else settings.size_wh
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise SettingsError(f"A size is two numbers of pixels, width and height, but {size!r:.60} was given.")
    sides = [
        _whole(f"The {what} in pixels", side, multiple, LARGEST_SIDE)
        for what, side in zip(("width", "height"), size, strict=True)
    ]
    if any(side % multiple for side in sides):
        near = " x ".join(str(max(multiple, round(side / multiple) * multiple)) for side in sides)
        raise SettingsError(
            f"{name} draws sizes that are multiples of {multiple} pixels, but {sides[0]} x {sides[1]} was asked for: "
            f"take {near}."
        )
    return Settings(seed, float(guidance), None, steps, (sides[0], sides[1]))


def _whole(what: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or not least <= value.__index__() <= most:
        raise SettingsError(f"{what} is a whole number from {least} to {most}, but {value!r:.40} was given.")
    return value.__index__()
