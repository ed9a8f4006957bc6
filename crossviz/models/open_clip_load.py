"""Names of open_clip's models, and how they become a loaded model or one clear sentence."""

import difflib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossviz import compat
from crossviz.errors import ModelUnavailableError, UnknownModelError
from crossviz.models.about import kind_of, says_trained
from crossviz.models.base import ModelInfo, folder_state
from crossviz.models.hub import cached_weights, fetch_weights

__all__ = ["NOWHERE", "OPEN_CLIP", "WITHIN", "Naming", "Source", "identity", "infos", "load", "source_of"]

CHOICE = (
    ("ViT-B-32", "openai"),
    ("ViT-B-16", "openai"),
    ("ViT-L-14", "openai"),
    ("ViT-L-14-336", "openai"),
    ("ViT-B-32", "laion2b_s34b_b79k"),
    ("ViT-B-16", "laion2b_s34b_b88k"),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"),
    ("ViT-L-14", "laion2b_s32b_b82k"),
    ("ViT-H-14", "laion2b_s32b_b79k"),
    ("RN50", "openai"),
    ("convnext_base_w", "laion2b_s13b_b82k_augreg"),
)
"""What `crossviz.models()` lists of `open_clip:`: mostly plain vision transformers, which most methods explain."""
CONSTRUCTED = "query: text tokens, key: image patches; made of the model's own projections"
WITHIN = "query: image patches, key: image patches; in the image tower alone"
NOWHERE = "query: none, key: none; no attention of this model is read"
"""What a model's attention goes from and to; the last is said of convolutional towers and of those run as a whole."""


@dataclass(frozen=True)
class Naming:
    """How a family names the models of open_clip's that it loads, and what it says of them."""

    prefix: str
    what: str
    """What such a model is, with its article."""
    attention: Callable[[str], str]
    """What the attention of an architecture goes from and to."""
    folder_attention: str
    """The same of a folder's, as long as it is not loaded."""
    choice: Sequence[tuple[str, str]]
    """Architectures and tags that are listed."""
    takes: Callable[[str], bool] = lambda arch: True
    """Whether the family loads an architecture."""


def _attention(arch: str) -> str:
    """What the architecture's name lets expect; a loaded model says what is so."""
    vision = compat.import_open_clip().get_model_config(arch)["vision_cfg"]
    trunk = vision.get("timm_model_name", "vit")
    if isinstance(vision.get("layers"), list):
        return WITHIN  # CLIP's ResNets, which end in an attention pooler
    if not trunk.startswith("vit"):
        return NOWHERE
    return WITHIN if vision.get("attentional_pool") or vision.get("timm_pool") == "map" else CONSTRUCTED


OPEN_CLIP = Naming("open_clip:", "a contrastive model", _attention, CONSTRUCTED, CHOICE)


@dataclass(frozen=True)
class Source:
    """Where a model comes from; a folder, or an architecture with or without a tag."""

    info: ModelInfo
    folder: Path | None = None
    arch: str = ""
    tag: str = ""


def source_of(name: str, naming: Naming = OPEN_CLIP) -> Source:
    """Read a name: "open_clip:ARCH/TAG", "open_clip:ARCH", "open_clip:local-dir:FOLDER" or "open_clip:FOLDER".

    Args:
        name: as above, with the family's prefix.
        naming: the family's.

    Raises:
        UnknownModelError: open_clip knows no such architecture or tag; the message names close ones. Or the folder is
            one of another family's.
        ModelUnavailableError: there is no model in that folder.
    """
    prefix = naming.prefix
    rest = name.removeprefix(prefix) if name.startswith(prefix) else ""
    if not rest:
        raise UnknownModelError(f"{name[:80]!r} names no model: write {prefix}ARCH/TAG, or {prefix} and a folder.")
    if rest.startswith(("local-dir:", "/", "./", "../", "~")) or Path(rest).is_absolute():
        folder = Path(rest.removeprefix("local-dir:")).expanduser().resolve()
        if naming is OPEN_CLIP and kind_of(folder) == "coca-mini":
            raise UnknownModelError(f"{folder.name} is a coca-mini: load it as coca:{rest}.")
        info = _info(naming, name, folder.name, trained=_folder_trained(folder), attention=naming.folder_attention)
        return Source(info, folder=folder)
    open_clip = compat.import_open_clip()
    arch, _, tag = rest.partition("/")
    if arch not in open_clip.list_models():
        names = [*(f"{known}/{its}" for known, its in open_clip.list_pretrained()), *open_clip.list_models()]
        raise UnknownModelError(_close(f"open_clip knows no model {rest[:80]!r}", rest, names))
    if tag and not open_clip.get_pretrained_cfg(arch, tag):
        tags = open_clip.list_pretrained_tags_by_model(arch)
        more = f" and {len(tags) - 6} more" if len(tags) > 6 else ""
        have = f"it has: {', '.join(tags[:6])}{more}" if tags else "it has none"
        raise UnknownModelError(_close(f"open_clip knows no weights {tag[:80]!r} of {arch}; {have}", tag, tags))
    info = _info(naming, name, rest, trained=bool(tag), attention=naming.attention(arch))
    return Source(info, arch=arch, tag=tag)


