"""The family `coca`: open_clip's CoCa (Yu et al., "CoCa: Contrastive Captioners", 2022), which writes captions.

Its decoder looks at the photo in every layer, through the queries of an attention pooler. What is explained here is
that decoder; the contrastive half, which its towers make up without it, is what the family `open_clip` explains.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.capture import sites
from crossviz.errors import ModelError, ModelUnavailableError, UnsupportedMethodError
from crossviz.geometry import ImageView
from crossviz.models.base import EncodedText, Model, ModelInfo, Prepared
from crossviz.models.clip_tokens import Tokenized, tokenize
from crossviz.models.coca_attention import attention_graph, composed, written
from crossviz.models.coca_cells import cells
from crossviz.models.coca_load import MINI, coca_identity, coca_infos, coca_source, is_mini, load_coca
from crossviz.models.coca_parts import PooledImage, coca_parts, pooled_images
from crossviz.models.coca_stages import stages
from crossviz.models.coca_words import SENTENCE, caption_match
from crossviz.models.coca_write import can_write, write
from crossviz.models.open_clip_load import Source
from crossviz.models.pixels import Preprocess
from crossviz.photo import Photo
from crossviz.trace import EncodedImage

__all__ = ["Coca", "CocaModel"]

TEXT_BATCH = 32
_LACKS = {
    "cross_pass": "its decoder looks at the pooler's queries, and has several layers of its own",
    "image_to_text": "its words look at the photo, and no patch looks at a word",
    "guesses": "its decoder was trained to write the next word, not to guess hidden ones",
}
_HALF = ("residual_stream", "image_tower", "image_attention", "image_row", "patch_texts")
"""What belongs to the contrastive half."""


class Coca:
    """Models by the names "coca-mini" (embedded), "coca:ARCH/TAG", "coca:ARCH" (random weights) and "coca:FOLDER"."""

    name = "coca"
    embedded = (MINI,)

    def infos(self, everything: bool) -> list[ModelInfo]:
        return coca_infos(everything)

    def identity(self, name: str) -> tuple[str, str]:
        return coca_identity(name)

    def load(self, name: str, device: torch.device) -> Model:
        source = coca_source(name)
        return CocaModel(source, *load_coca(source, device), device)


class CocaModel(Model):
    """A CoCa of open_clip's."""

    libraries = ("torch", "open_clip_torch", "timm", "numpy", "pillow")

    def __init__(self, source: Source, module: nn.Module, tokenizer: Any, device: torch.device) -> None:
        self.info = source.info
        self.device = device
        self.module = module.to(device).eval()
        self._tokenizer = tokenizer
        self._length = min(tokenizer.context_length, module.text.context_length, module.text_decoder.context_length)
        self._preprocess = Preprocess(module.visual.preprocess_cfg)
        height, width = self._preprocess.input_hw
        noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
        try:
            self._parts = coca_parts(self.module, noise)
        except UnsupportedMethodError as error:
            raise ModelUnavailableError(
                f"{self.info.name} can't be explained: {error}. Choose another model."
            ) from error
        self.grid = self._parts.grid
        self.writes = can_write(tokenizer)
        self._own_tower = not is_mini(source)

    @property
    def image_module(self) -> nn.Module:
        return self.module.visual

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        return stages(self.module, self._parts)

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels, view = self._preprocess(photo)
        return pixels.to(self.device), view

    def tokenize(self, text: str) -> Tokenized:
        found = tokenize(self._tokenizer, text, self._length)
        if found.positions != tuple(range(len(found.positions))):
            raise ModelError(
                f"The tokenizer of {self.info.name} puts padding between a caption's tokens, and its decoder would "
                "read that as words: choose another model."
            )
        return found

    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        found = pooled_images(self.module, self._parts, torch.cat([each.pixels for each in prepared]))
        return [self._encoded(*each) for each in zip(prepared, found, strict=True)]

    def _encoded(self, prepared: Prepared, found: PooledImage) -> EncodedImage:
        view, read_hw = prepared.view, self._parts.read_hw
        return EncodedImage(
            photo=prepared.photo,
            view=view if read_hw == view.input_hw else view.trimmed(read_hw),
            grid=prepared.grid,
            embedding=found.embedding,
            features={
                "pixels": prepared.pixels,
                "tokens": found.tokens,
                "pooler_scores": found.scores,
                "pooler_probs": found.probs,
            },
            model_key=self.key,
            model_name=self.info.name,
        )

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        ids = torch.cat([each.ids for each in tokenized]).to(self.device)
        embeddings, states = self.module._encode_text(ids, normalize=True)
        return [EncodedText(embeddings[i], states[i, : len(each.positions)]) for i, each in enumerate(tokenized)]

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, self.module.text.output_dim)
        batches = self._tokenizer(texts, context_length=self._length).to(self.device).split(TEXT_BATCH)
        return torch.cat([self.module.encode_text(ids, normalize=True) for ids in batches]).cpu()

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def lacks(self) -> Mapping[str, str]:
        if self._own_tower:
            half = "its image tower by itself is explained when the same weights are loaded by the family open_clip"
        else:
            half = "its image tower is that of crossviz-mini, which explains it"
        return {**_LACKS, **dict.fromkeys(_HALF, half)}

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        module, parts, caption, states = self.module, self._parts, tokenized.caption, text.tokens.detach()
        pooled = _pooled(image)
        return {
            "cross_attention": lambda: composed(module, parts, pooled, states),
            "written_attention": lambda: written(composed(module, parts, pooled, states)),
            "match": lambda: caption_match(module, states, caption),
            "attention_graph": lambda: attention_graph(module, parts, pooled, states, caption, SENTENCE),
            "cells": lambda: cells(module, parts, image, pooled, states),
        }

    def captions(self, image: EncodedImage, longest: int) -> Iterator[str]:
        if not self.writes:
            raise UnsupportedMethodError(
                f"{self.info.name} writes no captions here: its tokenizer ({type(self._tokenizer).__name__}) is not "
                "open_clip's own. Choose coca-mini, or another CoCa."
            )
        return write(self.module, self._tokenizer, image.features["tokens"], longest)


def _pooled(image: EncodedImage) -> PooledImage:
    features = image.features
    return PooledImage(image.embedding, features["tokens"], features["pooler_scores"], features["pooler_probs"])
