"""How much memory a value holds."""

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

from crossviz.captured import SiteCapture

__all__ = ["held", "weight"]


def held(whole: Any) -> int:
    """Bytes that a value keeps in memory by its tensors and arrays, each once, however deep in mappings, sequences and
    dataclasses. Of a tensor that is a part of another's memory, all of that memory counts, as none of it is freed."""
    return sum(_walk(whole)[0].values())


def weight(whole: Any) -> dict[int, int]:
    """Bytes by address: of each tensor and array, as `held` counts them, so that what several values share is counted
    once; and, at the value's own address, of all else in it: texts, numbers, and what holds them."""
    found, size = _walk(whole)
    return {**found, id(whole): size}


def _walk(whole: Any) -> tuple[dict[int, int], int]:
    seen, found, size, parts = set(), {}, 0, [whole]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            storage = part.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(part, np.ndarray):
            while isinstance(part.base, np.ndarray):
                part = part.base
            found[part.ctypes.data] = part.nbytes
        else:
            size += sys.getsizeof(part)
        if isinstance(part, SiteCapture):
            parts.append(part._tensors)
        elif isinstance(part, Mapping):
            parts += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            parts += part
        elif is_dataclass(part) and not isinstance(part, type):
            parts += [getattr(part, field.name) for field in fields(part)]
    return found, size
