"""Which part of the picture does a word look at? Cross-modal attention, word by word.

>>> import crossviz
>>> ex = crossviz.explain("photo.jpg", "a black dog catches a red frisbee")
>>> ex.overlay("frisbee").save("frisbee.png")

Names are imported when they are first used, so that `import crossviz` itself takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

from crossviz.version import __version__

if TYPE_CHECKING:
    from crossviz import methods, models
    from crossviz.attention import CrossModalAttention, CrossModalOutput
    from crossviz.errors import (
        AmbiguousTextError,
        AttentionInputError,
        BundleError,
        CaptionError,
        CaptureError,
        CrossvizError,
        DatasetError,
        DeviceError,
        GeometryError,
        MethodError,
        ModelError,
        ModelUnavailableError,
        PhotoError,
        RegistryError,
        RenderError,
        ResultError,
        SelectionError,
        SettingsError,
        UnknownMethodError,
        UnknownModelError,
        UnsupportedMethodError,
    )
    from crossviz.explainer import Explainer, explain
    from crossviz.explanation import Explanation
    from crossviz.generation import Generation
    from crossviz.generator import generate, generators
    from crossviz.geometry import ImageView, PatchGrid
    from crossviz.loading import load
    from crossviz.map_difference import Difference, difference
    from crossviz.render.compare import compare
    from crossviz.results import AttentionRecord, Provenance, RelevanceMap
    from crossviz.trace import EncodedImage
    from crossviz.words import Caption, Phrase, Word

_HOMES = {
    "attention": ("CrossModalAttention", "CrossModalOutput"),
    "errors": (
        "AmbiguousTextError",
        "AttentionInputError",
        "BundleError",
        "CaptionError",
        "CaptureError",
        "CrossvizError",
        "DatasetError",
        "DeviceError",
        "GeometryError",
        "MethodError",
        "ModelError",
        "ModelUnavailableError",
        "PhotoError",
        "RegistryError",
        "RenderError",
        "ResultError",
        "SelectionError",
        "SettingsError",
        "UnknownMethodError",
        "UnknownModelError",
        "UnsupportedMethodError",
    ),
    "map_difference": ("Difference", "difference"),
    "explainer": ("Explainer", "explain"),
    "explanation": ("Explanation",),
    "generation": ("Generation",),
    "generator": ("generate", "generators"),
    "geometry": ("ImageView", "PatchGrid"),
    "loading": ("load",),
    "render.compare": ("compare",),
    "results": ("AttentionRecord", "Provenance", "RelevanceMap"),
    "trace": ("EncodedImage",),
    "words": ("Caption", "Phrase", "Word"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AmbiguousTextError",
    "AttentionInputError",
    "AttentionRecord",
    "BundleError",
    "Caption",
    "CaptionError",
    "CaptureError",
    "CrossModalAttention",
    "CrossModalOutput",
    "CrossvizError",
    "DatasetError",
    "DeviceError",
    "Difference",
    "EncodedImage",
    "Explainer",
    "Explanation",
    "Generation",
    "GeometryError",
    "ImageView",
    "MethodError",
    "ModelError",
    "ModelUnavailableError",
    "PatchGrid",
    "PhotoError",
    "Phrase",
    "Provenance",
    "RegistryError",
    "RelevanceMap",
    "RenderError",
    "ResultError",
    "SelectionError",
    "SettingsError",
    "UnknownMethodError",
    "UnknownModelError",
    "UnsupportedMethodError",
    "Word",
    "__version__",
    "compare",
    "difference",
    "explain",
    "generate",
    "generators",
    "load",
    "methods",
    "models",
]


def __getattr__(name: str) -> Any:
    if name in ("models", "methods"):
        # The packages of these names can be called: crossviz.models() lists the models.
        return importlib.import_module(f"crossviz.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crossviz' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crossviz.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
