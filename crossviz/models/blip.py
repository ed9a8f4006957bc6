"""The family `blip`: BLIP by transformers, the matching model and the captioner, by ORG/NAME or from a folder.

Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and Generation"
(2022). In every layer of its text model each token looks at the image tower's last states: Vaswani et al., "Attention
Is All You Need" (2017), eq. 1, with queries from the text. The keys are the class token and the patches; here the
patches come first, and nothing is renormalised.

What is computed is what transformers computes. Where that differs from the authors' code:

- The matching model's text begins with [CLS], which the head reads; the authors put their token [ENC] there.
- The captioner's text begins with [DEC] (`bos_token_id`), which transformers' `generate` puts in the place of [CLS],
  and not with "[DEC] a picture of", which the authors trained with.
"""

import torch

from crossviz.models.base import Model, ModelInfo
from crossviz.models.blip_captioner import BlipCaptioner
from crossviz.models.blip_load import identity, infos, load
from crossviz.models.blip_matcher import BlipMatcher

__all__ = ["Blip"]


class Blip:
    """Models by the names "blip:ORG/NAME" and "blip:FOLDER"."""

    name = "blip"

    def infos(self, everything: bool) -> list[ModelInfo]:
        return infos()

    def identity(self, name: str) -> tuple[str, str]:
        return identity(name)

    def load(self, name: str, device: torch.device) -> Model:
        loaded = load(name)
        return (BlipCaptioner if loaded.writes else BlipMatcher)(loaded, device)