def infos(everything: bool, naming: Naming = OPEN_CLIP) -> list[ModelInfo]:
    """A choice of the models, or all that open_clip knows; available are those whose weights are on this machine."""
    open_clip = compat.import_open_clip()
    pairs = [pair for pair in open_clip.list_pretrained() if naming.takes(pair[0])] if everything else naming.choice
    found = []
    for arch, tag in pairs:
        here = cached_weights(open_clip.get_pretrained_cfg(arch, tag))
        reason = "" if here else "its weights are not on this machine yet; they are downloaded when it is first used."
        found.append(
            _info(
                naming,
                f"{naming.prefix}{arch}/{tag}",
                f"{arch}/{tag}",
                trained=True,
                available=here,
                reason=reason,
                attention=naming.attention(arch),
            )
        )
    return found


def identity(source: Source) -> tuple[str, str]:
    """What tells two models apart: the architecture and tag, or the folder and the state of its files."""
    if source.folder is None:
        return f"{source.arch}/{source.tag}", ""
    return str(source.folder), folder_state(source.folder)


def load(source: Source) -> tuple[nn.Module, Any]:
    """The model on the CPU and its tokenizer.

    Raises:
        ModelUnavailableError: it can't be loaded here; the message names the model, the reason and what to do.
    """
    open_clip = compat.import_open_clip()
    name = source.info.name
    if source.tag:
        fetch_weights(name, open_clip.get_pretrained_cfg(source.arch, source.tag))
    spec = f"local-dir:{source.folder}" if source.folder is not None else source.arch
    weights = bool(source.tag) or source.folder is not None
    try:
        # open_clip draws random weights first; the caller's random numbers stay as they are.
        with torch.random.fork_rng(devices=[]), _without_warning(not weights):
            if not weights:
                torch.default_generator.manual_seed(0)  # the same random weights every time
            module = open_clip.create_model(
                spec,
                pretrained=source.tag or None,
                pretrained_text=False,
                require_pretrained=weights,
                weights_only=True,
            )
            tokenizer = open_clip.get_tokenizer(spec)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        remedy = (
            "check the files in that folder"
            if source.folder is not None
            else "connect to the network and try again, or use crossviz-mini, which needs none"
        )
        raise ModelUnavailableError(f"{name} can't be loaded ({reason}): {remedy}.") from error
    return module, tokenizer


def _folder_trained(folder: Path) -> bool:
    """Whether a model folder's weights were trained; a folder that doesn't say is taken to hold trained ones."""
    if not (folder / "open_clip_config.json").is_file():
        raise ModelUnavailableError(
            f"There is no open_clip model in the folder {folder.name}: it must hold open_clip_config.json and weights."
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailableError(
            f"The model folder {folder.name} holds no weights as safetensors, the only format that is read: put "
            "open_clip_model.safetensors into it."
        )
    return says_trained(folder)


def _info(
    naming: Naming,
    name: str,
    title: str,
    *,
    trained: bool,
    attention: str,
    available: bool = True,
    reason: str = "",
) -> ModelInfo:
    return ModelInfo(
        name=name,
        title=title,
        sentence=f"{title}, {naming.what} loaded by open_clip{'' if trained else ', with random weights'}.",
        attention_sentence=attention,
        trained=trained,
        available=available,
        reason=reason,
    )


def _close(what: str, name: str, names: list[str]) -> str:
    folded = {each.lower(): each for each in names}
    close = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, n=4, cutoff=0.5)]
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    return f"{what}.{hint} `crossviz.models(everything=True)` lists all."


@contextmanager
def _without_warning(wanted: bool) -> Iterator[None]:
    """Without open_clip's warning that the weights are random, where they are meant to be: every picture says it."""

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("No pretrained weights loaded")

    root = logging.getLogger()
    if wanted:
        root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
