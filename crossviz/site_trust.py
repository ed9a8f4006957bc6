"""In which situations a site's call, computed in its place, was found to give the module's own output.

A situation is all that decides what a `forward` computes, apart from numbers: the class's `forward` and those of its
parts, their settings and modes, which parameters and buffers they hold (which objects and memory, precision, device,
and how often they were changed in place), of which arguments the call is made, of which precision, and the
autocast. Sizes and the values of inputs and masks are not part of it. A weight changed through `.data`, which PyTorch
doesn't count, is not seen; the arithmetic that was checked stays the same.
"""

import threading
from collections.abc import Hashable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["known", "learn", "parts", "situation", "version"]

_SIMPLE = frozenset({bool, int, float, str, type(None)})
_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
_MOST = 32
"""Situations remembered of one module; one in training, whose weights change from call to call, has no end of them."""

_lock = threading.Lock()
_known: WeakKeyDictionary[nn.Module, dict[Hashable, float]] = WeakKeyDictionary()


def known(module: nn.Module, seen: Hashable) -> float | None:
    """The deviation that was learnt for this module in this situation; None for nothing."""
    with _lock:
        return _known.get(module, {}).get(seen)


def learn(module: nn.Module, seen: Hashable, deviation: float) -> None:
    """Remember it."""
    with _lock:
        of_module = _known.setdefault(module, {})
        if len(of_module) >= _MOST:
            of_module.clear()
        of_module[seen] = deviation


def situation(module: nn.Module, given: Mapping[str, Any]) -> Hashable:
    """What a call's arithmetic depends on; equal for calls that compute alike.

    Args:
        module: the site.
        given: the call's arguments by name.
    """
    places: dict[int, int] = {}  # where one tensor is given twice, modules take shortcuts
    call = tuple(
        (name, value.dtype, value.ndim, value.device, places.setdefault(id(value), len(places)))
        if isinstance(value, Tensor)
        else (name, _simply(value))
        for name, value in given.items()
    )
    built = tuple(
        (
            type(part).forward,
            tuple((name, _simply(value)) for name, value in vars(part).items() if name not in _INTERNAL),
            tuple(
                (name, id(held), held.data_ptr(), held.dtype, held.device, version(held))
                for group in (part._parameters, part._buffers)
                for name, held in group.items()
                if held is not None
            ),
        )
        for part in parts(module)
    )
    autocast = tuple(
        torch.get_autocast_dtype(kind) for kind in {entry[3].type for entry in call if len(entry) > 2}
        if torch.is_autocast_enabled(kind)
    )  # fmt: skip
    return call, built, autocast


def parts(module: nn.Module) -> Iterator[nn.Module]:
    """The module and all that it is made of, as `modules()`, which takes longer."""
    yield module
    for part in module._modules.values():
        if part is not None:
            yield from parts(part)


def version(tensor: Tensor) -> int | None:
    """How often it was changed in place; None where PyTorch doesn't count."""
    return None if tensor.is_inference() else tensor._version


def _simply(value: Any) -> Hashable:
    return value if type(value) in _SIMPLE else type(value)
