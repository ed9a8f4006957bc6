"""Model families, and the models that they load.

`crossviz.models()` lists the models; the package can be called because its name is also that of the public function.
"""

import sys
from types import ModuleType

import torch

from crossviz.models.base import EncodedText, Family, Model, ModelInfo, resolve_device
from crossviz.models.blip import Blip
from crossviz.models.coca import Coca
from crossviz.models.crossviz_mini import CrossvizMini
from crossviz.models.open_clip import OpenClip
from crossviz.models.registry import Families
from crossviz.models.vilt import Vilt

__all__ = [
    "DEFAULT_MODEL",
    "EncodedText",
    "Family",
    "Model",
    "ModelInfo",
    "families",
    "load_model",
    "models",
    "register",
    "resolve_device",
    "unload_models",
]

DEFAULT_MODEL = "crossviz-mini"

_registry = Families("model", "crossviz.models()")
_families = _registry.by_name


def register(family: Family) -> Family:
    """Add a family.

    Raises:
        RegistryError: there is one of that name, or with an embedded model of that name.
    """
    _registry.register(family)
    return family


def families() -> dict[str, Family]:
    """The registered families by name."""
    return dict(_families)


def models(everything: bool = False) -> list[ModelInfo]:
    """The models there are, the embedded ones first: a choice of each family's, or `everything` that it can load."""
    return _registry.infos(everything)


def load_model(name: str = DEFAULT_MODEL, device: str | torch.device | None = None) -> Model:
    """The model of that name on that device; loaded once in a process, and again where its files have changed.

    Args:
        name: "crossviz-mini", "coca-mini", "open_clip:ARCH/TAG", "coca:FOLDER" or another that a family's class states.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA where there is one.

    Raises:
        UnknownModelError: there is no such model; the message names close ones.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.
    """
    return _registry.load(name, device, False)


def unload_models() -> None:
    """Forget the loaded models; those in use stay alive until they are let go."""
    _registry.unload()


class _Callable(ModuleType):
    def __call__(self, everything: bool = False) -> list[ModelInfo]:
        return models(everything)


sys.modules[__name__].__class__ = _Callable
_Callable.__call__.__doc__ = models.__doc__
register(CrossvizMini())
register(OpenClip())
register(Coca())
register(Vilt())
register(Blip())
