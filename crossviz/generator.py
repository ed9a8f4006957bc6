"""Draw a picture from a caption, and see which words each part of it was drawn from: the models that do so."""

import collections
import difflib
import threading

import torch

from crossviz.errors import ModelUnavailableError, RegistryError, UnknownModelError
from crossviz.generation import Generation
from crossviz.models import dalle
from crossviz.models.base import resolve_device
from crossviz.models.diffusion import Diffusers
from crossviz.models.generators import GeneratorFamily, GeneratorInfo, GeneratorModel, Settings

__all__ = [
    "DEFAULT_GENERATOR",
    "generate",
    "generators",
    "load_generator",
    "register_generator",
    "unload_generators",
]

DEFAULT_GENERATOR = "dalle-mini-scenes"

_families: dict[str, GeneratorFamily] = {}
_loaded: dict[tuple[str, str, str], tuple[str, GeneratorModel]] = {}
"""Family, source and device to the state of the files when the model was loaded, and the model."""
_locks: dict[tuple[str, str, str], threading.Lock] = {}
_lock = threading.Lock()


def register_generator(family: GeneratorFamily) -> GeneratorFamily:
    """Add a family of generators.

    Raises:
        RegistryError: there is one of that name.
    """
    with _lock:
        if family.name in _families:
            raise RegistryError(f"A generator family '{family.name}' is registered already: choose another name.")
        _families[family.name] = family
    return family


def generators() -> list[GeneratorInfo]:
    """The models that draw, those that come with crossviz first; of each family all or a choice."""
    found = [info for family in list(_families.values()) for info in family.infos()]
    return sorted(found, key=lambda info: ":" in info.name)  # the embedded ones' names have no colon


def load_generator(name: str = DEFAULT_GENERATOR, device: str | torch.device | None = None) -> GeneratorModel:
    """The model of that name on that device; loaded once in a process, and again where its files have changed.

    Args:
        name: "dalle-mini-scenes", "diffusers:ORG/NAME", "diffusers:/path/to/folder".
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA where there is one.

    Raises:
        UnknownModelError: there is no such model; the message names close ones.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.
    """
    if not isinstance(name, str) or not name.strip():
        raise UnknownModelError(f"A generator is chosen by its name, not by {name!r:.60}. {_listing()}")
    name = name.strip()
    family = _families.get(name.partition(":")[0])
    if family is None:
        close = difflib.get_close_matches(name, [*_families, *(info.name for info in generators())], n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UnknownModelError(f"There is no generator '{name[:80]}'. {hint}{_listing()}")
    place = resolve_device(device)
    identity = getattr(family, "identity", None)  # a family need not have it
    source, state = (name, "") if identity is None else identity(name)
    key = (family.name, source, str(place))
    with _lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        found = _loaded.get(key)
        if found is None or found[0] != state:
            found = _loaded[key] = (state, family.load(name, place))
        return found[1]


def unload_generators() -> None:
    """Forget the loaded models; those in use stay alive until they are let go."""
    with _lock:
        _loaded.clear()
        _locks.clear()


def generate(
    caption: str,
    model: str = DEFAULT_GENERATOR,
    *,
    seed: int = 0,
    guidance: float | None = None,
    temperature: float | None = None,
    steps: int | None = None,
    size_wh: tuple[int, int] | None = None,
    candidates: int | None = None,
    device: str | torch.device | None = None,
) -> Generation:
    """Draw a picture; None takes the model's own choice.

    Args:
        caption: what to draw.
        model: a name of `generators`, or as `load_generator` takes it.
        seed: of the random numbers; the same seed and settings give the same picture.
        guidance: the scale of classifier-free guidance; 1 is none.
        temperature: of the sampling, where the model has one.
        steps: how many, where the model has them.
        size_wh: width and height in pixels, where the model draws several sizes.
        candidates: of how many drawings the one is kept that fits best, where the model compares them.
        device: as in `load_generator`.

    Raises:
        CaptionError: the caption is empty, or has what the model does not know.
        SettingsError: the model can't use a setting.
        UnknownModelError: there is no such model.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.

    Example:
        >>> drawn = generate("a red cube left of a blue sphere")
        >>> drawn.picture.shape  # height width 3
    """
    settings = Settings(seed, guidance, temperature, steps, size_wh, candidates)
    drawing = load_generator(model, device).draw(caption, settings)
    last = collections.deque(drawing, maxlen=1).pop()
    if not isinstance(last, Generation):
        raise ModelUnavailableError(f"The generator '{model[:80]}' ended without a picture: choose another one.")
    return last


def _listing() -> str:
    names = [info.name for info in generators()]
    more = f" and {len(names) - 5} more, which crossviz.generators() lists" if len(names) > 5 else ""
    return f"There are: {', '.join(names[:5]) or 'none'}{more}."


class _DalleScenes:
    """The model that comes with crossviz."""

    name = DEFAULT_GENERATOR

    def infos(self) -> list[GeneratorInfo]:
        return [dalle.INFO]

    def load(self, name: str, device: torch.device) -> GeneratorModel:
        if name != self.name:
            raise UnknownModelError(f"There is no generator '{name[:80]}': '{self.name}' is one by itself.")
        return dalle.load(device)


register_generator(_DalleScenes())
register_generator(Diffusers())
