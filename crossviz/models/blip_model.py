"""What BLIP's matching model and its captioner have in common: the image tower, the text layers, their attention."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.capture import capture, sites
from crossviz.cell_source import CellSources
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.base import EncodedText, Model, Prepared, own_part
from crossviz.models.blip_cells import cells
from crossviz.models.blip_load import Loaded
from crossviz.models.blip_stages import stages
from crossviz.models.blip_text import text_pass
from crossviz.models.clip_tokens import Tokenized
from crossviz.photo import Photo
from crossviz.trace import AttentionGraph, CrossAttention, EncodedImage, Match
from crossviz.words import Caption, Phrase

__all__ = ["BlipModel"]

KEY_KIND = "image patches, then the image token"
PHOTO_BATCH = 8
"""Photos that go through the image tower together."""
_WHOLE = "its texts read the last states of its image tower, which is run as a whole"
LACKS = {
    "residual_stream": "its answer is made in its text layers, and is no sum over heads and patches of its image tower",
    "image_tower": _WHOLE,
    "image_attention": _WHOLE,
    "image_row": _WHOLE,
    "patch_texts": "its patches meet words in its text layers, and no single one is taken to where texts are",
    "cross_pass": "its cross-attention lies in many layers, and is read in all of them",
    "image_to_text": "its words look at the patches, and no patch looks at a word",
    "guesses": "it was not trained to guess hidden words",
}
"""What neither of the two offers."""


class BlipModel(Model):
    """One of the two, as transformers has it."""

    libraries = ("torch", "transformers", "tokenizers", "numpy", "pillow")
    unit: str
    """Of the match, and of the score whose gradient is taken."""
    match_sentence: str
    graph_sentence: str
    readable: Callable[[Tensor], Tensor]
    readable_unit: str
    attention_notes: tuple[str, ...]

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        self.info = loaded.info
        self.device = device
        self.module = loaded.module.to(device).eval()
        self._loaded = loaded
        self.grid = PatchGrid(loaded.patches_per_side, loaded.patches_per_side, 1)
        self.take_apart()
        self._layers = tuple(f"layer {i + 1}" for i in range(len(self.text_model.encoder.layer)))

    @property
    @abstractmethod
    def text_model(self) -> nn.Module:
        """The BlipTextModel."""

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels = self._loaded.pixels(photo).to(self.device)
        return pixels, ImageView.squash(photo.wh, tuple(pixels.shape[-2:]))

    def tokenize(self, text: str) -> Tokenized:
        return self._loaded.tokenize(text)

    def image_states(self, pixels: Tensor) -> Tensor:
        """The image tower's last states, `batch key dim`: of the class token, then of the patches row by row."""
        return self.module.vision_model(pixel_values=pixels).last_hidden_state

    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        found = self.image_states(torch.cat([each.pixels for each in prepared]))
        return [self._encoded(each, own_part(found, i)[None]) for i, each in enumerate(prepared)]

    def _encoded(self, prepared: Prepared, states: Tensor) -> EncodedImage:
        view, features = prepared.view, {"pixels": prepared.pixels, "states": states}
        if self._loaded.read_hw != view.input_hw:  # patches need not fill the input
            view = view.trimmed(self._loaded.read_hw)
        embedding = self.embedding(states)
        return EncodedImage(prepared.photo, view, prepared.grid, embedding, features, self.key, self.info.name)

    def embedding(self, states: Tensor) -> Tensor | None:
        """One photo in the space of the texts, where there is one."""
        return None

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        return stages(self.module)

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        states = image.features["states"].detach()
        return {
            "cross_attention": lambda: self.cross_attention(tokenized, states),
            "attention_graph": lambda: self._attention_graph(tokenized, states),
            "cells": lambda: self._cells(tokenized, states),
            "match": lambda: Match(
                unit=self.unit,
                sentence=self.match_sentence,
                state=self._state,
                score=lambda state, phrases: self.match_scores(state, tokenized, phrases),
                readable=self.readable,
                readable_unit=self.readable_unit,
            ),
        }

    @abstractmethod
    def match_scores(self, states: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        """How well photos match phrases of a caption: image states `batch key dim` to `batch phrase`."""

    @abstractmethod
    def graph_scores(self, tokens: Tensor, tokenized: Tokenized, phrases: Sequence[Phrase]) -> Tensor:
        """The score of the caption's phrases, from its token states `1 token dim` to `phrase`."""

    def rows(self, caption: Caption, phrase: Phrase) -> Sequence[int]:
        """The positions whose attention is a phrase's."""
        return caption.tokens_of(phrase)

    def read(self, ids: Tensor, states: Tensor) -> Tensor:
        """Texts with photos through the text layers, by the model's own code: token states `batch token dim`."""
        return self.text_model(
            input_ids=ids, encoder_hidden_states=states, is_decoder=self.writes, use_cache=False
        ).last_hidden_state

    @torch.no_grad()
    def _state(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.image_states(part) for part in pixels.split(PHOTO_BATCH)])

    @torch.no_grad()
    def cross_attention(self, tokenized: Tokenized, states: Tensor) -> CrossAttention:
        """Of every text layer, with the class token's key after the patches'."""
        layers = self.text_model.encoder.layer
        looked = {label: layer.crossattention.self for label, layer in zip(self._layers, layers, strict=True)}
        with capture(looked) as captured:
            self.read(tokenized.ids.to(self.device), states)
        return CrossAttention(
            scores=torch.cat([captured[label].scores for label in looked]).roll(-1, -1),
            probs=torch.cat([captured[label].probs for label in looked]).roll(-1, -1),
            layers=self._layers,
            has_null=False,
            params={},
            notes=self.attention_notes,
            key_kind=KEY_KIND,
        )

    def _cells(self, tokenized: Tokenized, states: Tensor) -> CellSources:
        ids = tokenized.ids.to(self.device)
        return cells(self.text_model, self._layers, lambda: self.read(ids, states))

    def _attention_graph(self, tokenized: Tokenized, states: Tensor) -> AttentionGraph:
        passed = text_pass(self.text_model, tokenized.ids.to(self.device), states, causal=self.writes)
        return AttentionGraph(
            probs=passed.cross,
            layers=self._layers,
            score=lambda phrases: self.graph_scores(passed.states, tokenized, phrases),
            unit=self.unit,
            sentence=self.graph_sentence,
            rows=lambda phrase: self.rows(tokenized.caption, phrase),
            to_patches=lambda per_key: per_key[..., 1:],  # the class token comes first
            joint=False,
            text_probs=passed.text,
        )
