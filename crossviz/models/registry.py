"""What a registry of families does: who is there, whose a name is, and every model loaded once."""

import difflib
import threading
from collections.abc import Iterable
from typing import Any

import torch

from crossviz.errors import RegistryError, UnknownModelError
from crossviz.models.base import resolve_device

__all__ = ["Families"]


class Families:
    """Families by name. A family has `name`, `infos`, `identity` and `load`, and may have `embedded`, names of models
    that don't begin with its own (`crossviz.models.base.Family`, `crossviz.models.generators.GeneratorFamily`).

    Args:
        noun: what a model is called in messages, as "model".
        listed_by: the public function that lists them, as "crossviz.models()".
    """

    def __init__(self, noun: str, listed_by: str) -> None:
        self.noun, self.listed_by = noun, listed_by
        self.by_name: dict[str, Any] = {}
        self._loaded: dict[tuple[str, str, str], tuple[str, Any]] = {}
        """Family, source and device to the state of the files when the model was loaded, and the model."""
        self._locks: dict[tuple[str, str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def register(self, family: Any) -> None:
        """Add a family.

        Raises:
            RegistryError: there is one of that name, or with an embedded model of that name.
        """
        with self._lock:
            taken = {name for known in self.by_name.values() for name in _names(known)}
            for name in _names(family):
                if name in taken:
                    raise RegistryError(f"A {self.noun} family '{name}' is registered already: choose another name.")
            self.by_name[family.name] = family

    def infos(self, *args: Any) -> list[Any]:
        """What the families' `infos` list, given `args`; the embedded models first."""
        found = [info for family in list(self.by_name.values()) for info in family.infos(*args)]
        return sorted(found, key=lambda info: ":" in info.name)  # the embedded ones' names alone have no colon

    def load(self, name: str, device: str | torch.device | None, *args: Any) -> Any:
        """The model of that name on that device; loaded once in a process, and again where its files have changed.

        Args:
            args: for `infos`, where names are listed.

        Raises:
            UnknownModelError: there is no such model; the message names close ones.
            ModelUnavailableError: there is, but it can't be loaded here.
            DeviceError: the device is not there.
        """
        if not isinstance(name, str) or not name.strip():
            raise UnknownModelError(f"A {self.noun} is chosen by its name, not by {name!r:.60}: {self._listing(*args)}")
        name = name.strip()
        own = self.by_name.get(name.partition(":")[0])
        family = own or next((family for family in self.by_name.values() if name in _names(family)), None)
        if family is None:
            names = [info.name for info in self.infos(*args)]
            close = difflib.get_close_matches(name, dict.fromkeys([*names, *self.by_name]), n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            raise UnknownModelError(f"There is no {self.noun} {name[:80]!r}. {hint}{self._listing(*args)}")
        place = resolve_device(device)
        source, state = family.identity(name)
        key = (family.name, source, str(place))
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._loaded.get(key)
            if found is None or found[0] != state:
                found = self._loaded[key] = (state, family.load(name, place))
            return found[1]

    def unload(self) -> None:
        """Forget the loaded models; those in use stay alive until they are let go."""
        with self._lock:
            self._loaded.clear()
            self._locks.clear()

    def renew_locks(self) -> None:
        """For a forked process, in which whoever held one is not there."""
        self._lock, self._locks = threading.Lock(), {}

    def _listing(self, *args: Any) -> str:
        names = [info.name for info in self.infos(*args)]
        more = f" and {len(names) - 5} more, which {self.listed_by} lists" if len(names) > 5 else ""
        return f"There are: {', '.join(names[:5]) or 'none'}{more}."


def _names(family: Any) -> Iterable[str]:
    """The family's own name, which a colon and more may follow, and those of its embedded models."""
    return (family.name, *getattr(family, "embedded", ()))
