"""Draw a picture from a caption, and see which words each part of it was drawn from: the models that do so."""

import collections

import torch

from crossviz.errors import ModelUnavailableError
from crossviz.generation import Generation
from crossviz.models.dalle import DalleFamily
from crossviz.models.dalle_load import NAME
from crossviz.models.diffusion import Diffusers
from crossviz.models.generators import GeneratorFamily, GeneratorInfo, GeneratorModel, Settings
from crossviz.models.registry import Families

__all__ = [
    "DEFAULT_GENERATOR",
    "finished",
    "generate",
    "generators",
    "load_generator",
    "register_generator",
    "unload_generators",
]

DEFAULT_GENERATOR = NAME

_registry = Families("generator", "crossviz.generators()")


def register_generator(family: GeneratorFamily) -> GeneratorFamily:
    """Add a family of generators.

    Raises:
        RegistryError: there is one of that name.
    """
    _registry.register(family)
    return family


def generators() -> list[GeneratorInfo]:
    """The models that draw, those that come with crossviz first; of each family all or a choice."""
    return _registry.infos()


def load_generator(name: str = DEFAULT_GENERATOR, device: str | torch.device | None = None) -> GeneratorModel:
    """The model of that name on that device; loaded once in a process, and again where the files of its
    folder have changed; one of the hub only once.

    Args:
        name: "dalle-mini-scenes", "diffusers:ORG/NAME", "diffusers:/path/to/folder".
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA where there is one.

    Raises:
        UnknownModelError: there is no such model; the message names close ones.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.
    """
    return _registry.load(name, device)


def unload_generators() -> None:
    """Forget the loaded models; those in use stay alive until they are let go."""
    _registry.unload()


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
    *_, last = None, *collections.deque(drawing, maxlen=1)
    return finished(last, model)


def finished(last: object, model: str) -> Generation:
    """The last that a drawing gave, which is the picture.

    Raises:
        ModelUnavailableError: the model's drawing ended without one.
    """
    if not isinstance(last, Generation):
        raise ModelUnavailableError(f"The generator '{model[:80]}' ended without a picture: choose another one.")
    return last


register_generator(DalleFamily())
register_generator(Diffusers())
