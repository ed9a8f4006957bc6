"""Methods: what turns a trace of a model into maps.

`crossviz.methods()` lists them; the package can be called because its name is also that of the public function.
"""

import difflib
import sys
import threading
from types import ModuleType

from crossviz.errors import RegistryError, UnknownMethodError
from crossviz.methods.base import Layers, Method, MethodInfo, MethodResult
from crossviz.methods.cross_attention import CrossAttentionMap
from crossviz.methods.head_decomposition import HeadDecomposition

__all__ = [
    "CrossAttentionMap",
    "HeadDecomposition",
    "Layers",
    "Method",
    "MethodInfo",
    "MethodResult",
    "get_method",
    "methods",
    "register",
]

_methods: dict[str, Method] = {}
_lock = threading.Lock()


def register(method: Method) -> Method:
    """Add a method; models use the first registered one that they support, unless another is asked for.

    Raises:
        RegistryError: there is one of that name.
    """
    with _lock:
        if method.info.name in _methods:
            raise RegistryError(f"A method '{method.info.name}' is registered already: choose another name.")
        _methods[method.info.name] = method
    return method


def methods() -> list[MethodInfo]:
    """The methods there are, in the order of registration."""
    return [method.info for method in _methods.values()]


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UnknownMethodError: there is none; the message names close ones and lists all.
    """
    if not isinstance(name, str) or name not in _methods:
        close = difflib.get_close_matches(str(name), _methods, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UnknownMethodError(f"There is no method {name!r:.60}. {hint}There are: {', '.join(_methods)}.")
    return _methods[name]


class _Callable(ModuleType):
    def __call__(self) -> list[MethodInfo]:
        return methods()


sys.modules[__name__].__class__ = _Callable
_Callable.__call__.__doc__ = methods.__doc__
register(CrossAttentionMap())
register(HeadDecomposition())
