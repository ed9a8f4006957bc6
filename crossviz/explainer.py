"""Explainer: encode a photo once, explain as many captions of it as you like."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from crossviz.errors import MethodError, UnsupportedMethodError
from crossviz.explanation import Explanation
from crossviz.methods import Layers, Method, MethodInfo, get_method, methods
from crossviz.models import DEFAULT_MODEL, Model, ModelInfo, load_model
from crossviz.photo import Photo, load_photo
from crossviz.results import Provenance
from crossviz.trace import EncodedImage
from crossviz.version import __version__
from crossviz.words import check_caption

__all__ = ["Explainer", "PhotoSource", "explain"]

PhotoSource = str | Path | bytes | Image.Image | np.ndarray | Photo


class Explainer:
    """One model on one device, ready to explain.

    Models are loaded once in a process and shared; an Explainer changes nothing in them, so one may serve many
    threads.

    Args:
        model: "crossviz-mini", "open_clip:ARCH/TAG" or "open_clip:FOLDER"; `crossviz.models()` lists them.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA where there is one, else the CPU.

    Raises:
        UnknownModelError: there is no such model.
        ModelUnavailableError: there is, but it can't be loaded here.
        DeviceError: the device is not there.

    Example:
        >>> explainer = Explainer()
        >>> image = explainer.encode("dog.jpg")
        >>> explainer.explain(image, "a dog").heatmap("dog").shape  # height and width of the photo
    """

    def __init__(self, model: str = DEFAULT_MODEL, device: str | torch.device | None = None) -> None:
        self._model: Model = load_model(model, device)

    @property
    def info(self) -> ModelInfo:
        """What the model is."""
        return self._model.info

    @property
    def device(self) -> str:
        """Where it computes, as "cpu" or "cuda:0"."""
        return str(self._model.device)

    @property
    def methods(self) -> list[MethodInfo]:
        """The methods that this model supports; the first is the one used when none is named."""
        lacks = self._model.lacks()
        return [info for info in methods() if not any(need in lacks for need in info.requires)]

    def encode(self, photo: PhotoSource) -> EncodedImage:
        """The expensive step, once per photo.

        Args:
            photo: path, bytes of a file, PIL image or uint8 array `height width 3`.

        Raises:
            PhotoError: the photo can't be read.
            UnsupportedMethodError: the model has an image tower that no method here can explain.
        """
        loaded = load_photo(photo)
        with torch.no_grad():
            return self._model.encode_image(loaded)

    def explain(
        self,
        image: EncodedImage | PhotoSource,
        caption: str,
        method: str | Method | None = None,
        layers: Layers = None,
    ) -> Explanation:
        """Where each word of the caption looks in the photo.

        Args:
            image: what `encode` returned, or a photo.
            caption: the sentence; kept as it is.
            method: a name from `methods`, or a method object (to set its parameters); None for the model's first.
            layers: None for all, an int n for the last n, or a list of indices (negative count from the end) and
                labels.

        Raises:
            PhotoError: the photo can't be read.
            CaptionError: there is no word in the caption, or it is too long to take at all.
            UnknownMethodError: there is no such method.
            UnsupportedMethodError: this model lacks what the method needs.
            SelectionError: there is no such layer.
            ModelError: the photo was encoded by another model.
        """
        check_caption(caption)  # before the expensive step
        chosen = self._method(method)
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        with torch.set_grad_enabled(chosen.needs_grad):
            trace = self._model.trace(encoded, caption)
            record, found = chosen(trace, layers)
        model = self._model
        # Where the record is not the text's attention, its own query and key are what is true.
        attention = model.info.attention_sentence
        if record.query_kind != "text tokens":
            attention = f"query: {record.query_kind}, key: {record.key_kind}; in the image tower itself"
        untrained = () if model.info.trained else ("The weights of this model were not trained.",)
        provenance = Provenance(
            crossviz_version=__version__,
            model=model.info.name,
            weights_sha256=model.weights_sha256,
            trained=model.info.trained,
            method=chosen.info.name,
            libraries=model.library_versions(),
            device=str(model.device),
            notes=(model.info.sentence, attention, *trace.model_notes, *untrained),
        )
        return Explanation(
            photo=encoded.photo,
            caption=trace.caption,
            view=encoded.view,
            grid=encoded.grid,
            record=record,
            maps={chosen.info.name: found},
            method=chosen.info.name,
            similarity=trace.similarity,
            provenance=provenance,
        )

    def _method(self, method: str | Method | None) -> Method:
        if method is None:
            supported = self.methods
            if not supported:
                raise UnsupportedMethodError(
                    f"No method here can explain {self.info.name}: {self._reasons()}. Choose a model that "
                    "crossviz.models() lists."
                )
            return get_method(supported[0].name)
        if isinstance(method, str):
            return get_method(method)
        if isinstance(getattr(method, "info", None), MethodInfo) and not isinstance(method, type):
            return method
        raise MethodError(f"A method is chosen by its name or given as a method object, not as {method!r:.60}.")

    def _reasons(self) -> str:
        return "; ".join(dict.fromkeys(self._model.lacks().values()))

    def __repr__(self) -> str:
        return f"Explainer({self.info.name!r}, device={self.device!r})"


def explain(
    photo: PhotoSource,
    caption: str,
    model: str = DEFAULT_MODEL,
    method: str | None = None,
    device: str | torch.device | None = None,
) -> Explanation:
    """Where each word of a caption looks in a photo.

    For several captions of one photo use `Explainer`, which encodes the photo once.

    Args:
        photo: path, bytes of a file, PIL image or uint8 array `height width 3`.
        caption: the sentence.
        model: as for `Explainer`.
        method: a name from `crossviz.methods()`; None for the model's first.
        device: as for `Explainer`.

    Raises:
        CrossvizError: in one of its kinds, for input that can't be explained; see `Explainer`.

    Example:
        >>> explain("photo.jpg", "a black dog catches a red frisbee").heatmap("red frisbee")
    """
    loaded = load_photo(photo)
    check_caption(caption)
    return Explainer(model, device).explain(loaded, caption, method)
