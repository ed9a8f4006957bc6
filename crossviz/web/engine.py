"""What the page asks for: explanations, with the photo's features kept while only the caption changes."""

import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from crossviz.errors import MethodError, ModelError, ModelUnavailableError
from crossviz.explainer import Explainer, PhotoSource
from crossviz.explanation import Explanation
from crossviz.methods import MethodInfo
from crossviz.models import ModelInfo, models
from crossviz.models.base import Prepared
from crossviz.photo import Photo, load_photo
from crossviz.results import layer_index
from crossviz.trace import EncodedImage
from crossviz.web import probe
from crossviz.web.batching import Batcher, Shared
from crossviz.web.cores import cores
from crossviz.web.examples import example_hashes, examples
from crossviz.web.finished import finished
from crossviz.web.offered import Offered
from crossviz.web.operations.questions import note
from crossviz.web.owners import Owners
from crossviz.web.photo_cache import PhotoCache
from crossviz.web.server_settings import ServerSettings
from crossviz.web.zero_gpu import Borrowed
from crossviz.words import check_caption

if TYPE_CHECKING:
    from crossviz.inside import Inside
    from crossviz.trust import TrustReport

__all__ = ["Engine"]

R = TypeVar("R")
MOST_BYTES = 2 << 30
"""Attention that is computed for one question where the page is served to others. With the four questions that a server
of two cores answers at once it is half of the 16 GB of the smallest Space; the other half is for models and photos."""
_WRITTEN = "word " * 30
"""As long as a caption that a model writes itself."""
PATIENCE_S = 0.5
"""How often one who waits for a photo before theirs is told so, and may leave."""


