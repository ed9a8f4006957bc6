"""What a model family is: the protocol that `crossviz.models` registers, and what all loaded models share."""

import copy
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, SupportsIndex

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.errors import CaptionError, DeviceError, ModelError, UnsupportedMethodError
from crossviz.geometry import ImageView, PatchGrid
from crossviz.models.clip_tokens import Tokenized
from crossviz.photo import Photo
from crossviz.trace import EncodedImage, Trace
from crossviz.words import unknown_sentence

__all__ = [
    "EncodedText",
    "Family",
    "Model",
    "ModelInfo",
    "Prepared",
    "folder_state",
    "library_versions",
    "own_part",
    "resolve_device",
    "weights_sha256",
]


_copies = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What there is to say of a model before anything is computed with it."""

    name: str
    """What `crossviz.Explainer` takes."""
    title: str
    sentence: str
    """What the model is, in one line."""
    attention_sentence: str
    """What its attention goes from and to, in one line."""
    trained: bool
    available: bool = True
    """Whether it can be loaded here and now, without fetching anything."""
    reason: str = ""
    """Why it is not available."""


class EncodedText(NamedTuple):
    """A caption after the text tower."""

    embedding: Tensor | None  # dim; unit vector; None where the model reads photo and text only together
    tokens: Tensor | None  # token width; the caption's tokens, None where the tower does not give them


class Prepared(NamedTuple):
    """A photo as a model's image tower takes it, on the model's device."""

    photo: Photo
    pixels: Tensor  # 1 3 height width
    view: ImageView
    grid: PatchGrid
    model_key: str
    """Of the model whose `prepare` gave it; no other takes it."""


class Family(Protocol):
    """A model family: one file, one entry in the registry."""

    name: str
    """Names of this family's models are this, or begin with this and a colon; or they are among `embedded`, a tuple of
    names that a family may have beside this one (as "coca-mini" of the family "coca")."""

    def infos(self, everything: bool) -> list[ModelInfo]:
        """The family's models; a choice of them unless `everything` is asked for."""
        ...

    def identity(self, name: str) -> tuple[str, str]:
        """Where the model comes from, the same for all names of it, and the state that its files are in.

        Raises:
            UnknownModelError: the family has no such model.
            ModelUnavailableError: it can't be had here.
        """
        ...

    def load(self, name: str, device: torch.device) -> "Model":
        """Load a model.

        Raises:
            UnknownModelError: the family has no such model.
            ModelUnavailableError: it can't be had here.
        """
        ...


