"""Methods: what turns a trace of a model into maps.

`crossviz.methods()` lists them; the package can be called because its name is also that of the public function.
"""

import difflib
import sys
import threading
from types import ModuleType

from crossviz.errors import RegistryError, UnknownMethodError
from crossviz.methods.attention_gradient import AttentionGradient
from crossviz.methods.base import Layers, Method, MethodInfo, MethodResult
from crossviz.methods.chefer import Chefer
from crossviz.methods.clearclip import ClearClip
from crossviz.methods.clip_surgery import ClipSurgery
from crossviz.methods.cross_attention import CrossAttentionMap
from crossviz.methods.grad_eclip import GradEclip
from crossviz.methods.gradcam import GradCam
from crossviz.methods.head_decomposition import HeadDecomposition
from crossviz.methods.image_to_text import ImageToText
from crossviz.methods.legrad import LeGrad
from crossviz.methods.maskclip import MaskClip
from crossviz.methods.nacclip import NacClip
from crossviz.methods.occlusion import Occlusion
from crossviz.methods.raw_attention import RawAttention
from crossviz.methods.rollout import Rollout
from crossviz.methods.sclip import Sclip
from crossviz.methods.written_attention import WrittenAttention

__all__ = [
    "AttentionGradient",
    "Chefer",
    "ClearClip",
    "ClipSurgery",
    "CrossAttentionMap",
    "GradCam",
    "GradEclip",
    "HeadDecomposition",
    "ImageToText",
    "Layers",
    "LeGrad",
    "MaskClip",
    "Method",
    "MethodInfo",
    "MethodResult",
    "NacClip",
    "Occlusion",
    "RawAttention",
    "Rollout",
    "Sclip",
    "WrittenAttention",
    "get_method",
    "methods",
    "register",
]

_methods: dict[str, Method] = {}
_lock = threading.Lock()


def register(method: Method) -> Method:
    """Add a method; unless another is asked for, models use the first registered one that they support and that reads
    the text.

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
for _method in (
    CrossAttentionMap(),
    WrittenAttention(),
    ImageToText(),
    AttentionGradient(),
    HeadDecomposition(),
    RawAttention(),
    Rollout(),
    MaskClip(),
    ClearClip(),
    Sclip(),
    NacClip(),
    ClipSurgery(),
    LeGrad(),
    Chefer(),
    GradEclip(),
    GradCam(),
    Occlusion(),
):
    register(_method)
