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
from crossviz.models.crossviz_mini import CrossvizMini
from crossviz.models.open_clip import OpenClip

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
        RegistryError: there is one of that name.
    """
    with _lock:
        if family.name in _families:
            raise RegistryError(f"A model family '{family.name}' is registered already: choose another name.")
        _families[family.name] = family
    return family


def families() -> dict[str, Family]:
    """The registered families by name."""
    return dict(_families)


def models(everything: bool = False) -> list[ModelInfo]:
    """The models there are, the embedded one first: a choice of each family's, or `everything` that it can load."""
    return [info for family in _families.values() for info in family.infos(everything)]


def load_model(name: str = DEFAULT_MODEL, device: str | torch.device | None = None) -> Model:
    """The model of that name on that device; loaded once in a process, and again where its files have changed.

    Args:
        name: "crossviz-mini", "crossviz-mini:FOLDER", "open_clip:ARCH/TAG" or "open_clip:FOLDER".
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA where there is one.

    Raises:
        UnknownModelError: there is no such model; the message names close ones.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.
    """
    if not isinstance(name, str) or not name.strip():
        raise UnknownModelError(f"A model is chosen by its name, not by {name!r:.60}: {_listing()}")
    name = name.strip()
    family = _families.get(name.partition(":")[0])
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
