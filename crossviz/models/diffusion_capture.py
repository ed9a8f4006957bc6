"""From one call of an attention module to the shares that its image tokens gave to each word."""

import torch
from torch import Tensor

from crossviz.capture import SiteCapture
from crossviz.errors import CaptureError
from crossviz.models.diffusion_kinds import IMAGE_THEN_TEXT, PipelineKind
from crossviz.models.diffusion_maps import WordMapsBuilder, grid_of

__all__ = ["WordShares"]


class WordShares:
    """Hands each call's word shares to a builder. Query: image, key: text.

    With classifier-free guidance (Ho and Salimans, 2022) a batch holds the drawing without the caption and then the one
    with it; only the latter counts. In joint attention image tokens look at each other, too: that went to no word.
    """

    def __init__(
        self,
        kind: PipelineKind,
        weights: Tensor,
        latent_hw: tuple[int, int],
        builder: WordMapsBuilder,
        rounds_up: bool = True,
    ) -> None:
        """`weights`: `key word`, from `Reading`; `rounds_up` as in `grid_of`."""
        self._kind = kind
        self._weights = weights
        self._latent_hw = latent_hw
        self._builder = builder
        self._rounds_up = rounds_up

    @torch.no_grad()
    def __call__(self, call: SiteCapture) -> None:
        """Take one call in.

        Raises:
            CaptureError: its shape is not that of one picture and of this caption.
        """
        probs, keys = call.probs, len(self._weights)
        if len(probs) not in (1, 2):
            raise CaptureError(f"'{call.name}' was called for {len(probs)} pictures at once, and one is drawn here.")
        seen = probs[-1]  # head query key
        if self._kind.layout == IMAGE_THEN_TEXT:
            seen = seen[:, :-keys, -keys:]
        elif self._kind.layout is not None:
            seen = seen[:, keys:, :keys]
        if seen.shape[-1] != keys:
            raise CaptureError(
                f"'{call.name}' has {seen.shape[-1]} text keys, and the caption has {keys}: it is read in a way "
                "that is not known here."
            )
        height, width = grid_of(seen.shape[1], self._latent_hw, self._kind.patch, self._rounds_up)
        words = (seen @ self._weights.to(seen)).float()  # head place word
        rest = (1 - words.sum(-1, keepdim=True)).clamp_min(0)
        shares = torch.cat([words, rest], -1)
        self._builder.add(call.name, shares.transpose(1, 2).unflatten(-1, (height, width)))
