"""transformers' ViLT with the heads that its files hold, its patches brought back into the order of the photo.

Kim et al., "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision" (2021): the text tokens,
an image token and the patches are one sequence, and every layer's attention goes from all of it to all of it.

transformers draws the order of the patches anew with every pass, and with `max_image_length` which of them are read at
all. Here they are drawn with a seed, and put back row by row; the text and the answer don't depend on the order.
"""

import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Joint", "Patches", "ViltModule", "ViltPhoto", "joint", "layer_inputs", "stages"]

SEED = 0
_drawing = threading.Lock()
"""Held while torch's own random numbers are set aside: two at once would set aside each other's."""


class Patches(NamedTuple):
    """Photos before the first layer."""

    states: Tensor  # batch 1+kept dim; the image token, then the patches row by row; with their positions
    kept: Tensor  # kept; the patches that are read, in reading order: all, unless the model leaves some out


class Joint(NamedTuple):
    """Texts and photos after the last layer."""

    text: Tensor  # batch token dim; after the last norm
    pooled: Tensor | None  # batch dim; what the matching head reads


class ViltPhoto(nn.Module):
    """All that a photo goes through before it meets a text.

    Args:
        embeddings: transformers' ViltEmbeddings.
        tower: an image tower whose patches are ViLT's pixels; None where those are the photo's own.
    """

    def __init__(self, embeddings: nn.Module, tower: nn.Module | None) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.tower = tower

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Patches:
        """Photos `batch 3 height width`, all of them without padding. What is read of one does not depend on others."""
        found = [_embed(self.embeddings, part) for part in self._read(pixels).split(1)]
        return Patches(torch.cat([part.states for part in found]), found[0].kept)

    def _read(self, pixels: Tensor) -> Tensor:
        if self.tower is None:
            return pixels
        if pixels.device.type == "cpu":
            pixels = pixels.contiguous(memory_format=torch.channels_last)  # as the tower's convolutions are there
        tokens = torch.cat([self.tower.forward_dense(part)[1] for part in pixels.split(8)])  # batch 24*24 256
        side = self.embeddings.config.image_size
        return tokens.transpose(1, 2).unflatten(2, (side, side))


class ViltModule(nn.Module):
    """The model with its heads; parameters are named as in transformers' own classes.

    Args:
        vilt: transformers' ViltModel.
        words: its ViltMLMHead, which guesses hidden words.
        match: the linear layer that tells whether photo and text belong together.
    """

    def __init__(self, vilt: nn.Module, words: nn.Module | None, match: nn.Module | None) -> None:
        super().__init__()
        self.vilt = vilt
        self.mlm_score = words
        self.rank_output = match
        self.photo = ViltPhoto(vilt.embeddings, None)


def joint(model: ViltModule, ids: Tensor, patches: Tensor) -> Joint:
    """Run texts and photos through all layers, by the model's own code.

    Args:
        model: the model.
        ids: token ids `batch token`, without padding; or `1 token` for all photos.
        patches: `Patches.states`, `batch 1+kept dim`.
    """
    out = _run(model, ids, patches)
    return Joint(out.last_hidden_state[:, : ids.shape[1]], out.pooler_output)


def layer_inputs(model: ViltModule, ids: Tensor, patches: Tensor) -> tuple[Tensor, ...]:
    """What enters each layer, `batch token+1+kept dim`, and what leaves the last one; arguments as `joint`."""
    return _run(model, ids, patches, output_hidden_states=True).hidden_states


def _run(model: ViltModule, ids: Tensor, patches: Tensor, **more: bool) -> Any:
    ids = ids.expand(len(patches), -1)
    return model.vilt(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        image_embeds=patches,
        pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        return_dict=True,
        **more,
    )


def stages(model: ViltModule) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
    """The weights from the answer down to the pixels, every parameter once.

    The word embeddings, which the masked-word head shares, count to the embeddings.
    """
    vilt, taken = model.vilt, {id(parameter) for parameter in model.vilt.embeddings.parameters()}
    tops = [part for part in (model.mlm_score, model.rank_output, vilt.pooler, vilt.layernorm) if part is not None]
    top: list[Any] = [p for part in tops for p in part.parameters() if id(p) not in taken]
    found: list[tuple[str, list[nn.Module | nn.Parameter]]] = [("heads", top)]
    layers = list(vilt.encoder.layer)
    found += [(f"layer {number}", [layers[number - 1]]) for number in range(len(layers), 0, -1)]
    found.append(("embeddings", [vilt.embeddings]))
    if model.photo.tower is not None:
        found.append(("crossviz-mini's image tower", [model.photo.tower]))  # ViLT has none of its own
    return found


def _embed(embeddings: nn.Module, pixels: Tensor) -> Patches:
    """One photo, `1 channel height width`."""
    mask = torch.ones(1, *pixels.shape[2:], dtype=torch.long, device=pixels.device)
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        states, _, (places, (_, width)) = embeddings.visual_embed(
            pixels, mask, max_image_length=embeddings.config.max_image_length
        )
    numbers = places[0, :, 0] * width + places[0, :, 1]  # row, column
    order = numbers.argsort()
    return Patches(torch.cat([states[:, :1], states[:, 1:][:, order]], dim=1), numbers[order])
