"""The family `open_clip`: whatever open_clip can load, by ARCH/TAG or from a folder.

CLIP (Radford et al., 2021) has no cross-attention of its own. Its cross-attention here is a construction, made of
its own parts and said to be so on every result: softmax(exp(logit_scale) * cos(q, k)) with q = the text tower's last
token states times its projection (W_Q) and k = dense features of the image tower's last block times its projection
(W_K). That is `CrossModalAttention`'s formula with unit vectors, and the trained temperature for 1 / sqrt(d_k).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.capture import sites
from crossviz.errors import UnsupportedMethodError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.base import EncodedText, Model, ModelInfo
from crossviz.models.clip_tokens import Tokenized, tokenize
from crossviz.models.open_clip_load import Source, identity, infos, load, source_of
from crossviz.models.pixels import Preprocess
from crossviz.models.vit_tower import VitTower, vit_tower
from crossviz.photo import Photo
from crossviz.trace import CAPABILITIES, CrossAttention, EncodedImage

__all__ = ["OpenClip", "OpenClipModel"]

LAYER = "last block, dense"
TEXT_BATCH = 32


class OpenClip:
    """Models by the names "open_clip:ARCH/TAG", "open_clip:ARCH" (random weights) and "open_clip:FOLDER"."""

    name = "open_clip"

    def infos(self, everything: bool) -> list[ModelInfo]:
        return infos(everything)

    def identity(self, name: str) -> tuple[str, str]:
        return identity(source_of(name))

    def load(self, name: str, device: torch.device) -> Model:
        source = source_of(name)
        module, tokenizer = load(source)
        return OpenClipModel(source, module, tokenizer, device)


class OpenClipModel(Model):
    """A model of open_clip's."""

    libraries = ("torch", "open_clip_torch", "timm", "numpy", "pillow")

    def __init__(self, source: Source, module: nn.Module, tokenizer: Any, device: torch.device) -> None:
        self.info = source.info
        self.device = device
        self.module = module.to(device).eval()
        self._tokenizer = tokenizer
        self._preprocess = Preprocess(module.visual.preprocess_cfg)
        self._tower, self._why_no_tower = _tower_or_reason(module.visual)
        self._why_no_queries = _why_no_queries(module)
        if self._tower is not None:
            self.grid = PatchGrid(*self._tower.grid_hw, num_prefix_tokens=self._tower.num_prefix_tokens)
            # A tower that is not the sum of its parts is refused before it explains anything.
            height, width = self._preprocess.input_hw
            noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
            with torch.no_grad():
                self._tower.check(noise * 2 - 1)

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels, view = self._preprocess(photo)
        return pixels.to(self.device), view

    def tokenize(self, text: str) -> Tokenized:
        return tokenize(self._tokenizer, text)

    def encode_image(self, photo: Photo) -> EncodedImage:
        tower = self._need_tower()
        pixels, view = self.preprocess(photo)
        run = tower.run(pixels)
        patch_h, patch_w = tower.patch_hw
        read_hw = (self.grid.height * patch_h, self.grid.width * patch_w)
        return EncodedImage(
            photo=photo,
            # Patches need not fill the input: 27 patches of 14 pixels in 384 leave 6 unread.
            view=view if read_hw == view.input_hw else view.trimmed(read_hw),
            grid=self.grid,
            embedding=F.normalize(run.embedding, dim=-1),
            features={"pixels": pixels, "last_input": run.last_input},
            model_key=self.key,
            model_name=self.info.name,
        )

    def encode_text(self, tokenized: Tokenized) -> EncodedText:
        ids = tokenized.ids.to(self.device)
        if self._why_no_queries is not None:
            return EncodedText(self.module.encode_text(ids, normalize=True)[0], None)
        tower = getattr(self.module, "text", self.module)
        if tower is self.module:
            found = tower.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        else:
            found = tower.forward_intermediates(ids, indices=1, normalize_intermediates=True, output_fmt="NLC")
        states = found["text_intermediates"][-1][0]  # position width
        return EncodedText(F.normalize(found["text_features"][0], dim=-1), states[list(tokenized.positions)])

    def embed_texts(self, texts: list[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, self._need_tower().projection.shape[1])
        batches = self._tokenizer(texts).to(self.device).split(TEXT_BATCH)
        return torch.cat([self.module.encode_text(ids, normalize=True) for ids in batches]).cpu()

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def lacks(self) -> Mapping[str, str]:
        if self._tower is None:
            return dict.fromkeys(CAPABILITIES, self._why_no_tower)
        return {} if self._why_no_queries is None else {"cross_attention": self._why_no_queries}

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        offered = {
            "cross_attention": lambda: self._cross_attention(image, text),
            "residual_stream": lambda: image.keep(
                "residual_stream", lambda: self._need_tower().residual_stream(image.features["pixels"])
            ),
        }
        return {name: compute for name, compute in offered.items() if name not in self.lacks()}

    def _cross_attention(self, image: EncodedImage, text: EncodedText) -> CrossAttention:
        tower = self._need_tower()
        dense = image.keep("dense", lambda: F.normalize(tower.dense(image.features["last_input"]), dim=-1))
        queries = F.normalize(_text_projection(self.module)(text.tokens), dim=-1)  # token embed
        temperature = self.module.logit_scale.exp()
        scores = temperature * (queries @ dense.T)  # token patch
        return CrossAttention(
            scores=scores[None, None],
            probs=torch.softmax(scores, dim=-1)[None, None],
            layers=(LAYER,),
            has_null=False,
            params={"temperature": float(temperature.detach()), "dense": "ClearCLIP"},
            notes=self._construction_notes(),
        )

    def _construction_notes(self) -> tuple[str, ...]:
        notes = [
            "This model has no cross-attention of its own; this one is made of its parts: W_Q is the text tower's "
            "projection, W_K the image tower's, both applied as trained, and the scores are exp(logit_scale) times "
            "the cosine of query and key.",
            "The keys are dense features of the image tower's last block: query-query attention, without residual "
            "and MLP (ClearCLIP, 2024).",
            "Only the pooled position of each text was trained against images, not the single words.",
        ]
        if getattr(getattr(self.module, "text", self.module), "attn_mask", None) is not None:
            notes.append("The text tower is causal: a word does not see the words after it.")
        notes.append("There is no null key: a word with no counterpart in the photo spreads over it all the same.")
        return tuple(notes)

    def _need_tower(self) -> VitTower:
        if self._tower is None:
            raise UnsupportedMethodError(
                f"No method here can explain {self.info.name}: {self._why_no_tower}. Choose a model that "
                "crossviz.models() lists."
            )
        return self._tower


def _tower_or_reason(visual: nn.Module) -> tuple[VitTower | None, str]:
    try:
        return vit_tower(visual), ""
    except UnsupportedMethodError as error:
        return None, str(error)


def _why_no_queries(module: nn.Module) -> str | None:
    """Why the text tower's token states can't be had in the shared space; None if they can."""
    text = getattr(module, "text", module)
    if not hasattr(text, "forward_intermediates") or not hasattr(text, "text_projection"):
        return f"its text tower is a {type(text).__qualname__}, whose token states are not in the space of the images"
    return None


def _text_projection(module: nn.Module) -> Callable[[Tensor], Tensor]:
    projection = getattr(module, "text", module).text_projection
    if projection is None:
        return lambda states: states
    if isinstance(projection, nn.Module):
        return projection
    return lambda states: states @ projection
