"""How attention is had elsewhere: transformers in eager mode, a page like BertViz', open_clip's bare forward.

The models are random, as large as those that people use.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from crossviz.compat import ensure_torchvision, import_open_clip
from crossviz.paths import assets_dir

__all__ = ["TransformersClip", "TransformersVilt", "bare_forward", "bertviz_page", "min_max_maps"]


class TransformersClip:
    """CLIP's ViT-B/16 image tower: where its class token looks, `layer head 14 14`."""

    def __init__(self) -> None:
        ensure_torchvision()
        from transformers import CLIPVisionConfig, CLIPVisionModel
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        config = CLIPVisionConfig(patch_size=16, attn_implementation="eager")
        self.model = CLIPVisionModel(config).eval()
        self.processor = CLIPImageProcessorPil()

    @torch.no_grad()
    def __call__(self, photo: Image.Image) -> Tensor:
        given = self.processor(photo, return_tensors="pt")
        attentions = torch.cat(self.model(**given, output_attentions=True).attentions)  # layer head query key
        return attentions[:, :, 0, 1:].unflatten(-1, (14, 14))


class TransformersVilt:
    """ViLT-B/32, saved to a folder that crossviz loads, too: where its text tokens look, `layer head token gh gw`.

    As in most notebooks the patches are taken in the order in which they stand in the sequence.
    """

    def __init__(self, folder: Path) -> None:
        ensure_torchvision()
        import transformers
        from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

        mini = assets_dir() / "models" / "vilt-mini"
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(mini / name, folder / name)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        config = transformers.ViltConfig(vocab_size=len(self.tokenizer))
        transformers.ViltModel(config).save_pretrained(folder)
        self.processor = ViltImageProcessorPil()
        self.processor.save_pretrained(folder)
        self.model = transformers.ViltModel.from_pretrained(folder, attn_implementation="eager").eval()

    @torch.no_grad()
    def attention(self, photo: Image.Image, caption: str) -> tuple[Tensor, int]:
        """All of it, `layer head query key`, and how many of the tokens are text."""
        text, image = self.tokenizer(caption, return_tensors="pt"), self.processor(photo, return_tensors="pt")
        out = self.model(input_ids=text["input_ids"], **image, output_attentions=True)
        return torch.cat(out.attentions), text["input_ids"].shape[1]

    def __call__(self, photo: Image.Image, caption: str) -> Tensor:
        attention, count = self.attention(photo, caption)
        rows = attention[:, :, 1 : count - 1, count + 1 :]  # without [CLS] and [SEP], and the image token
        return rows.unflatten(-1, (round(rows.shape[-1] ** 0.5), -1))


def min_max_maps(maps: Tensor, size_hw: tuple[int, int]) -> int:
    """Each map drawn out to the photo and stretched to 0..1 by itself, one by one; how many they are."""
    flat = maps.reshape(-1, *maps.shape[-2:])
    for values in flat:
        drawn = F.interpolate(values[None, None], size_hw, mode="bilinear", align_corners=False)[0, 0]
        (drawn - drawn.min()) / (drawn.max() - drawn.min() + 1e-8)
    return len(flat)


def bertviz_page(attention: Tensor, *, digits: int | None = None) -> bytes:
    """A page with the attention as nested lists in JSON, as BertViz' `model_view` and `head_view` make it.

    Their scripts, which they take from elsewhere, are left out.

    Args:
        attention: `layer head query key`.
        digits: of each number; as Python writes it (and BertViz does) if None.
    """
    numbers = attention.double().round(decimals=digits) if digits is not None else attention
    tokens = [[str(place) for place in range(count)] for count in attention.shape[-2:]]
    shown = {"attn": numbers.tolist(), "left_text": tokens[0], "right_text": tokens[1]}
    data = json.dumps({"attention": [shown], "default_filter": "0", "display_mode": "light"})
    return f"<html><body><div id='view'></div><script>const params = {data};</script></body></html>".encode()


def bare_forward(model: str) -> tuple[Callable[[Image.Image, str], Any], Callable[[str], Any]]:
    """open_clip's own towers by its own preprocessing and tokenizer: both, and the text's alone.

    Args:
        model: an architecture, with random weights, or "local-dir:" and a folder.
    """
    open_clip = import_open_clip()
    module, _, preprocess = open_clip.create_model_and_transforms(model)
    tokenizer = open_clip.get_tokenizer(model)
    module.eval()

    @torch.inference_mode()
    def text(caption: str) -> Tensor:
        return module.encode_text(tokenizer([caption]), normalize=True)

    @torch.inference_mode()
    def both(photo: Image.Image, caption: str) -> Tensor:
        image = module.encode_image(preprocess(photo)[None], normalize=True)
        return image @ text(caption).T

    return both, text
