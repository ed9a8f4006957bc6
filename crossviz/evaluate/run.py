"""Asking a model a set's questions, photo by photo."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import DatasetError, SelectionError
from crossviz.evaluate import baselines
from crossviz.evaluate.dataset import Dataset, Item, Question
from crossviz.evaluate.report import MODEL, Report, Run
from crossviz.evaluate.tally import Tally
from crossviz.measures import MeasuredMap, box_mask
from crossviz.photo import Photo, load_photo
from crossviz.trace import EncodedImage
from crossviz.version import __version__

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.explanation import Explanation
    from crossviz.methods import Method

__all__ = ["Asked", "ask_all", "evaluate"]


def evaluate(
    explainer: "Explainer",
    dataset: Dataset,
    method: "str | Method | None" = None,
    seed: int = 0,
    progress: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> Report:
    """Hold a model's maps against a set's answers, beside baselines.

    Every photo is encoded once and every text explained once; maps are forgotten as soon as they are measured.

    Args:
        explainer: the model.
        dataset: from `crossviz.evaluate.open_dataset`.
        method: a name from `explainer.methods`, or a method object; None for the first.
        seed: of the bootstrap.
        progress: wraps the items, as tqdm does.

    Raises:
        DatasetError: no question is asked, or a photo has another size than its answers are for.
        PhotoError, CaptionError, UnknownMethodError, UnsupportedMethodError: as `Explainer.explain`.
    """
    (asked,) = ask_all(explainer, dataset, [method], progress)
    return asked.report(dataset, seed)


@dataclass(eq=False)
class Asked:
    """One method's answers to a set's questions."""

    tallies: dict[str, Tally]
    """By the questions' groups."""
    photos: int = 0
    seconds: float = 0.0
    example: "Explanation | None" = None
    """The last explanation, for where the figures are from."""

    def report(self, dataset: Dataset, seed: int) -> Report:
        """The figures; the seed is the bootstrap's."""
        origin = self.example.provenance
        run = Run(
            dataset=dataset.name,
            layout=dataset.layout,
            part=dataset.chosen,
            model=origin.model,
            trained=origin.trained,
            weights_sha256=origin.weights_sha256,
            method=origin.method,
            device=origin.device,
            photos=self.photos,
            seed=seed,
            crossviz_version=__version__,
            libraries=dict(origin.libraries),
            seconds=self.seconds,
        )
        return Report(run, tuple(tally.group(seed) for tally in self.tallies.values()))


def ask_all(
    explainer: "Explainer",
    dataset: Dataset,
    methods: "Sequence[str | Method | None]",
    progress: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> list[Asked]:
    """Ask the same questions of several methods; every photo is encoded once for all of them.

    Raises:
        DatasetError: as `evaluate`.
    """
    found = [Asked({}) for _ in methods]
    for number, item in enumerate(progress(dataset.items)):
        if not item.questions:
            continue
        began = time.monotonic()
        encoded = explainer.encode(_photo(item))
        height, width = encoded.photo.wh[::-1]
        seen = box_mask([encoded.view.seen_xyxy], height, width)
        priors = {name: MeasuredMap(m, seen) for name, m in baselines.prior_maps(height, width).items()}
        encoding = time.monotonic() - began
        for method, asked in zip(methods, found, strict=True):
            began = time.monotonic()
            fresh = replace(encoded)  # without what other methods kept with it, so that each takes its own time
            asked.example = _ask(explainer, item, fresh, number, method, priors, seen, asked.tallies)
            asked.photos += 1
            asked.seconds += encoding + time.monotonic() - began
    if found[0].example is None:
        raise DatasetError(
            f"Nothing is asked of the photos of {dataset.name}: it has no phrases with boxes, no boxes with labels and "
            "no masks."
        )
    return found


def _photo(item: Item) -> Photo:
    photo = load_photo(item.photo)
    if item.wh is not None and item.wh != photo.wh:
        raise DatasetError(
            f"The answers for {item.photo.name} are for a photo of {item.wh[0]} x {item.wh[1]} pixels, but it has "
            f"{photo.wh[0]} x {photo.wh[1]}: give boxes and sizes in the pixels of the photo as it is stored, turned "
            "upright."
        )
    return photo


def _ask(
    explainer: "Explainer",
    item: Item,
    encoded: EncodedImage,
    number: int,
    method: "str | Method | None",
    priors: dict[str, MeasuredMap],
    seen: NDArray[np.bool_],
    tallies: dict[str, Tally],
) -> "Explanation":
    """All questions of one photo, of one method; the last explanation."""
    width, height = encoded.photo.wh
    texts: dict[str, list[Question]] = {}
    for question in item.questions:
        texts.setdefault(question.text, []).append(question)
    for text, questions in texts.items():
        explanation = explainer.explain(encoded, text, method=method)
        whole: MeasuredMap | None = None
        for question in questions:
            tally = tallies.setdefault(question.group, Tally(question.group, points=(baselines.CENTRE,)))
            in_caption = question.span != (0, len(text))
            try:
                heatmap = explanation.heatmap(span=question.span)
            except SelectionError:  # beyond the length that the model reads
                tally.left_out += question.present
                continue
            null = _null_masses(explanation, question, in_caption)
            if not question.present:
                tally.absent(number, null)
                continue
            region, target = _answer(question, item, height, width)
            if not region.any() or not target.any():
                tally.left_out += 1
                continue
            maps = {MODEL: MeasuredMap(heatmap, seen)}
            if in_caption:
                whole = whole or MeasuredMap(_caption_map(explanation), seen)
                maps[baselines.CAPTION] = whole
            figures = {name: found.figures(region, target) for name, found in (maps | priors).items()}
            tally.present(number, question.kinds, figures, null)
    return explanation


def _answer(question: Question, item: Item, height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What the map should cover, and where it should point: `H W` each."""
    target = box_mask(question.boxes, height, width) if question.boxes else None
    if question.mask is None:
        return (target, target) if target is not None else (np.zeros((height, width), bool),) * 2
    mask = question.mask()
    if mask.shape != (height, width):
        raise DatasetError(
            f"A mask of {item.photo.name} has {mask.shape[1]} x {mask.shape[0]} pixels, and the photo has "
            f"{width} x {height}."
        )
    return mask, mask if target is None else target


def _caption_map(explanation: "Explanation") -> NDArray[np.float32]:
    """The mean over all the words that the model read: `H W`, the same for every phrase of the caption."""
    return explanation.view.upsample(explanation.map.select(_read_words(explanation)).numpy())


def _null_masses(explanation: "Explanation", question: Question, in_caption: bool) -> dict[str, float]:
    if explanation.map.null_mass is None:
        return {}
    found = {MODEL: explanation.null_mass(span=question.span)}
    if in_caption:
        found[baselines.CAPTION] = explanation.map.select_null(_read_words(explanation))
    return found


def _read_words(explanation: "Explanation") -> list[int]:
    return [word.index for word in explanation.words if word.tokens]
