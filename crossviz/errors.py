"""Every error that crossviz raises on purpose.

CrossvizError
├── PhotoError              the photo can't be read, is too large, or is not a photo
├── CaptionError            the caption is empty, too long, or holds no word
├── SelectionError          a word, phrase, layer or head that the explanation does not hold
│   └── AmbiguousTextError  the text occurs more than once: a span is needed
├── ModelError              the model can't be had
│   ├── UnknownModelError   no family or model of that name
│   └── ModelUnavailableError  known, but not loadable here (no network, missing extra, damaged file)
├── MethodError             the method can't be used
│   ├── UnknownMethodError  no method of that name
│   └── UnsupportedMethodError  known, but this model does not offer what it needs
├── SettingsError           a seed, a scale, a number of steps or a size that a generator can't use
├── GeometryError           sizes, points or patches that don't fit the photo or the grid
├── ResultError             the parts of a result don't fit together
├── AttentionInputError     tensors or sizes that don't fit an attention module
├── CaptureError            a captured attention does not recompute the module's own output
├── RenderError             a picture can't be drawn as asked: no such colour map, opacity, scale
├── DatasetError            photos with answers or captions that can't be read as a set, or a batch that can't go on
├── BundleError             a saved explanation can't be written or read, or a folder of a batch not read
├── DeviceError             the device asked for is not there
└── RegistryError           a name is registered twice

Each message is one or two plain sentences: what was given, what is expected, what to do.
"""

__all__ = [
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
]


class CrossvizError(Exception):
    """The base of all; catching it catches every error that crossviz raises on purpose."""


class PhotoError(CrossvizError, ValueError):
    """The photo can't be read, is too large, or is not a photo."""


class CaptionError(CrossvizError, ValueError):
    """The caption is empty, too long, or holds no word."""


class SelectionError(CrossvizError, LookupError):
    """A word, phrase, layer or head was asked for that the explanation does not hold."""


class AmbiguousTextError(SelectionError):
    """The text occurs more than once in the caption, so a character span is needed."""


class ModelError(CrossvizError):
    """The model can't be had."""


class UnknownModelError(ModelError, LookupError):
    """No model family or model has that name."""


class ModelUnavailableError(ModelError):
    """The model is known but can't be loaded here."""


class MethodError(CrossvizError):
    """The method can't be used."""


class UnknownMethodError(MethodError, LookupError):
    """No method has that name."""


class UnsupportedMethodError(MethodError):
    """The model does not offer what the method needs."""


class SettingsError(CrossvizError, ValueError):
    """A generator was told a seed, a scale, a number of steps or a size that it can't use."""


class GeometryError(CrossvizError, ValueError):
    """Sizes, points or patches that don't fit the photo or the grid."""


class ResultError(CrossvizError, ValueError):
    """The parts of a result don't fit together."""


class AttentionInputError(CrossvizError, ValueError):
    """Tensors or sizes that do not fit an attention module."""


class CaptureError(CrossvizError, RuntimeError):
    """A captured attention does not recompute the module's own output."""


class RenderError(CrossvizError, ValueError):
    """A picture can't be drawn as asked: no such colour map, opacity or scale."""


class DatasetError(CrossvizError, ValueError):
    """Photos with answers or captions can't be read as a set, its parts don't fit together, or a batch can't go on."""


class BundleError(CrossvizError):
    """A saved explanation can't be written or read, or a folder of a batch not read."""


class DeviceError(CrossvizError):
    """The device that was asked for is not there."""


class RegistryError(CrossvizError):
    """A name is registered twice."""
