"""From a pipeline's latents to the picture that they are."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["decode"]


@torch.no_grad()
def decode(pipe: Any, latents: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Latents, at the end or on the way, through the pipeline's decoder and its own post-processing.

    Args:
        pipe: the pipeline.
        latents: as its steps give them; Flux' are in patches of 2 x 2.
        size_wh: the picture's width and height.

    Returns:
        uint8 `height width 3` on the CPU.
    """
    vae, (width, height) = pipe.vae, size_wh
    if hasattr(pipe, "_unpack_latents"):
        latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    latents = latents.to(vae.dtype)
    config = vae.config
    scaled = latents / config.scaling_factor
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in (mean, std))
        scaled = latents * std / config.scaling_factor + mean
    elif config.get("shift_factor") is not None:
        scaled = scaled + config.shift_factor
    image = vae.decode(scaled, return_dict=False)[0]
    picture = pipe.image_processor.postprocess(image, output_type="pil")[0]
    return torch.from_numpy(np.array(picture.convert("RGB")))
