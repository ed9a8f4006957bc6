"""Imports torchvision, open_clip and timm where torch and torchvision come from different builds.

torchvision registers shape rules for two of its compiled operators, `nms` and `qnms`, as soon as it is imported.
Where its compiled part doesn't load (a CUDA build of torchvision beside a CPU build of torch, or two versions that
don't belong together) those operators don't exist, and `import torchvision` dies with "operator torchvision::nms
does not exist". open_clip and timm import torchvision, so they die with it, though neither calls these operators,
nor does crossviz.

Declaring the two operators first, without any code behind them, lets the import go through. It is done only after the
plain import has failed with that very error; with matching builds nothing here changes anything. A program that calls
`torchvision.ops.nms` still gets torchvision's own message about the two builds.
"""

import importlib
import threading
from types import ModuleType

import torch

__all__ = ["ensure_torchvision", "import_open_clip", "import_timm", "worked_around"]

_MISSING = "operator torchvision::nms does not exist"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_lock = threading.Lock()
# torch forgets the declarations when the library object is collected, so it lives as long as this module.
_declared: list[torch.library.Library] = []


def ensure_torchvision() -> ModuleType:
    """Import torchvision, declaring its two missing operators if that is what stops it.

    Returns:
        The module `torchvision`.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for any other reason; its own error, unchanged.
    """
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if _MISSING not in str(error) or _declared:
                raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms" + _SIGNATURE)
        library.define("qnms" + _SIGNATURE)
        _declared.append(library)
        return importlib.import_module("torchvision")


def import_open_clip() -> ModuleType:
    """Import open_clip, which needs torchvision; errors as in `ensure_torchvision`."""
    ensure_torchvision()
    return importlib.import_module("open_clip")


def import_timm() -> ModuleType:
    """Import timm, which needs torchvision; errors as in `ensure_torchvision`."""
    ensure_torchvision()
    return importlib.import_module("timm")


def worked_around() -> bool:
    """Whether the two operators had to be declared here."""
    return bool(_declared)
