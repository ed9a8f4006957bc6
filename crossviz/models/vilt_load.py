"""Names of ViLT models, and how they become a loaded model or one clear sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossviz.errors import ModelUnavailableError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models import hub, transformers_load
from crossviz.models.about import ABOUT
from crossviz.models.base import ModelInfo, folder_state
from crossviz.models.hub import Place
from crossviz.models.shared_tower import tower_folder
from crossviz.models.vilt_mini import MINI, on_tower, read_about
from crossviz.models.vilt_parts import ViltModule
from crossviz.models.vilt_pixels import OwnPixels
from crossviz.models.vilt_tokens import Pieces
from crossviz.paths import assets_dir
from crossviz.photo import Photo

__all__ = ["FAMILY", "Loaded", "identity", "infos", "load"]

FAMILY = "vilt"
CHOICE = {
    "dandelin/vilt-b32-mlm": "guesses hidden words",
    "dandelin/vilt-b32-finetuned-coco": "tells whether a photo and a text belong together",
    "dandelin/vilt-b32-finetuned-flickr30k": "tells whether a photo and a text belong together",
}
"""What `crossviz.models()` lists of the hub's, and what each does."""
LOOKS = "query: text tokens, key: image patches, the image token and the text tokens; all are one sequence"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A ViLT with what belongs to it."""

    info: ModelInfo
    module: ViltModule
    pieces: Pieces
    pixels: Callable[[Photo], tuple[Tensor, ImageView, PatchGrid]]
    libraries: tuple[str, ...]


def infos() -> list[ModelInfo]:
    """The embedded model where it is there, and a choice of the hub's; available are those that need no download."""
    found = []
    mini = _place(MINI)
    if mini.folder is not None and mini.folder.is_dir():
        found.append(_listed(mini, _DOES_MINI))
    return found + [_listed(_place(f"{FAMILY}:{repository}"), does) for repository, does in CHOICE.items()]


def identity(name: str) -> tuple[str, str]:
    """As `Family`; a model that stands on crossviz-mini's tower changes with it."""
    place = _place(name)
    source, state = hub.identity(place)
    about = place.folder / ABOUT if place.folder is not None else None
    if about is not None and about.is_file():
        state += "\n" + folder_state(tower_folder())
    return source, state


def load(name: str, device: torch.device) -> Loaded:
    """The model; on the CPU, but for a tower that is shared with crossviz-mini on `device`.

    Raises:
        UnknownModelError: the name is none of a model.
        ModelUnavailableError: it can't be loaded here; the message names the model, the reason and what to do.
    """
    place = _place(name)
    transformers = transformers_load.require_transformers(place.name)
    folder = transformers_load.fetch(place)
    about = read_about(place, folder)
    with transformers_load.loading(place):
        if transformers_load.read_config(place, folder).get("model_type") != "vilt":
            raise ModelUnavailableError(f"{place.name} is no ViLT: choose another model.")
        config = transformers.ViltConfig.from_pretrained(folder, local_files_only=True)
        module = _module(place, folder, config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        pieces = Pieces(tokenizer, config.max_position_embeddings)
        pixels: Callable[[Photo], tuple[Tensor, ImageView, PatchGrid]]
        if about is None and config.num_channels != 3:
            raise ModelUnavailableError(
                f"{place.name} reads pixels of {config.num_channels} channels, and photos have 3: what its pixels are "
                f"must be said in {ABOUT}."
            )
        if about is None:
            pixels, parts = OwnPixels(_processor(place, folder), config.patch_size), ()
        else:
            pixels, parts = on_tower(place, about, module, device), ("open_clip_torch", "timm")
    trained = about is None or bool(about.get("training", {}).get("trained", False))
    does = " and ".join(
        what
        for head, what in ((module.mlm_score, "guesses hidden words"), (module.rank_output, _MATCHES))
        if head is not None
    )
    return Loaded(
        _info(place, does or "reads photo and text as one", trained=trained),
        module.eval(),
        pieces,
        pixels,
        ("torch", "transformers", "tokenizers", *parts, "numpy", "pillow"),
    )


_MATCHES = "tells whether a photo and a text belong together"
_DOES_MINI = f"guesses hidden words and {_MATCHES}"


def _place(name: str) -> Place:
    mini = Place(MINI, (assets_dir() / "models" / MINI).resolve(), "")
    place = mini if name == MINI else hub.place_of(name, FAMILY)
    return mini if place.folder == mini.folder else place  # by whatever name it was asked for


def _module(place: Place, folder: Path, config: Any) -> ViltModule:
    """The model with the heads that its files hold."""
    from transformers.models.vilt.modeling_vilt import ViltMLMHead, ViltModel

    weights = transformers_load.read_weights(folder)
    if not any(name.startswith("vilt.") for name in weights):
        weights = {f"vilt.{name}": tensor for name, tensor in weights.items()}  # saved without a head
    if "mlm_score.bias" in weights:  # as transformers had it before version 5
        weights.setdefault("mlm_score.decoder.bias", weights.pop("mlm_score.bias"))
    config._attn_implementation = "eager"  # a mask of numbers, which is added
    has = {
        part: any(name.startswith(part) for name in weights) for part in ("vilt.pooler.", "mlm_score.", "rank_output.")
    }
    module = ViltModule(
        ViltModel(config, add_pooling_layer=has["vilt.pooler."]),
        ViltMLMHead(config) if has["mlm_score."] else None,
        nn.Linear(config.hidden_size, 1) if has["rank_output."] else None,
    )
    if module.mlm_score is not None:
        module.mlm_score.decoder.weight = module.vilt.embeddings.text_embeddings.word_embeddings.weight
        weights.pop("mlm_score.decoder.weight", None)
    named = dict(module.named_parameters())
    transformers_load.check_complete(
        place, [name for name, own in named.items() if name not in weights or weights[name].shape != own.shape]
    )
    with torch.no_grad():
        for name, own in named.items():
            own.copy_(weights[name])
    return module


def _processor(place: Place, folder: Path) -> Any:
    """The image processor that belongs to the model, the one of numpy and Pillow.

    Raises:
        ModelUnavailableError: it does not bring the whole photo to a size that follows the photo's shape.
    """
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return ViltImageProcessorPil()
    processor = ViltImageProcessorPil.from_pretrained(folder, local_files_only=True)
    if not processor.do_resize or processor.size.shortest_edge is None:
        raise ModelUnavailableError(
            f"The image processor of {place.name} does not resize photos by their shorter side, as ViLT's do: correct "
            "its preprocessor_config.json."
        )
    return processor


def _listed(place: Place, does: str) -> ModelInfo:
    reason = transformers_load.available(place)
    return _info(place, does, available=not reason, reason=reason)


def _info(place: Place, does: str, *, trained: bool = True, available: bool = True, reason: str = "") -> ModelInfo:
    which = f"The embedded {MINI}, a small ViLT" if place.name == MINI else f"{place.title}, a ViLT"
    return ModelInfo(
        name=place.name,
        title=MINI if place.name == MINI else place.title,
        sentence=f"{which} that {does}, loaded by transformers.",
        attention_sentence=LOOKS,
        trained=trained,
        available=available,
        reason=reason,
    )
