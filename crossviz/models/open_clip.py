"""The family `open_clip`: whatever open_clip can load, by ARCH/TAG or from a folder.

CLIP (Radford et al., 2021) has no cross-attention of its own. Its cross-attention here is a construction, made of
its own parts and said to be so on every result: softmax(exp(logit_scale) * cos(q, k)) with q = the text tower's last
token states times its projection (W_Q) and k = dense features of the image tower's last block times its projection
(W_K). That is `CrossModalAttention`'s formula with unit vectors, and the trained temperature for 1 / sqrt(d_k).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.capture import sites
from crossviz.errors import ModelUnavailableError
from crossviz.geometry import ImageView
from crossviz.models.base import EncodedText, Model, ModelInfo, Prepared, own_part
from crossviz.models.clip_cells import clip_cells, text_projection
from crossviz.models.clip_match import clip_match
from crossviz.models.clip_tokens import Tokenized, tokenize
from crossviz.models.open_clip_load import NOWHERE, WITHIN, Source, identity, infos, load, source_of
from crossviz.models.pixels import Preprocess
from crossviz.models.stages import stages
from crossviz.models.taken_apart import TakenApart, differs, take_apart
from crossviz.photo import Photo
from crossviz.trace import CrossAttention, EncodedImage

__all__ = ["OpenClip", "OpenClipModel"]

LAYER = "last block, dense"
TEXT_BATCH = 32
_OF_TOWER = ("image_tower", "image_attention", "image_row", "patch_texts")
T = TypeVar("T")


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
        self._why_no_queries = _why_no_queries(module)
        self._distrust = ""
        # Noise in place of a photo: what a tower's parts give is compared with the tower before they explain anything.
        height, width = self._preprocess.input_hw
        self._noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
        own = self._own_embedding()
        self.take_apart()
        self._width = own.shape[-1]
        self._distrust = differs(self._tower, own, self._noise)
        if self._distrust:
            self.take_apart()
        self.grid = self._tower.grid
        if self._tower.image is None:
            rows, columns = self.grid.height, self.grid.width
            self.notes = (
                f"The image tower of this model is run only as a whole ({self._tower.why_no_image}), so the photo is "
                f"divided into {rows} x {columns} cells, which need not be patches of the model's own.",
            )
        if "cross_attention" in self.lacks():
            within = "image_row" not in self.lacks()
            self.info = replace(self.info, attention_sentence=WITHIN if within else NOWHERE)

    def _own_embedding(self) -> Tensor:
        """The model's own embedding of the noise, `1 embed`."""
        try:
            with torch.no_grad():
                return self.module.encode_image(self._noise, normalize=True)
        except RuntimeError as error:
            height, width = self._preprocess.input_hw
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ModelUnavailableError(
                f"{self.info.name} can't be run: its image tower fails on {height} x {width} pixels ({reason}). "
                "Choose another model."
            ) from error

    def take_apart(self) -> None:
        self._tower: TakenApart = take_apart(self.module.visual, self._noise, self._distrust)

    @property
    def image_module(self) -> nn.Module:
        return self.module.visual

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        return stages(self.module)

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels, view = self._preprocess(photo)
        return pixels.to(self.device), view

    def tokenize(self, text: str) -> Tokenized:
        return tokenize(self._tokenizer, text)

    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        pixels, read_hw, vit = torch.cat([each.pixels for each in prepared]), self._tower.read_hw, self._tower.vit
        run = None if vit is None else vit.run(pixels)
        embeddings = self.module.encode_image(pixels) if run is None else run.embedding
        embeddings = F.normalize(embeddings, dim=-1)
        return [
            EncodedImage(
                photo=each.photo,
                # Patches need not fill the input: 27 patches of 14 pixels in 384 leave 6 unread.
                view=each.view if read_hw == each.view.input_hw else each.view.trimmed(read_hw),
                grid=each.grid,
                embedding=own_part(embeddings, i),
                features={"pixels": each.pixels} | ({} if run is None else {"last_input": own_part(run.last_input, i)}),
                model_key=self.key,
                model_name=self.info.name,
            )
            for i, each in enumerate(prepared)
        ]

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        ids = torch.cat([each.ids for each in tokenized]).to(self.device)
        if "cross_attention" in self.lacks():
            return [EncodedText(each, None) for each in self.module.encode_text(ids, normalize=True)]
        tower = getattr(self.module, "text", self.module)
        if tower is self.module:
            found = tower.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        else:
            found = tower.forward_intermediates(ids, indices=1, normalize_intermediates=True, output_fmt="NLC")
        states, embeddings = found["text_intermediates"][-1], F.normalize(found["text_features"], dim=-1)
        return [
            EncodedText(embeddings[i], states[i, list(each.positions)])  # token width
            for i, each in enumerate(tokenized)
        ]

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, self._width)
        batches = self._tokenizer(texts).to(self.device).split(TEXT_BATCH)
        return torch.cat([self.module.encode_text(ids, normalize=True) for ids in batches]).cpu()

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def lacks(self) -> Mapping[str, str]:
        tower = self._tower
        apart = "its texts and photos meet in no layer of it"
        missing = dict.fromkeys(("cross_pass", "image_to_text", "attention_graph"), apart)
        missing |= {"written_attention": "it writes nothing", "guesses": "it was not trained to guess hidden words"}
        if tower.vit is None:
            missing |= dict.fromkeys(("residual_stream", "cross_attention", "cells"), tower.why_no_vit)
        elif self._why_no_queries is not None:
            missing |= dict.fromkeys(("cross_attention", "cells"), self._why_no_queries)
        if tower.image is None:
            missing |= dict.fromkeys(_OF_TOWER, tower.why_no_image)
        elif not tower.image.blocks:
            title = type(getattr(self.module.visual, "trunk", self.module.visual)).__qualname__
            missing["image_attention"] = f"its image tower ({title}) has no blocks of attention over all patches"
            if tower.image.pooler is None:
                missing["image_row"] = f"its image tower ({title}) does not pool by attention"
        if tower.image is not None and tower.image.to_text is None:
            title = type(getattr(self.module.visual, "trunk", self.module.visual)).__qualname__
            missing["patch_texts"] = f"its image tower ({title}) has no way for a single place of its map to the texts"
        return missing

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        pixels, tower = image.features["pixels"], self._tower
        match = clip_match(self.module, self.embed_texts)
        offered = {
            "cross_attention": lambda: self._cross_attention(image, text),
            "residual_stream": lambda: _keep(image, "residual_stream", lambda: tower.vit.residual_stream(pixels)),
            "match": lambda: match,
            "image_tower": lambda: tower.image,
            "image_attention": lambda: True,
            "image_row": lambda: True,
            "patch_texts": lambda: True,
            "cells": lambda: clip_cells(
                LAYER,
                self.module,
                tower.vit,
                text.tokens,
                image.features["last_input"],
                self._cross_attention(image, text),
            ),
        }
        return {name: compute for name, compute in offered.items() if name not in self.lacks()}

    def together(self, images: Sequence[EncodedImage], needs: Sequence[str]) -> None:
        if "cross_attention" in needs and "cross_attention" not in self.lacks() and len(images) > 1:
            dense = self._dense(torch.stack([image.features["last_input"] for image in images]))
            for i, image in enumerate(images):
                _keep(image, "dense", lambda i=i: own_part(dense, i))

    def _dense(self, last_input: Tensor) -> Tensor:
        """The keys of one photo or of several: `... patch embed`."""
        return F.normalize(self._tower.vit.dense(last_input), dim=-1)

    def _cross_attention(self, image: EncodedImage, text: EncodedText) -> CrossAttention:
        dense = _keep(image, "dense", lambda: self._dense(image.features["last_input"]))
        queries = F.normalize(text_projection(self.module)(text.tokens), dim=-1)  # token embed
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


def _keep(image: EncodedImage, name: str, compute: Callable[[], T]) -> T:
    """What is kept with a photo has no gradient: a graph would be held for every later user of it."""
    with torch.no_grad():
        return image.keep(name, compute)


def _why_no_queries(module: nn.Module) -> str | None:
    """Why the text tower's token states can't be had in the shared space; None if they can."""
    text = getattr(module, "text", module)
    if not hasattr(text, "forward_intermediates") or not hasattr(text, "text_projection"):
        return f"its text tower is a {type(text).__qualname__}, whose token states are not in the space of the images"
    return None