class Model(ABC):
    """A loaded model, in evaluation mode. Used by many threads at once, so its methods change nothing in it."""

    info: ModelInfo
    device: torch.device
    module: nn.Module
    """Everything of the model that has weights."""
    grid: PatchGrid
    notes: tuple[str, ...] = ()
    """What to know about the model itself, for every explanation made with it."""
    libraries: tuple[str, ...] = ("torch", "numpy")
    """Distributions whose versions go into the provenance."""

    @abstractmethod
    def preprocess(self, photo: Photo) -> tuple[Tensor, ImageView]:
        """The photo as the image tower takes it, `1 3 height width` on the model's device, and where it lies."""

    @abstractmethod
    def tokenize(self, text: str) -> Tokenized:
        """A text as the text tower takes it, with its words and spans; CaptionError for a text without words."""

    @abstractmethod
    def encode_images(self, prepared: Sequence[Prepared]) -> list[EncodedImage]:
        """The expensive step, once per photo: photos that `prepare` gave, in one pass where the family can."""

    @abstractmethod
    def encode_texts(self, tokenized: Sequence[Tokenized]) -> list[EncodedText]:
        """Captions through the text tower, in one pass where the family can."""

    def prepare(self, photo: Photo) -> Prepared:
        """What `encode_images` takes of a photo; it may be called in other threads, ahead of the pass."""
        return Prepared(photo, *self.preprocess(photo), self.grid, self.key)

    def encode_image(self, photo: Photo) -> EncodedImage:
        """`encode_images` of one photo."""
        return self.encode_images([self.prepare(photo)])[0]

    def encode_text(self, tokenized: Tokenized) -> EncodedText:
        """`encode_texts` of one caption."""
        return self.encode_texts([tokenized])[0]

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Texts to unit vectors `text dim` on the CPU; unlike `tokenize`, any text will do.

        Raises:
            UnsupportedMethodError: the model has no embeddings of texts.
        """

    @abstractmethod
    def attention_sites(self) -> Mapping[str, nn.Module]:
        """The attention modules of the model that `crossviz.capture` covers, by name."""

    @abstractmethod
    def lacks(self) -> Mapping[str, str]:
        """The capabilities of `crossviz.trace` that this model does not offer, each with the reason."""

    @abstractmethod
    def capabilities(
        self, image: EncodedImage, tokenized: Tokenized, text: EncodedText
    ) -> Mapping[str, Callable[[], Any]]:
        """The capabilities that it offers for one photo and caption, computed when called."""

    def write(self, image: EncodedImage, longest: int = 30) -> Iterator[str]:
        """The model's own caption of a photo, each time with one more token, until it ends it.

        Args:
            image: from `encode_image`.
            longest: the number of tokens after which it is ended, from 1 on.

        Raises:
            UnsupportedMethodError: the model writes no captions.
            CaptionError: `longest` is no such number.
        """
        if isinstance(longest, bool) or not isinstance(longest, SupportsIndex) or longest.__index__() < 1:
            raise CaptionError(
                f"A caption is ended after 1 token or more, in whole numbers, not after {longest!r:.60}."
            )
        return self.captions(image, longest.__index__())

    def captions(self, image: EncodedImage, longest: int) -> Iterator[str]:
        """What `write` gives, once it has checked its arguments; this is what a family with a decoder defines."""
        raise UnsupportedMethodError(
            f"{self.info.name} writes no captions: choose a model with a decoder, as coca-mini is one."
        )

    writes = False
    """Whether `write` writes captions."""

    def hide(self, tokenized: Tokenized, words: Sequence[int]) -> Tokenized:
        """A text with masks in the place of some words' tokens.

        Raises:
            UnsupportedMethodError: the model guesses no words.
            SelectionError: the model read no token of them.
        """
        raise UnsupportedMethodError(
            f"{self.info.name} guesses no hidden words: {self.lacks().get('guesses', 'it has no head for that')}. "
            "Choose a model that does, as vilt-mini."
        )

    def trace(self, image: EncodedImage, caption: str, hidden: Sequence[int] = ()) -> Trace:
        """One photo and one caption, for a method to read.

        Args:
            image: from `encode_image`.
            caption: the sentence.
            hidden: indices of words that the model shall not read.

        Raises:
            CaptionError: there is no word in the caption, or it is too long to take at all.
            UnsupportedMethodError: words are to be hidden from a model that guesses none.
            ModelError: the photo was encoded by another model.
        """
        self._check_own(image)
        tokenized = self.tokenize(caption)
        if hidden:
            tokenized = self.hide(tokenized, hidden)
            words = tokenized.caption.words
            masked = {token for word in hidden for token in words[word].tokens}
            hidden = [w.index for w in words if w.tokens and masked.issuperset(w.tokens)]  # two words may share a token
        return self._trace(image, tokenized, self.encode_text(tokenized), hidden)

    def traces(self, images: Sequence[EncodedImage], captions: Sequence[str]) -> list[Trace]:
        """`trace` of several photos, each with its caption; the captions go through the text tower together.

        Raises:
            CaptionError, ModelError: as `trace`, for the first that will not do.
        """
        for image in images:
            self._check_own(image)
        distinct = list(dict.fromkeys(captions))  # one caption for many photos is read once
        tokenized = [self.tokenize(caption) for caption in distinct]
        texts = dict(zip(distinct, zip(tokenized, self.encode_texts(tokenized), strict=True), strict=True))
        return [self._trace(image, *texts[caption]) for image, caption in zip(images, captions, strict=True)]

    def together(self, images: Sequence[EncodedImage], needs: Sequence[str]) -> None:  # noqa: B027  most need nothing
        """What some capabilities will compute of each photo by itself, for several photos at once; kept with each.

        Args:
            images: encoded by this model.
            needs: the capabilities.
        """

    def _check_own(self, image: EncodedImage) -> None:
        if image.model_key != self.key:
            raise ModelError(
                f"This photo was encoded by {image.model_name}, and is asked for in {self.info.name}"
                f"{' on another device or with other weights' if image.model_name == self.info.name else ''}: "
                "encode it with the explainer that explains it."
            )

    def _trace(self, image: EncodedImage, tokenized: Tokenized, text: EncodedText, hidden: Sequence[int] = ()) -> Trace:
        apart = image.embedding is None or text.embedding is None
        cosine = None if apart else F.cosine_similarity(image.embedding, text.embedding.detach(), dim=0)
        return Trace(
            image=image,
            caption=tokenized.caption,
            similarity=None if cosine is None else float(cosine.clamp(-1, 1)),
            provides=self.capabilities(image, tokenized, text),
            lacks=self.lacks(),
            embed_texts=self.embed_texts,
            model_notes=tuple(filter(None, (*self.notes, unknown_sentence(tokenized.caption)))),
            hidden=tuple(hidden),
        )

    @cached_property
    def weights_sha256(self) -> str:
        """As the function of that name, of `module`."""
        return weights_sha256(self.module.state_dict())

    @cached_property
    def key(self) -> str:
        """Changes with the name, the device and the weights; an encoded photo belongs to one key."""
        return f"{self.info.name} {self.device} {self.weights_sha256}"

    def stages(self) -> list[tuple[str, list[nn.Module | nn.Parameter]]]:
        """The weights in stages, from what is nearest to the answer to what is nearest to the input.

        Returns:
            For each stage a label, and the modules and parameters that make it up; together every parameter of
            `module` exactly once.
        """
        return [("all weights", [self.module])]

    @property
    def image_module(self) -> nn.Module:
        """The part of `module` that holds all weights that `encode_image` reads."""
        return self.module

    def with_weights(self, weights: Mapping[nn.Parameter, Tensor]) -> Self:
        """A copy with other weights in the place of some; it shares the modules in which none is replaced.

        Its `key` is shared with no other model. It does not follow the copy's weights: after changing those, encode its
        photos again.
        """
        fresh = {id(old): nn.Parameter(new, old.requires_grad) for old, new in weights.items()}
        made = copy.copy(self)
        for name in [name for name in vars(made) if isinstance(getattr(type(made), name, None), cached_property)]:
            del made.__dict__[name]
        made.module = _replaced(self.module, fresh, {})
        made.__dict__["key"] = f"{self.info.name} {self.device} copy {next(_copies)}"
        made.take_apart()
        return made

    def take_apart(self) -> None:  # noqa: B027  most families keep nothing
        """Make what the family keeps beside `module` that refers to parts of it; called again for a copy's."""

    def library_versions(self) -> dict[str, str]:
        """Installed versions of `libraries`."""
        return library_versions(self.libraries)