class Engine:
    """Explainers by model name, and the photos that they encoded last.

    Encoded photos are kept in this process, 512 MiB in all if `settings` say nothing else. The key is the sha256 of the
    photo's pixels and the model: who has not got the photo can't ask for it. Photos are encoded in one thread, in the
    order in which they came, several in one pass where that is faster; what many ask for is loaded and encoded once.
    A photo is kept for those who asked about it, and forgotten when the last of them has left (`forget_photos`).

    Args:
        model: the model that is there from the start.
        device: as for `Explainer`.
        folders: whether a model may be named by a folder of this computer. True only where the page is served to
            this computer alone.
        settings: how much is done at once and kept.
        visit: says in whose visit the thread that calls it answers; None where it is nobody's.
        waits: whether the one who asked is still there; a question of one who left ends at its next step.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        *,
        folders: bool = False,
        settings: ServerSettings | None = None,
        visit: Callable[[], str | None] = lambda: None,
        waits: Callable[[], bool] = lambda: True,
    ) -> None:
        self.model = model
        self.device = device
        self.folders = folders
        self.settings = ServerSettings() if settings is None else settings
        self.offered = Offered(model, self.settings.models)
        self.photos = PhotoCache(self.settings.cache_mb << 20)
        self._visit, self.waits = visit, waits
        self._owners: Owners[str] = Owners()
        self._explainers: dict[str, Explainer] = {}
        self._loading = Shared()
        self._named: dict[str, str] = {}
        self.borrowed: Borrowed | None = None
        """Answers some models' questions on a GPU that is lent for each of them."""
        self.on_pass: Callable[[int], None] = lambda photos: None
        """Told how many photos a pass of a model's image tower takes."""
        self._reading: Batcher[Explainer, Prepared, EncodedImage] = Batcher(self._encode, self._most, "crossviz-photos")

    @property
    def at_once(self) -> int:
        """How many questions of a kind are worked on at once."""
        return self.settings.places(cores())

    def explainer(self, model: str) -> Explainer:
        """The explainer of a model, loaded when first asked for.

        Raises:
            UnknownModelError, ModelUnavailableError, DeviceError: as `Explainer`.
        """
        name = (model or self.model).strip()
        if name not in self._explainers:
            if name != self.model and not self.folders and name not in self.offered:
                raise ModelUnavailableError(
                    f"{name[:80]!r} is not on the list of this server, which loads no other models for its visitors: "
                    "choose one from the list, or run crossviz on your own computer."
                )
            self._loading(name, lambda: self._load(name))
        return self._explainers[name]

    def _load(self, name: str) -> None:
        if name not in self._explainers:  # loaded a moment ago, say
            self._explainers[name] = Explainer(name, self.device)

    def loaded(self, model: str) -> Explainer | None:
        """The explainer of a model if it is loaded already."""
        return self._explainers.get((model or self.model).strip())

    def models(self) -> list[ModelInfo]:
        """The models to choose from, that of the start first; where folders may be named, those that are loaded too."""
        infos = {info.name: info for info in self.offered.infos()}
        if self.model in self._explainers:
            infos = {self.model: self._explainers[self.model].info, **infos}
        if self.folders:
            infos |= {explainer.info.name: explainer.info for explainer in [*self._explainers.values()]}
        return sorted(infos.values(), key=lambda info: info.name != self.model)

    def methods(self, model: str) -> list[MethodInfo]:
        """The methods of a model; none as long as it is not loaded, since only then are they known."""
        explainer = self.loaded(model)
        return [] if explainer is None else explainer.methods

    def writes(self, model: str) -> bool:
        """Whether a model is known to write captions: it is loaded, and does."""
        explainer = self.loaded(model)
        return explainer is not None and explainer.writes

    def guesses(self, model: str) -> bool:
        """Whether a model is known to guess hidden words: it is loaded, and does."""
        explainer = self.loaded(model)
        return explainer is not None and explainer.guesses

    def read_steps(
        self, photo: PhotoSource | None, model: str, caption: str | None = None, method: str | None = None
    ) -> Generator[str, None, tuple[Explainer, EncodedImage]]:
        """A photo in a model, step by step: yields what is being done next, returns the explainer and the photo.

        Args:
            caption, method: what will be asked, looked at before anything takes time.

        Raises:
            CrossvizError: the photo, the caption, the model or the method will not do.
        """
        explainer, loaded = yield from self._ready(photo, model, caption, method)
        image = self.photos.ask(_key(explainer, loaded))
        if image is None:
            yield "reading the photo"
            image = yield from self._read(explainer, loaded)
            self._keep(explainer, image)
        else:
            self._owners.use(loaded.sha256, self._visit())
        return explainer, image.called(loaded.name)  # another visitor may have named the same photo otherwise

    def _ready(
        self, photo: PhotoSource | None, model: str, caption: str | None, method: str | None
    ) -> Generator[str, None, tuple[Explainer, Photo]]:
        """What is needed before a photo is read, in the order in which it costs more."""
        loaded = load_photo(photo)
        if caption is not None:
            check_caption(caption)
        if self.loaded(model) is None:
            yield f"loading {(model or self.model)[:80]}"
        explainer = self.explainer(model)
        note(model=self.named(explainer))
        if (caption or method) and not self.folders:
            check_room(explainer, caption or _WRITTEN, method or None)
        return explainer, loaded

    def steps(
        self, photo: PhotoSource | None, caption: str, model: str, method: str | None
    ) -> Generator[str, None, Explanation]:
        """One explanation, step by step: yields what is being done next, returns the explanation.

        Raises:
            CrossvizError: the photo, the caption, the model or the method will not do.
        """
        if self.borrowed is not None and self.borrowed.wanted(model or self.model):
            _, loaded = yield from self._ready(photo, model, caption, method)
            explanation = yield from self.borrowed.explain(
                (model or self.model).strip(), loaded, caption, method or None
            )
            note(method=explanation.method)
            return explanation
        explainer, image = yield from self.read_steps(photo, model, caption, method)
        yield "asking every word"
        explanation = explainer.explain(image, caption, method or None)
        note(method=explanation.method)
        self._keep(explainer, image)
        return explanation

    def again_steps(
        self, explanation: Explanation, model: str, hide: tuple[int, int] | None
    ) -> Generator[str, None, Explanation]:
        """An explanation once more, step by step, with words hidden from the model; with none hidden if None.

        Args:
            explanation: made by the model that has the name `model` here.
            hide: start and end of the words in the caption, in characters.

        Raises:
            CrossvizError: the model is not there, is another one or guesses no words, or there are no such words.
        """
        explainer, image = yield from self._reread(explanation, model, explanation.method)
        yield "asking every word" if hide is None else "letting the model guess"
        again = explainer.explain(image, explanation.caption.text, explanation.method, hide=hide)
        self._keep(explainer, image)
        return again

    def trust_steps(
        self,
        explanation: Explanation,
        model: str,
        span: tuple[int, int],
        checks: Sequence[str] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> Generator[tuple[float, str], None, "TrustReport"]:
        """The checks of one word's or phrase's map, step by step: yields the share that is done and what is done next.

        Args:
            model: the name that the explanation's model has here.
            span: start and end of the words in the caption, in characters.
            checks, box: as for `Explainer.trust`.

        Raises:
            CrossvizError: the model is not there or is another one, or there are no such words or checks.
        """
        if self.borrowed is not None and self.borrowed.wanted(model or self.model):
            self._same(self.explainer(model), explanation)
            asked = {"span": span, "checks": checks, "box": box}
            return (yield from self.borrowed.trust((model or self.model).strip(), explanation, **asked))
        steps = self._reread(explanation, model, explanation.method)
        while True:
            try:
                yield 0.0, next(steps)
            except StopIteration as done:
                explainer, image = done.value
                break
        report = yield from explainer.trust_steps(image, explanation, span=span, checks=checks, box=box)
        self._keep(explainer, image)
        return report

    def inside(
        self,
        explanation: Explanation,
        model: str,
        span: tuple[int, int],
        layer: int | None,
        head: int | None,
        **where: Any,
    ) -> "Inside":
        """The arithmetic of one cell of an explanation's model.

        Args:
            model: the name that the explanation's model has here.
            span: start and end of the words in the caption, in characters.
            layer, head: indices in the map that is shown; None for all. Of a map that is not the cross-attention's they
                name other layers and heads than those that are opened, and count for nothing.
            where: `token` and `patch`, as `Explainer.inside`.

        Raises:
            CrossvizError: the model is not there, is another one or can't be opened, or there is no such cell.
        """
        explainer, image = self.finished(self._reread(explanation, model, None))
        chart = explanation.map
        of_map = chart.method == "cross_attention" and chart.per_head is not None
        label = chart.layers[layer_index(chart.layers, layer)] if of_map and layer is not None else None
        found = explainer.inside(image, explanation, span=span, layer=label, head=head if of_map else None, **where)
        self._keep(explainer, image)
        return found

    def explain(
        self, photo: PhotoSource | None, caption: str, model: str = "", method: str | None = None
    ) -> Explanation:
        """`steps` in one go."""
        return self.finished(self.steps(photo, caption, model, method))

    def finished(self, steps: Generator[Any, None, R]) -> R:
        """What a generator returns, once all its steps are done.

        Raises:
            LeftError: the one who asked has left.
        """
        return finished(steps, self.waits)

    def warm(self) -> None:
        """Load the first model and explain the first example with it, so that no visitor waits for what is done once.

        Raises:
            ModelError, DeviceError: it can't be loaded.
        """
        first = examples()[0]
        self.explain(str(first.photo), first.caption)

    def probe(self) -> Explanation:
        """A tiny built-in photo explained by the first model, in the same line as visitors' photos; nothing is kept.

        Raises:
            CrossvizError: it can't be explained.
        """
        explainer, photo = self.explainer(self.model), probe.photo()
        with self._reading.place(explainer, photo.sha256, explainer.prepare(photo)) as place:
            return explainer.explain(place.answer(), probe.CAPTION)

    def about(self) -> dict[str, str]:
        """What may be told of the first model: its name, and where it computes."""
        explainer = self.explainer(self.model)
        return {"model": self.named(explainer), "device": explainer.device}

    def named(self, explainer: Explainer) -> str:
        """A model's name if it is one that crossviz lists; of any other, as a folder's, only the family."""
        name = explainer.info.name
        if name not in self._named:
            listed = ":" not in name or name in {info.name for info in models(everything=True)}
            self._named[name] = name if listed else f"{name.partition(':')[0]}:(own)"
        return self._named[name]

    def names_loaded(self) -> list[str]:
        """The names of the models that are loaded."""
        return [self.named(explainer) for explainer in [*self._explainers.values()]]

    def _reread(
        self, explanation: Explanation, model: str, method: str | None
    ) -> Generator[str, None, tuple[Explainer, EncodedImage]]:
        """`read_steps` of what was explained already, here or elsewhere, in the model of that name."""
        if self.loaded(model) is not None:
            self._same(self.explainer(model), explanation)  # before its methods are looked for
        explainer, image = yield from self.read_steps(explanation.photo, model, explanation.caption.text, method)
        self._same(explainer, explanation)
        return explainer, image

    @staticmethod
    def _same(explainer: Explainer, explanation: Explanation) -> None:
        if explainer.info.name != explanation.provenance.model:
            raise ModelError(
                f"This map was made by {explanation.provenance.model!r:.80}, which is not loaded here: press Explain, "
                "then ask about the new map."
            )

    def _read(self, explainer: Explainer, photo: Photo) -> Generator[str, None, EncodedImage]:
        """A photo through the model; says how many are before it, and is taken out of the line when it is closed."""
        with self._reading.place(explainer, photo.sha256, explainer.prepare(photo)) as place:
            while not place.wait(PATIENCE_S):
                before = place.before()
                if before:
                    seconds = before * (place.pace() or 0)
                    about = f", about {math.ceil(seconds)} s" if seconds >= 1 else ""
                    yield f"waiting: {before} {'photos are' if before > 1 else 'photo is'} read before yours{about}"
            return place.answer()

    def _encode(self, explainer: Explainer, prepared: list[Prepared]) -> list[EncodedImage]:
        keys = [_key(explainer, each.photo) for each in prepared]
        found = [self.photos.get(key) for key in keys]  # some may have come while these waited
        lack = [each for each, image in zip(prepared, found, strict=True) if image is None]
        made = iter(explainer.encode_many(lack))
        if lack:
            self.on_pass(len(lack))
        return [next(made) if image is None else image for image in found]  # kept by those who still wait for them

    def _most(self, explainer: Explainer) -> int:
        return self.settings.together(explainer.device, torch.get_num_threads())

    def _keep(self, explainer: Explainer, image: EncodedImage) -> None:
        """Keep a photo for who asks about it; it is counted with what methods and checks have left with it by now."""
        self._owners.use(image.photo.sha256, self._visit())
        self.photos.put(_key(explainer, image.photo), image)

    def forget_photos(self, here: Callable[[str], bool], most: float) -> None:
        """Forget the photos of visits that are all over, and those of no visit that nobody asked about for a while. The
        examples are nobody's, and stay as long as there is room.

        Args:
            here: whether a visit goes on.
            most: seconds.
        """
        self._owners.found(sha256 for sha256, _ in self.photos.kept())
        over = set(self._owners.over(here, most)) - example_hashes()
        if over:
            self.photos.drop([key for key in self.photos.kept() if key[0] in over])


def check_room(explainer: Explainer, caption: str, method: str | None, most: int = MOST_BYTES) -> None:
    """Says beforehand what would take too much memory.

    Raises:
        MethodError: it would; or there is no such method.
        CaptionError: the caption is none.
    """
    needed = explainer.needed_bytes(caption, method)
    if needed > most:
        grid = explainer.grid
        raise MethodError(
            f"{explainer.info.name} has so many heads and {grid.height} x {grid.width} patches that this caption with "
            f"{method or 'its first method'} would take {needed / 2**30:,.1f} GiB, and at most {most / 2**30:.1f} GiB "
            "are computed for one question here: choose another method or a smaller model, write a shorter caption, "
            "or run crossviz on your own computer."
        )


def _key(explainer: Explainer, photo: Photo) -> tuple[str, str]:
    return photo.sha256, explainer.info.name
