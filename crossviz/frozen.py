"""What all result types share: exact equality, taking apart and putting together, and the checks of their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossviz.errors import BundleError, CrossvizError, ResultError

__all__ = ["FrozenResult", "check_flag", "check_text", "json_mapping", "own_tensor", "set_fields", "strings"]


class FrozenResult:
    """Exact equality, pickling and taking apart, shared by all results."""

    _TENSORS: ClassVar[tuple[str, ...]] = ()

    def to_arrays(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """The result as (arrays by name, JSON-able values by name). Arrays are copies."""
        arrays = {name: getattr(self, name).numpy().copy() for name in self._TENSORS if getattr(self, name) is not None}
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in self._TENSORS}
        return arrays, values

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.floating]], values: Mapping[str, Any]) -> Self:
        """The inverse of `to_arrays`, also after the values went through JSON.

        Raises:
            BundleError: for parts that are missing, unknown, or don't make up a valid result.
        """
        try:
            tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in cls._TENSORS if name in arrays}
            return cls(**tensors, **values)
        except CrossvizError as error:
            raise BundleError(f"The saved {cls.__name__} can't be read: {error}") from error
        except (TypeError, ValueError, KeyError) as error:
            raise BundleError(f"The saved {cls.__name__} has parts missing or of the wrong kind.") from error

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None

    def __reduce__(self) -> tuple:
        return type(self).from_arrays, self.to_arrays()


def own_tensor(name: str, value: Tensor, axes: str) -> Tensor:
    """An own float32 copy on the CPU, with as many axes as `axes` names."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ResultError(f"`{name}` must be a tensor of floats `{axes}`, but is {kind}.")
    if value.ndim != len(axes.split()):
        raise ResultError(f"`{name}` must be `{axes}`, but is of shape {tuple(value.shape)}.")
    return value.detach().to("cpu", torch.float32, copy=True).contiguous()


def strings(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str) or any(not isinstance(value, str) for value in values):
        raise ResultError(f"`{name}` must be a sequence of strings, but is {values!r:.120}.")
    return tuple(values)


def json_mapping(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """A read-only copy, as it comes back from JSON (tuples become lists), so that a saved result equals itself."""
    try:
        copy = json.loads(json.dumps(_plain(params), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ResultError(f"Parameters must be JSON-able, but are {params!r:.120} ({error}).") from error
    if not isinstance(copy, dict):
        raise ResultError(f"Parameters must be a mapping of names to values, but are {params!r:.120}.")
    return MappingProxyType(copy)


def check_text(result: FrozenResult, *names: str) -> None:
    for name in names:
        value = getattr(result, name)
        if not isinstance(value, str) or not value.strip():
            raise ResultError(f"`{name}` must be a string that is not blank, but is {value!r:.60}.")


def check_flag(result: FrozenResult, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(result, name), bool):
            raise ResultError(f"`{name}` must be True or False, but is {getattr(result, name)!r:.60}.")


def set_fields(result: FrozenResult, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _plain(value: object) -> object:
    """Tuples as lists, read-only mappings as dicts, at the top level."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other