def own_part(batch: Tensor, index: int) -> Tensor:
    """One of a batch, in memory of its own: a view would keep the whole batch."""
    return batch[index] if len(batch) == 1 else batch[index].clone()


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hex digest of parameters and buffers by name: name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def library_versions(distributions: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions by their names."""
    return {name: _version(name) for name in distributions}


def _replaced(module: nn.Module, fresh: Mapping[int, nn.Parameter], known: dict[int, nn.Module]) -> nn.Module:
    """The module with new parameters for those of some ids; itself where it holds none of them."""
    if id(module) not in known:
        made = module
        if any(id(parameter) in fresh for parameter in module.parameters()):
            made = copy.copy(module)
            children = {n: m if m is None else _replaced(m, fresh, known) for n, m in module._modules.items()}
            made.__dict__["_modules"] = children
            made.__dict__["_parameters"] = {n: fresh.get(id(p), p) for n, p in module._parameters.items()}
        known[id(module)] = made
    return known[id(module)]


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device to compute on: the one asked for, or with None CUDA where there is one and else the CPU.

    Raises:
        DeviceError: no such device here.
    """
    if device is None or device == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise DeviceError(f"There is no device {str(device)!r:.40}: choose from {', '.join(_devices())}.") from None
    known = _devices()
    if found.type == "cuda" and found.index is None and torch.cuda.is_available():
        found = torch.device("cuda", torch.cuda.current_device())
    if str(found).removesuffix(":0") not in {name.removesuffix(":0") for name in known}:
        raise DeviceError(f"The device '{found}' is not there: choose from {', '.join(known)}.")
    return torch.device("cpu") if found.type == "cpu" else found


def folder_state(folder: Path) -> str:
    """Changes when a file of the folder is written."""
    files = sorted(path for path in folder.glob("*") if path.is_file())
    return "\n".join(f"{path.name} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in files)


def _devices() -> list[str]:
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


@lru_cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
