"""A module's `forward` replaced for a while, for those threads that asked for it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["NOT_HERE", "Instead", "instead"]

NOT_HERE = object()
"""What a replacement returns where the call is none of its own."""

_lock = threading.Lock()

Replacement = Callable[[nn.Module, tuple[Any, ...], Mapping[str, Any]], Any]


class Instead:
    """Stands as `forward` in a module's own attributes while somebody replaces it; others get the class's `forward`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.replacements: tuple[Replacement, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for replacement in reversed(self.replacements):  # the innermost first
            result = replacement(self.module, args, kwargs)
            if result is not NOT_HERE:
                return result
        return type(self.module).forward(self.module, *args, **kwargs)


@contextmanager
def instead(module: nn.Module, replacement: Replacement) -> Iterator[None]:
    """Ask `replacement` first whenever the module is called, until the block ends, however it ends."""
    with _lock:
        standing = vars(module).get("forward")
        if standing is None:
            standing = module.forward = Instead(module)
        standing.replacements += (replacement,)
    try:
        yield
    finally:
        with _lock:
            standing.replacements = tuple(other for other in standing.replacements if other is not replacement)
            if not standing.replacements:
                del module.forward
