"""The family `vilt`: ViLT by transformers, by ORG/NAME or from a folder, and the embedded vilt-mini.

Kim et al., "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision" (2021). There is no image
tower: text tokens, an image token and the patches are one sequence from the first layer on, and the attention of every
layer goes from all of it to all of it. Its cross-attention is a block of that: the rows of the text tokens and the
columns of the patches, as they are; what went to other tokens is kept beside it, and nothing is renormalised.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crossviz.capture import sites
from crossviz.errors import UnsupportedMethodError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.base import EncodedText, Model, ModelInfo, Prepared
from crossviz.models.clip_tokens import Tokenized
from crossviz.models.vilt_attention import (
    Reading,
    attention_graph,
    image_to_text,
    layer_sites,
    reading,
    text_to_image,
)
from crossviz.models.vilt_cells import cells
from crossviz.models.vilt_heads import guesses, match_by_matching, match_by_words
from crossviz.models.vilt_load import FAMILY, Loaded, identity, infos, load
from crossviz.models.vilt_mini import MINI
from crossviz.models.vilt_parts import stages
from crossviz.photo import Photo
from crossviz.trace import EncodedImage
from crossviz.words import Phrase

__all__ = ["Vilt", "ViltModel"]

_ONE = "its photo and text are one sequence from the first layer on, and it has no image tower of its own"
_LACKS = {
    "residual_stream": _ONE,
    "image_tower": _ONE,
    "image_attention": _ONE,
    "image_row": _ONE,
    "patch_texts": "its patches meet words in its layers, and no single one is taken to where texts are",
    "cross_pass": "its cross-attention is a part of its layers' attention over the whole sequence, read as such",
    "written_attention": "it has no decoder, and writes nothing",
}
_NO_HEAD = "it has neither a matching head nor one that guesses hidden words"
_NO_MATCHING = "it has no matching head, whose answer a gradient could be taken of"
_NO_WORDS = "it has no head that guesses hidden words"


class Vilt:
    """Models by the names "vilt-mini" (the embedded one), "vilt:ORG/NAME" and "vilt:FOLDER"."""

    name = FAMILY
    embedded: ClassVar[tuple[str, ...]] = (MINI,)

    def infos(self, everything: bool) -> list[ModelInfo]:
        return infos()

    def identity(self, name: str) -> tuple[str, str]:
        return identity(name)

    def load(self, name: str, device: torch.device) -> Model:
        return ViltModel(load(name, device), device)


class ViltModel(Model):
    """A ViLT. Its grid follows each photo's shape: `EncodedImage.grid` counts, `grid` is that of a square photo."""

    notes = ("Text and patches are one sequence in this model: in every layer each token looks at all the others.",)

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        self.info = loaded.info
        self.device = device
        self.module = loaded.module.to(device).eval()
        self.libraries = loaded.libraries
        self._pieces = loaded.pieces
        self._pixels = loaded.pixels
        config = self.module.vilt.config
        side = config.image_size // config.patch_size
        self.grid = PatchGrid(side, side, 1)

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels, view, _ = self._pixels(photo)
        return pixels.to(self.device), view

    def tokenize(self, text: str) -> Tokenized:
        return self._pieces.tokenize(text)

    def hide(self, tokenized: Tokenized, words: Sequence[int]) -> Tokenized:
        if "guesses" in self.lacks():
            return super().hide(tokenized, words)
        return self._pieces.hide(tokenized, words)

    def prepare(self, photo: Photo) -> Prepared:
        pixels, view, grid = self._pixels(photo)
        return Prepared(photo, pixels.to(self.device), view, grid, self.key)

    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        return [self._encoded(each) for each in prepared]  # photos differ in size, and are little work here

    def _encoded(self, prepared: Prepared) -> EncodedImage:
        patches = self.module.photo(prepared.pixels)
        features = {"pixels": prepared.pixels, "patches": patches.states, "kept": patches.kept}
        return EncodedImage(prepared.photo, prepared.view, prepared.grid, None, features, self.key, self.info.name)

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        return [EncodedText(None, None)] * len(tokenized)

    def embed_texts(self, texts: list[str]) -> Tensor:
        raise UnsupportedMethodError(
            f"{self.info.name} has no embeddings of texts: it reads photo and text only together. Choose another "
            "model, or another method."
        )

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def lacks(self) -> Mapping[str, str]:
        missing = dict(_LACKS)
        words = self.module.mlm_score is not None and self._pieces.mask is not None
        matching = self.module.rank_output is not None and self.module.vilt.pooler is not None
        if not words:
            missing["guesses"] = _NO_WORDS
        if not matching:
            missing["attention_graph"] = _NO_MATCHING
        if not words and not matching:
            missing["match"] = _NO_HEAD
        return missing

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        module, pieces, caption = self.module, self._pieces, tokenized.caption
        ids, features = tokenized.ids.to(self.device), image.features
        lacks = self.lacks()
        layers, patches, kept = tuple(layer_sites(module)), image.grid.num_patches, features["kept"]
        read = _once(lambda: reading(module, ids, features["patches"]))
        told = (*self._about_photo(image), *((_UNTRAINED,) if not self.info.trained else ()))

        def match() -> Any:
            if "attention_graph" not in lacks:
                return match_by_matching(module, pieces, tokenized)
            return match_by_words(module, pieces, tokenized, lambda: read().out.text[0])

        def rows(phrase: Phrase) -> list[int]:
            return sorted({token for word in phrase.words for token in caption.words[word].tokens})

        offered: dict[str, Callable[[], Any]] = {
            "cross_attention": lambda: text_to_image(read(), layers, kept, patches, caption, told),
            "image_to_text": lambda: image_to_text(read(), layers, kept, patches, caption, told),
            "match": match,
            "attention_graph": lambda: attention_graph(module, ids, features["patches"], kept, patches, rows),
            "guesses": lambda: guesses(module, pieces, tokenized, read().out.text[0]),
            "cells": lambda: cells(module, ids, features["patches"], kept, patches, [t.text for t in caption.tokens]),
        }
        return {name: offer for name, offer in offered.items() if name not in lacks}

    def _about_photo(self, image: EncodedImage) -> tuple[str, ...]:
        left_out = image.grid.num_patches - len(image.features["kept"])
        if not left_out:
            return ()
        return (
            f"This model reads at most {len(image.features['kept'])} patches of a photo: {left_out} of this one's "
            f"{image.grid.num_patches}, drawn at random, were left out, and nothing can look at them.",
        )

    @property
    def image_module(self) -> nn.Module:
        return self.module.photo

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        return stages(self.module)


_UNTRAINED = "The weights of this model were not trained: its maps mean nothing."


def _once(compute: Callable[[], Reading]) -> Callable[[], Reading]:
    """`compute`, done when it is first asked for and kept."""
    lock, found = threading.Lock(), []

    def get() -> Reading:
        with lock:
            if not found:
                found.append(compute())
            return found[0]

    return get
