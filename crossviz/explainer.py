"""Explainer: encode a photo once, explain as many captions of it as you like."""

import operator
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from crossviz.errors import MethodError, ModelError, UnsupportedMethodError
from crossviz.explanation import Explanation
from crossviz.geometry import PatchGrid
from crossviz.inside import Inside
from crossviz.look_inside import look_inside
from crossviz.methods import Layers, Method, MethodInfo, get_method, methods
from crossviz.models import DEFAULT_MODEL, Model, ModelInfo, load_model
from crossviz.models.base import Prepared
from crossviz.models.cascade import Cascades
from crossviz.models.room import attention_bytes
from crossviz.photo import Photo, load_photo
from crossviz.results import Provenance
from crossviz.trace import EncodedImage, Trace
from crossviz.trust.fills import Fill
from crossviz.trust.report import TrustReport
from crossviz.trust.run import LABELS, check, choose
from crossviz.trust.subject import Subject, run_method, same_map
from crossviz.version import __version__
from crossviz.words import Caption, Phrase, check_caption

__all__ = ["Explainer", "PhotoSource", "explain"]

PhotoSource = str | Path | bytes | Image.Image | np.ndarray | Photo


class Explainer:
    """One model on one device, ready to explain.

    Models are loaded once in a process and shared; an Explainer changes nothing in them, so one may serve many
    threads.

    Args:
        model: "crossviz-mini", "coca-mini", "vilt-mini", "open_clip:ARCH/TAG", "coca:ARCH/TAG", "vilt:ORG/NAME",
            "blip:ORG/NAME", or one of these families' names with a folder; `crossviz.models()` lists them.
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
        self._cascades = Cascades(self._model)

    @property
    def info(self) -> ModelInfo:
        """What the model is."""
        return self._model.info

    @property
    def device(self) -> str:
        """Where it computes, as "cpu" or "cuda:0"."""
        return str(self._model.device)

    @property
    def grid(self) -> PatchGrid:
        """The patches that it sees a photo in."""
        return self._model.grid

    @property
    def weights_sha256(self) -> str:
        """Hex digest of the model's weights, as in a result's provenance."""
        return self._model.weights_sha256

    @property
    def methods(self) -> list[MethodInfo]:
        """The methods that this model supports, those that read the text first; the first is the default."""
        lacks = self._model.lacks()
        supported = [info for info in methods() if info.served_by(lacks)]
        return sorted(supported, key=lambda info: not info.text_dependent)

    def method_name(self, method: str | None = None) -> str:
        """The registered name of a method; of the model's first if None.

        Raises:
            UnknownMethodError: there is no such method.
            UnsupportedMethodError: this model lacks what the method needs.
        """
        chosen = self._method(method).info
        lacks = self._model.lacks()
        if not chosen.served_by(lacks):
            reasons = dict.fromkeys(lacks[need] for need in chosen.requires if need in lacks)
            raise UnsupportedMethodError(
                f"{self.info.name} can't be explained by {chosen.name}: {'; '.join(reasons)}. "
                f"Choose from {', '.join(info.name for info in self.methods)}."
            )
        return chosen.name

    def encode(self, photo: PhotoSource) -> EncodedImage:
        """The expensive step, once per photo.

        Args:
            photo: path, bytes of a file, PIL image or uint8 array `height width 3`.

        Raises:
            PhotoError: the photo can't be read.
        """
        return self.encode_many([photo])[0]

    def prepare(self, photo: PhotoSource) -> Prepared:
        """A photo read and brought to the size that the model takes: what `encode_many` would do first.

        For many photos, call it in threads of your own, ahead of the pass.

        Raises:
            PhotoError: the photo can't be read.
        """
        return self._model.prepare(load_photo(photo))

    def encode_many(self, photos: Sequence[PhotoSource | Prepared]) -> list[EncodedImage]:
        """`encode` of several photos, in one pass where the model can: as many at once as fit into memory.

        Beside rounding (1e-5 of the largest value), a photo's encoding does not depend on which others are with it.

        Args:
            photos: photos as for `encode`, or what `prepare` gave for them.

        Raises:
            PhotoError: one of the photos can't be read.
            ModelError: one of them was prepared by another model.
        """
        prepared = [each if isinstance(each, Prepared) else self.prepare(each) for each in photos]
        for each in prepared:
            if each.model_key != self._model.key:
                raise ModelError("A photo was prepared by another model: let this explainer prepare it.")
        with torch.no_grad():
            return self._model.encode_images(prepared) if prepared else []

    def explain(
        self,
        image: EncodedImage | PhotoSource,
        caption: str,
        method: str | Method | None = None,
        layers: Layers = None,
        *,
        hide: str | int | tuple[int, int] | None = None,
    ) -> Explanation:
        """Where each word of the caption looks in the photo.

        Args:
            image: what `encode` returned, or a photo.
            caption: the sentence; kept as it is.
            method: a name from `methods`, or a method object (to set its parameters); None for the model's first.
            layers: None for all that the method reads, an int n for the last n of those, or a list of indices (negative
                count from the end) and labels; of an image tower those of its blocks and then its pooler.
            hide: a word or phrase (its text, its index as a word, or its span) that the model shall not read. The
                explanation then says what the model takes it for, and its maps are of the masks in its place.

        Raises:
            PhotoError: the photo can't be read.
            SelectionError: the caption has no such word to hide, or it is there twice.
            CaptionError: there is no word in the caption, or it is too long to take at all.
            UnknownMethodError: there is no such method.
            UnsupportedMethodError: this model lacks what the method needs.
            SelectionError: there is no such layer, or the method does not read it.
            ModelError: the photo was encoded by another model.
        """
        check_caption(caption)  # before the expensive step
        chosen = self._method(method)
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        with torch.set_grad_enabled(chosen.needs_grad):
            trace = self._model.trace(encoded, caption)
            if hide is not None:
                trace = self._model.trace(encoded, caption, _chosen(trace.caption, hide))
            return self._explanation(trace, chosen, layers)

    def needed_bytes(self, caption: str, method: str | Method | None = None) -> int:
        """How much memory the attention of an explanation takes at once, estimated before anything is computed; the
        photo and the model itself are not counted.

        Raises:
            CaptionError: there is no word in the caption, or it is too long to take at all.
            UnknownMethodError: there is no such method.
        """
        tokens = len(self._model.tokenize(check_caption(caption)).caption.tokens)
        needs = self._method(method).info.requires
        return attention_bytes(self._model, tokens, bool({"image_attention", "image_row"}.intersection(needs)))

    def explain_many(
        self,
        images: Sequence[EncodedImage],
        captions: Sequence[str],
        method: str | Method | None = None,
        layers: Layers = None,
    ) -> list[Explanation]:
        """`explain` of several photos, each with its caption; the captions go through the text tower together.

        Args:
            images: what `encode_many` returned.
            captions: as many sentences.
            method, layers: as for `explain`.

        Raises:
            CrossvizError: as `explain`, for the first that will not do.
        """
        if len(images) != len(captions):
            raise ModelError(f"There are {len(images)} photos and {len(captions)} captions: give each photo its own.")
        chosen = self._method(method)
        if chosen.needs_grad:  # each with a graph of its own
            return [self.explain(*each, chosen, layers) for each in zip(images, captions, strict=True)]
        with torch.no_grad():
            traces = self._model.traces(images, captions) if captions else []
            self._model.together(images, chosen.info.requires)
            return [self._explanation(trace, chosen, layers) for trace in traces]

    def _explanation(self, trace: Trace, chosen: Method, layers: Layers) -> Explanation:
        """What a method finds in a trace, with where it comes from."""
        record, found, parts = chosen(trace, layers)
        model, encoded = self._model, trace.image
        # Where the record is not the text's attention, its own query and key are what is true.
        attention = model.info.attention_sentence
        if record is None:
            attention = "no attention is shown with this map"
        elif record.query_kind != "text tokens":
            attention = f"query: {record.query_kind}, key: {record.key_kind}"
            attention += "" if "text tokens" in record.key_kind else "; in the image tower itself"
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
            method_title=chosen.info.title,
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
            parts=parts,
            hidden=trace.hidden,
            guesses=trace.guesses() if trace.hidden else (),
        )

    def inside(
        self,
        image: EncodedImage | PhotoSource,
        explanation: Explanation | str,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        token: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        patch: tuple[int, int] | None = None,
    ) -> Inside:
        """Every number of one cell of the model's cross-attention: one word, layer, head and patch, step by step.

        What is not given is chosen, and the answer says so in `picked`.

        Args:
            image: the photo of the explanation, or what `encode` returned for it.
            explanation: made by this model; or a caption.
            text, span, word: the word or phrase, by one of the three.
            token: index of one of its tokens, where it has several.
            layer: index or label of a layer of the cross-attention.
            head: index.
            patch: row and column, counted from 0.

        Raises:
            UnsupportedMethodError: the model has no cross-attention that can be taken apart; the message says why.
            SelectionError: there is no such word, token, layer, head or patch, or the model did not read it.
            ModelError: the explanation, or the encoded photo, is of another model or another photo.
            CaptureError, ResultError: the numbers, computed again, are not the model's own.
        """
        shown = explanation if isinstance(explanation, Explanation) else None
        if shown is not None:
            self._check_own(shown)
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        if shown is not None and encoded.photo != shown.photo:
            raise ModelError("This explanation is of another photo: give the photo that it was made of.")
        with torch.no_grad():
            caption = explanation if shown is None else shown.caption.text
            trace = self._model.trace(encoded, caption, () if shown is None else shown.hidden)
            phrase = trace.caption.phrase(text, span=span, word=word)
            return look_inside(
                trace, phrase, token=token, layer=layer, head=head, patch=patch, explanation=shown,
                trained=self.info.trained,
            )  # fmt: skip

    @property
    def guesses(self) -> bool:
        """Whether the model guesses hidden words; see `explain`."""
        return "guesses" not in self._model.lacks()

    @property
    def writes(self) -> bool:
        """Whether the model writes captions itself; see `write`."""
        return self._model.writes

    def write(self, image: EncodedImage | PhotoSource, longest: int = 30) -> Iterator[str]:
        """The model's own caption of a photo as it grows, token by token; the last one is the whole.

        Args:
            image: what `encode` returned, or a photo.
            longest: the number of tokens after which the caption is ended.

        Raises:
            PhotoError: the photo can't be read.
            UnsupportedMethodError: the model writes no captions.
            CaptionError: `longest` is no whole number from 1 on.
        """
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        return self._model.write(encoded, longest)

    def trust(
        self,
        image: EncodedImage | PhotoSource,
        explanation: Explanation,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        method: Method | None = None,
        checks: Sequence[str] | None = None,
        seed: int = 0,
        box: tuple[float, float, float, float] | None = None,
        fill: Fill = "blur",
        progress: Callable[[float, str], None] | None = None,
    ) -> TrustReport:
        """How far the map of one word or phrase can be trusted; `explanation.with_trust` keeps the answer.

        Args:
            image: the photo of the explanation, or what `encode` returned for it, which also keeps what the next
                word needs.
            explanation: made by this model; its map is what is checked.
            text, span, word: the word or phrase, by one of the three.
            method: the method object, where the map was made by one with other settings than the registered one has.
            checks: names out of `crossviz.trust.CHECKS`; all if None.
            seed: of every random choice.
            box: where the thing is, as left, top, right and bottom in the photo's pixels; only for localisation.
            fill: what takes the place of removed patches: "blur", "mean" or "inpaint".
            progress: called with the share that is done, 0 to 1, and what is being done.

        Raises:
            SelectionError: no such word, or one that the model did not read.
            ModelError: the explanation, or the encoded photo, is of another model or another photo.
            MethodError: no such check or fill, or the map can't be made again.
        """
        steps = self.trust_steps(
            image, explanation, text, span=span, word=word, method=method, checks=checks, seed=seed, box=box, fill=fill
        )
        while True:
            try:
                done, doing = next(steps)
            except StopIteration as stop:
                return stop.value
            if progress is not None:
                progress(done, doing)

    def trust_steps(
        self,
        image: EncodedImage | PhotoSource,
        explanation: Explanation,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        method: Method | None = None,
        checks: Sequence[str] | None = None,
        seed: int = 0,
        box: tuple[float, float, float, float] | None = None,
        fill: Fill = "blur",
    ) -> Generator[tuple[float, str], None, TrustReport]:
        """`trust` in steps: yields the share that is done and what is being done; closing it ends the checks.

        The report is the generator's value, `StopIteration.value`. Arguments and errors as `trust`.
        """
        phrase = explanation.caption.phrase(text, span=span, word=word)
        choose(checks, box, fill)
        if explanation.hidden:
            raise MethodError("Maps are checked with every word in its place: explain the caption without hiding one.")
        self._check_own(explanation)
        chosen = self._method(explanation.map.method if method is None else method)
        return self._trust(image, explanation, phrase, chosen, checks, seed, box, fill)

    def _trust(
        self,
        image: EncodedImage | PhotoSource,
        explanation: Explanation,
        phrase: Phrase,
        chosen: Method,
        checks: Sequence[str] | None,
        seed: int,
        box: tuple[float, float, float, float] | None,
        fill: Fill,
    ) -> Generator[tuple[float, str], None, TrustReport]:
        here = isinstance(image, EncodedImage)
        yield 0.0, LABELS[choose(checks, box, fill)[0]] if here else "reading the photo"
        encoded = image if here else self.encode(image)
        if encoded.photo != explanation.photo:
            raise ModelError("This explanation is of another photo: give the photo that it was made of.")
        chart, model = explanation.map, self._model
        others = [get_method(info.name) for info in self.methods if info.text_dependent]
        subject = Subject(
            trace=model.trace(encoded, explanation.caption.text),
            method=chosen,
            layers=chart.params.get("layers"),
            phrase=phrase,
            chart=chart,
            retrace=lambda caption: model.trace(encoded, caption),
            cascade=lambda start: self._cascades.traces(start, encoded, explanation.caption.text),
            num_stages=len(model.stages()),
            others=tuple(other for other in others if other.info.name != chart.method),
            maps=explanation.maps,
        )
        if not same_map(chart, run_method(chosen, subject.trace, subject.layers)):
            raise MethodError(
                f"{chosen.info.title} gives another map now than the one in this explanation: it was made with other "
                "settings. Give the method object that made it as `method`."
            )
        return (yield from check(subject, checks, seed=seed, box=box, fill=fill))

    def _check_own(self, explanation: Explanation) -> None:
        origin, own = explanation.provenance, self._model
        if (origin.model, origin.weights_sha256) != (own.info.name, own.weights_sha256):
            raise ModelError(f"This explanation was made by {origin.model}, not by these weights of {own.info.name}.")

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


def _chosen(caption: Caption, what: str | int | tuple[int, int]) -> tuple[int, ...]:
    """The words of a caption that are named by text, index or span."""
    if isinstance(what, str):
        return caption.phrase(what).words
    try:
        operator.index(what)  # numpy's integers too, and no array that is a span
    except TypeError:
        return caption.phrase(span=what).words
    return caption.phrase(word=what).words


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
