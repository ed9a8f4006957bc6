"""Names of BLIP models, and how they become a loaded model or one clear sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.errors import ModelUnavailableError
from crossviz.models import hub, transformers_load
from crossviz.models.about import says_trained
from crossviz.models.base import ModelInfo
from crossviz.models.clip_tokens import Tokenized
from crossviz.models.hub import Place
from crossviz.models.vilt_tokens import Pieces
from crossviz.photo import Photo

__all__ = ["Loaded", "identity", "infos", "load"]

FAMILY = "blip"
MATCHER, CAPTIONER = "BlipForImageTextRetrieval", "BlipForConditionalGeneration"
CHOICE = {
    "Salesforce/blip-itm-base-coco": MATCHER,
    "Salesforce/blip-itm-large-coco": MATCHER,
    "Salesforce/blip-itm-base-flickr": MATCHER,
    "Salesforce/blip-image-captioning-base": CAPTIONER,
    "Salesforce/blip-image-captioning-large": CAPTIONER,
}
"""What `crossviz.models()` lists of this family."""
_DOES = {
    MATCHER: "tells whether a photo and a text belong together",
    CAPTIONER: "writes captions",
}
_LOOKS = {
    MATCHER: "query: text tokens, key: image patches and the image token; in every layer of its text encoder",
    CAPTIONER: "query: text tokens, key: image patches and the image token; in every layer of its text decoder",
}
START_TOKEN = "[DEC]"
"""What the captioner's texts begin with; no token of its tokenizer."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A BLIP with what belongs to it."""

    info: ModelInfo
    writes: bool
    """Whether it is the captioner."""
    module: nn.Module
    tokenizer: Any
    processor: Any
    """transformers' BlipImageProcessorPil."""

    @property
    def patches_per_side(self) -> int:
        """Of the image tower's grid, which is square."""
        vision = self.module.config.vision_config
        return vision.image_size // vision.patch_size

    @property
    def read_hw(self) -> tuple[int, int]:
        """Height and width of the pixels that the patches cover."""
        side = self.patches_per_side * self.module.config.vision_config.patch_size
        return side, side

    def pixels(self, photo: Photo) -> Tensor:
        """The photo squashed to the image tower's size, `1 3 side side`."""
        return self.processor(photo.image(), return_tensors="pt")["pixel_values"]

    @property
    def ends(self) -> tuple[int, int]:
        """The ids that a text begins and ends with."""
        own = self.tokenizer
        return (self.module.config.text_config.bos_token_id if self.writes else own.cls_token_id), own.sep_token_id

    @property
    def marks(self) -> list[int]:
        """The ids that are no text: `decode` leaves them out."""
        return sorted({*self.ends, *self.tokenizer.all_special_ids})

    @property
    def longest(self) -> int:
        """Tokens that the text layers read, both ends included."""
        return self.module.config.text_config.max_position_embeddings

    def ids(self, text: str) -> Tensor:
        """Any text as the model reads it, `1 token`."""
        return self._begun(Pieces(self.tokenizer, self.longest).ids(text))

    def tokenize(self, text: str) -> Tokenized:
        """A caption as the model reads it, as `Model.tokenize`."""
        ids, positions, caption = Pieces(self.tokenizer, self.longest).tokenize(text)
        if self.writes:
            first = replace(caption.tokens[0], id=self.ends[0], text=START_TOKEN)
            caption = replace(caption, tokens=(first, *caption.tokens[1:]))
        return Tokenized(self._begun(ids), positions, caption)

    def _begun(self, ids: Tensor) -> Tensor:
        """The ids with the model's own start in the place of the tokenizer's."""
        return torch.cat([torch.full_like(ids[:, :1], self.ends[0]), ids[:, 1:]], 1)

    def decode(self, ids: list[int]) -> str:
        """Token ids as text, special tokens left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def infos() -> list[ModelInfo]:
    """The choice of the hub's models; available are those whose weights are on this machine."""
    found = []
    for repository, kind in CHOICE.items():
        place = hub.place_of(f"{FAMILY}:{repository}", FAMILY)
        reason = transformers_load.available(place)
        found.append(_info(place, kind, available=not reason, reason=reason))
    return found


def identity(name: str) -> tuple[str, str]:
    """As `Family`."""
    return hub.identity(hub.place_of(name, FAMILY))


def load(name: str) -> Loaded:
    """The model on the CPU.

    Raises:
        UnknownModelError: the name is none of a model.
        ModelUnavailableError: it can't be loaded here; the message names the model, the reason and what to do.
    """
    place = hub.place_of(name, FAMILY)
    transformers = transformers_load.require_transformers(place.name)
    folder = transformers_load.fetch(place)
    with transformers_load.loading(place):
        kind = _kind(place, transformers_load.read_config(place, folder))
        module = transformers_load.pretrained(getattr(transformers, kind), place, folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        processor = _processor(place, folder, module.config.vision_config)
        return Loaded(_info(place, kind, trained=says_trained(folder)), kind == CAPTIONER, module, tokenizer, processor)


def _kind(place: Place, config: Mapping[str, Any]) -> str:
    """Which of the two it is.

    Raises:
        ModelUnavailableError: it is neither, or looks at no photo.
    """
    kinds = config.get("architectures") or []
    if len(kinds) != 1 or kinds[0] not in _DOES:
        raise ModelUnavailableError(
            f"{place.name} is a {', '.join(map(str, kinds)) or 'model of no named class'}: of BLIP's models {MATCHER} "
            f"and {CAPTIONER} are read."
        )
    if (config.get("text_config") or {}).get("is_decoder", True) is False:
        raise ModelUnavailableError(f"The text layers of {place.name} have no cross-attention: choose another model.")
    return kinds[0]


def _processor(place: Place, folder: Path, vision: Any) -> Any:
    """The image processor that belongs to the model.

    Raises:
        ModelUnavailableError: its pixels are not the whole photo at the image tower's size.
    """
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    size = {"height": vision.image_size, "width": vision.image_size}
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return BlipImageProcessorPil(size=size)
    processor = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
    own = {side: processor.size.height if side == "height" else processor.size.width for side in size}
    if own != size or not processor.do_resize or getattr(processor, "do_center_crop", None):
        raise ModelUnavailableError(
            f"The image processor of {place.name} does not bring the whole photo to {size['height']} x "
            f"{size['width']} pixels, which its image tower reads: correct its preprocessor_config.json."
        )
    return processor


def _info(place: Place, kind: str, *, trained: bool = True, available: bool = True, reason: str = "") -> ModelInfo:
    return ModelInfo(
        name=place.name,
        title=place.title,
        sentence=f"{place.title}, a BLIP that {_DOES[kind]}, loaded by transformers.",
        attention_sentence=_LOOKS[kind],
        trained=trained,
        available=available,
        reason=reason,
    )
