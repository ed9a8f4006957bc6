"""Model families, and the models that they load.

`crossviz.models()` lists the models; the package can be called because its name is also that of the public function.
"""

import difflib
import sys
import threading
from types import ModuleType

import torch

from crossviz.errors import RegistryError, UnknownModelError
from crossviz.models.base import EncodedText, Family, Model, ModelInfo, resolve_device
from crossviz.models.blip import Blip
from crossviz.models.coca import Coca
from crossviz.models.crossviz_mini import CrossvizMini
from crossviz.models.open_clip import OpenClip
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

_families: dict[str, Family] = {}
_loaded: dict[tuple[str, str, str], tuple[str, Model]] = {}
"""Family, source and device to the state of the files when the model was loaded, and the model."""
_locks: dict[tuple[str, str, str], threading.Lock] = {}
_lock = threading.Lock()


def register(family: Family) -> Family:
    """Add a family.

    Raises:
        RegistryError: there is one of that name, or with an embedded model of that name.
    """
    with _lock:
        taken = {name for known in _families.values() for name in _names(known)}
        for name in _names(family):
            if name in taken:
                raise RegistryError(f"A model family '{name}' is registered already: choose another name.")
        _families[family.name] = family
    return family


def families() -> dict[str, Family]:
    """The registered families by name."""
    return dict(_families)


def _names(family: Family) -> tuple[str, ...]:
    """The family's own name, which a colon and more may follow, and those of its embedded models."""
    return (family.name, *getattr(family, "embedded", ()))


def _family_of(name: str) -> Family | None:
    """The family that a model's name belongs to."""
    own = _families.get(name.partition(":")[0])
    return own or next((family for family in _families.values() if name in _names(family)), None)


def models(everything: bool = False) -> list[ModelInfo]:
    """The models there are, the embedded ones first: a choice of each family's, or `everything` that it can load."""
    found = [info for family in _families.values() for info in family.infos(everything)]
    return sorted(found, key=lambda info: ":" in info.name)  # the embedded ones' names alone have no colon


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
    if not isinstance(name, str) or not name.strip():
        raise UnknownModelError(f"A model is chosen by its name, not by {name!r:.60}: {_listing()}")
    name = name.strip()
    family = _family_of(name)
    if family is None:
        names = [info.name for info in models()]
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UnknownModelError(f"There is no model '{name[:80]}'. {hint}{_listing()}")
    place = resolve_device(device)
    source, state = family.identity(name)
    key = (family.name, source, str(place))
    with _lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        found = _loaded.get(key)
        if found is None or found[0] != state:
            found = _loaded[key] = (state, family.load(name, place))
        return found[1]


def unload_models() -> None:
    """Forget the loaded models; those in use stay alive until they are let go."""
    with _lock:
        _loaded.clear()
        _locks.clear()


def _listing() -> str:
    names = [info.name for info in models()]
    shown = ", ".join(names[:5])
    return f"There are: {shown} and {len(names) - 5} more, which crossviz.models() lists."


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
