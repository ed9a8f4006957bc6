"""The family `crossviz-mini`: two small towers and a trained cross-attention between them, embedded in the package.

A model is a folder: open_clip's own (`open_clip_config.json`, `open_clip_model.safetensors`), the weights of the
`CrossModalAttention` (`cross_attention.safetensors`), and `crossviz.json` with its sizes and every file's sha256.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz import compat
from crossviz.attention import CrossModalAttention
from crossviz.capture import sites
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.about import check_files, one_line, read_about
from crossviz.models.base import EncodedText, Model, ModelInfo, Prepared, folder_state, own_part
from crossviz.models.clip_tokens import Tokenized, tokenize
from crossviz.models.mini_cells import cells
from crossviz.models.pixels import Preprocess
from crossviz.paths import assets_dir
from crossviz.photo import Photo
from crossviz.trace import CrossAttention, EncodedImage, ImageTower

__all__ = ["CrossvizMini"]

NAME = "crossviz-mini"
FILES = ("open_clip_config.json", "open_clip_model.safetensors", "cross_attention.safetensors")
LAYER = "cross-attention"
REMEDY = "install crossviz again, or name a folder that crossviz.training has exported"
_LACKS = {
    "residual_stream": "its image embedding comes from a convolutional network, which is no sum over heads and patches",
    "patch_texts": "its patches meet words in its cross-attention, and no single one is taken to where texts are",
    "written_attention": "it has no decoder, and writes nothing",
    "image_to_text": "its words look at the patches, and no patch looks at a word",
    "attention_graph": "its cross-attention's gradient is read by Chefer's relevance, together with its towers'",
    "guesses": "it was not trained to guess hidden words",
}
_NO_NULL = "its cross-attention has no null key, so it can't say that a word is not there"


class CrossvizMini:
    """The embedded model by the name "crossviz-mini"; another folder of the same kind by "crossviz-mini:FOLDER"."""

    name = NAME

    def infos(self, everything: bool) -> list[ModelInfo]:
        folder = self._folder(NAME)
        try:
            return [_info(NAME, _about(folder))]
        except ModelUnavailableError as error:
            return [_info(NAME, {}, available=False, reason=str(error))]

    def identity(self, name: str) -> tuple[str, str]:
        folder = self._folder(name)
        return str(folder), folder_state(folder)

    def load(self, name: str, device: torch.device) -> Model:
        folder = self._folder(name)
        about = _about(folder)
        check_files(folder, FILES, about, "install crossviz again")
        embedded = folder == self._folder(NAME)  # by whatever name it was asked for
        return _Mini(NAME if embedded else name, folder, about, device)

    @staticmethod
    def _folder(name: str) -> Path:
        if name == NAME:
            return (assets_dir() / "models" / NAME).resolve()
        path = name.removeprefix(f"{NAME}:")
        if not path:
            raise UnknownModelError(f"{name!r} names no folder: write {NAME}, or {NAME}: and a folder of such a model.")
        return Path(path).expanduser().resolve()


class _Mini(Model):
    notes = ()
    libraries = ("torch", "open_clip_torch", "timm", "numpy", "pillow")
    _compared = False

    def __init__(self, name: str, folder: Path, about: Mapping[str, Any], device: torch.device) -> None:
        open_clip = compat.import_open_clip()
        from crossviz.models import mini_parts  # registers the image tower with timm
        from crossviz.models.mini_text import text_states

        self.info = _info(name, about)
        self.device = device
        self._text_states, self._parts = text_states, mini_parts
        grid = about["grid"]
        self.grid = PatchGrid(grid["height"], grid["width"])
        try:
            # open_clip draws random weights first; the caller's random numbers stay as they are.
            with torch.random.fork_rng(devices=[]):
                clip = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
                attention = CrossModalAttention(**about["cross_attention"])
            attention.load_state_dict(load_file(folder / FILES[2]))
            self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        except Exception as error:
            raise ModelUnavailableError(
                f"The model folder {folder.name} can't be loaded ({one_line(error)}): install crossviz again, or "
                "export the model again with crossviz.training."
            ) from error
        self.module = nn.ModuleDict({"clip": clip, "attention": attention}).to(device).eval()
        if device.type == "cpu":
            clip.visual.trunk.to(memory_format=torch.channels_last)  # the same weights; passes 1.4 to 2 times as fast
        self._preprocess = Preprocess(clip.visual.preprocess_cfg)

    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        pixels, view = self._preprocess(photo)
        return pixels.to(self.device), view

    def tokenize(self, text: str) -> Tokenized:
        # One place is left for the pad that the text tower's mask needs.
        ids, positions, caption = tokenize(self._tokenizer, text, self._tokenizer.context_length - 1)
        return Tokenized(F.pad(ids, (0, 1)), positions, caption)

    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        state = self._parts.states(self.module["clip"].visual, torch.cat([each.pixels for each in prepared]))
        return [
            EncodedImage(
                photo=each.photo,
                view=each.view,
                grid=each.grid,
                embedding=own_part(state["embedding"], i),
                features={"patches": own_part(state["patches"], i), "pixels": each.pixels},
                model_key=self.key,
                model_name=self.info.name,
            )
            for i, each in enumerate(prepared)
        ]

    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        ids = torch.cat([each.ids for each in tokenized]).to(self.device)
        states = self._text_states(self.module["clip"].text, ids)
        return [
            EncodedText(F.normalize(states.pooled[i], dim=-1), states.tokens[i, : len(each.positions)])
            for i, each in enumerate(tokenized)
        ]

    def embed_texts(self, texts: list[str]) -> Tensor:
        length = self._tokenizer.context_length
        ids = F.pad(self._tokenizer(texts, context_length=length - 1), (0, 1)).to(self.device)
        return F.normalize(self._text_states(self.module["clip"].text, ids).pooled, dim=-1).cpu()

    def attention_sites(self) -> Mapping[str, nn.Module]:
        return sites(self.module)

    def lacks(self) -> Mapping[str, str]:
        without = {} if self.module["attention"].has_null_key else {"match": _NO_NULL, "cross_pass": _NO_NULL}
        return _LACKS | without

    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        visual, attention, parts = self.module["clip"].visual, self.module["attention"], self._parts
        ids, tower = tokenized.ids.to(self.device), self.module["clip"].text
        offered: dict[str, Callable[[], Any]] = {
            "cross_attention": lambda: self._cross_attention(image, text),
            "match": lambda: parts.match(visual, attention, tokenized.caption, text.tokens),
            "image_tower": lambda: self._image_tower(image),
            "image_attention": lambda: True,
            "image_row": lambda: True,
            "cross_pass": lambda: parts.cross_pass(tower, attention, LAYER, tokenized.caption, ids, text.tokens),
            "cells": lambda: cells(attention, LAYER, text.tokens, image.features["patches"]),
        }
        return {name: offer for name, offer in offered.items() if name not in self.lacks()}

    def _image_tower(self, image: EncodedImage) -> ImageTower:
        """The tower in parts; the first photo whose parts are asked for shows whether they give what the tower gives.

        A copy with other weights is not compared again: it is the same modules.
        """
        tower = self._parts.image_tower(self.module["clip"].visual)
        if not self._compared:
            own = {"patches": image.features["patches"][None], "embedding": image.embedding[None]}
            self._parts.check_parts(tower, image.features["pixels"], own)
            self._compared = True
        return tower

    @property
    def image_module(self) -> nn.Module:
        return self.module["clip"].visual

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        return self._parts.stages(self.module["clip"], self.module["attention"])

    def _cross_attention(self, image: EncodedImage, text: EncodedText) -> CrossAttention:
        out = self.module["attention"](text.tokens[None], image.features["patches"][None])
        return CrossAttention(
            scores=out.scores,  # batch of one stands for the one layer: layer head token key
            probs=out.probs,
            layers=(LAYER,),
            has_null=self.module["attention"].has_null_key,
            params={},
            notes=(
                "Trained cross-attention: W_Q, W_K and W_V were learned from photos with captions and marked phrases.",
                "A word with no counterpart in the photo gives its probability to the null key.",
            )
            if self.info.trained
            else ("The weights of this cross-attention were not trained: its maps mean nothing.",),
        )


def _info(name: str, about: Mapping[str, Any], *, available: bool = True, reason: str = "") -> ModelInfo:
    trained = bool(about.get("training", {}).get("trained", False))
    which = "The embedded model" if name == NAME else f"A model of {NAME}'s kind, from a folder"
    return ModelInfo(
        name=name,
        title=NAME,
        sentence=f"{which}: a small image tower, a small text tower and a cross-attention between them.",
        attention_sentence='query: text tokens, key: image patches and one null key, "not in this picture"',
        trained=trained,
        available=available,
        reason=reason,
    )


def _about(folder: Path) -> dict[str, Any]:
    return read_about(folder, {"cross_attention": dict, "grid": dict, "training": dict, "sha256": dict}, REMEDY)
