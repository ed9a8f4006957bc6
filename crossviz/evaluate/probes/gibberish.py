"""Words that mean nothing here must find nothing: made-up words, ordinary words on empty pictures, other captions."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.probes.made_up import made_up_words
from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, mean_figure, share_figure, summary_figure
from crossviz.evaluate.probes.scene_makers import make_tests
from crossviz.evaluate.probes.scene_renderer import SIDE, render
from crossviz.paths import assets_dir
from crossviz.photo import Photo, load_photo
from crossviz.render.scale import ABSENT_NULL_MASS

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset
    from crossviz.explainer import Explainer

__all__ = ["CAPTIONS", "empty_pictures", "probe_gibberish"]

WORDS, PAIRS, SCENES, EMPTY = 200, 100, 6, 4
OTHERS = 100  # photos of a dataset that are asked captions of others
ORDINARY = """ball bicycle bird boat book bottle car cat chair child cup dog flower hat horse house man phone tree
woman""".split()  # noqa: SIM905
CAPTIONS = {
    "a horse pulls a wagon over a bridge": ("horse", "wagon", "bridge"),
    "a violin and a trumpet lie on a piano": ("violin", "trumpet", "piano"),
    "an elephant and a zebra drink at a waterfall": ("elephant", "zebra", "waterfall"),
    "sheep graze behind a tent and a bicycle": ("sheep", "tent", "bicycle"),
    "a pizza with mushrooms beside a bottle of wine": ("pizza", "mushrooms", "bottle", "wine"),
    "a train passes a lighthouse and an umbrella": ("train", "lighthouse", "umbrella"),
}
"""Captions, and the words in them whose things are on none of the example photos and scenes."""


def probe_gibberish(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Asks what can't be there, and counts how much of it is shown as found; a dataset adds captions of its own."""
    examples, scenes, words = _examples(), _scenes(seed), made_up_words(WORDS + 2 * PAIRS, seed)
    pairs = [" ".join(pair) for pair in zip(words[WORDS::2], words[WORDS + 1 :: 2], strict=True)]
    encoded = {
        "example photos": [explainer.encode(p) for p in examples],
        "scenes": [explainer.encode(p) for p in scenes],
    }
    first = explainer.explain(encoded["scenes"][0], words[0])
    if first.map.null_mass is None:
        return ProbeReport("gibberish", f"Not measured: {explainer.info.name} has no null key to give a word to.")
    figures, single = [], []
    for kind, texts in (("words", words[:WORDS]), ("pairs of words", pairs)):
        table = {place: _nulls(explainer, images, texts) for place, images in encoded.items()}  # text photo
        for place, nulls in table.items():
            figures.append(_lit(f"made-up {kind} on {place}", nulls))
        nulls = np.concatenate(list(table.values()), 1)
        single = single or [nulls]
        figures.append(_lit(f"made-up {kind}, all", nulls))
        for share in (0.05, 0.5):
            name = f"made-up {kind}: null mass, {'median' if share == 0.5 else f'lowest {share:.0%}'}"
            figures.append(summary_figure(name, nulls, lambda v, q=share: np.quantile(v, q)))
    figures += _empty(explainer, seed)
    images = [image for own in encoded.values() for image in own]
    figures.append(_others(explainer, ((image, _spans()) for image in images), "other captions on examples and scenes"))
    if dataset is not None and (asked := _absent(explainer, dataset, seed)) is not None:
        figures.append(_others(explainer, asked, f"captions of other photos of {dataset.name}"))
    order = single[0].mean(1).argsort()[:6]
    return ProbeReport(
        "gibberish",
        f"Words that can't be in the picture: how many light up, that is keep {1 - ABSENT_NULL_MASS:.0%} or more of "
        "their attention off the null key.",
        tuple(figures),
        (f"The made-up words that are found most: {', '.join(words[i] for i in order)}.",),
    )


def empty_pictures(seed: int) -> dict[str, list[Photo]]:
    """Pictures of nothing: one colour, a gradient, noise."""
    rng, found = np.random.default_rng(seed), {"one colour": [], "a gradient": [], "noise": []}
    for number in range(EMPTY):
        colours, slope = rng.uniform(40, 220, (2, 3)), np.linspace(0, 1, SIDE)
        ramp = slope[:, None] if number % 2 else slope[None]
        flat = np.broadcast_to(colours[0], (SIDE, SIDE, 3))
        gradient = colours[0] + (colours[1] - colours[0]) * np.broadcast_to(ramp, (SIDE, SIDE))[..., None]
        noise = rng.normal(128, 50, (SIDE, SIDE, 3))
        for kind, pixels in zip(found, (flat, gradient, noise), strict=True):
            found[kind].append(Photo(pixels.round().clip(0, 255).astype(np.uint8), kind))
    return found


def _examples() -> list[Photo]:
    home = assets_dir() / "examples"
    return [load_photo(home / row["photo"]) for row in json.loads((home / "examples.json").read_text("utf-8"))]


def _scenes(seed: int) -> list[Photo]:
    pictures = [render(test.scene) for test in make_tests("noun", SCENES, seed)]
    return [Photo(picture.pixels, f"scene {number}") for number, picture in enumerate(pictures)]


def _nulls(explainer: "Explainer", images: list, texts: list[str]) -> NDArray[np.float64]:
    """Null masses, `text photo`."""
    return np.array([[explainer.explain(i, t).null_mass(span=(0, len(t))) for i in images] for t in texts])


def _lit(name: str, nulls: NDArray) -> ProbeFigure:
    """The share of `text photo` that lights up; texts are drawn for the interval."""
    return share_figure(f"{name}: light up", (nulls <= ABSENT_NULL_MASS).ravel(), np.indices(nulls.shape)[0].ravel())


def _empty(explainer: "Explainer", seed: int) -> list[ProbeFigure]:
    figures = []
    for kind, photos in empty_pictures(seed).items():
        nulls = _nulls(explainer, [explainer.encode(photo) for photo in photos], ORDINARY)
        figures.append(_lit(f"ordinary words on {kind}", nulls))
        figures.append(
            mean_figure(f"ordinary words on {kind}: null mass", nulls.ravel(), np.indices(nulls.shape)[0].ravel())
        )
    return figures


def _spans() -> list[tuple[str, tuple[int, int]]]:
    return [(text, (text.index(w), text.index(w) + len(w))) for text, own in CAPTIONS.items() for w in own]


def _absent(explainer: "Explainer", dataset: "Dataset", seed: int) -> list | None:
    """Photos with phrases of captions of other photos that this one has nothing of; None where the set has none."""
    asked = []
    for number in np.random.default_rng(seed).permutation(len(dataset.items)).tolist():
        item = dataset.items[number]
        absent = [(q.text, q.span) for q in item.questions if not q.present and q.span != (0, len(q.text))]
        if absent:
            asked.append((explainer.encode(item.photo), absent))
        if len(asked) == OTHERS:
            break
    return asked or None


def _others(explainer: "Explainer", asked: Iterable, name: str) -> ProbeFigure:
    lit, photo = [], []
    for number, (image, spans) in enumerate(asked):
        found = {text: explainer.explain(image, text) for text in dict.fromkeys(text for text, _ in spans)}
        for text, span in spans:
            lit.append(found[text].null_mass(span=span) <= ABSENT_NULL_MASS)
            photo.append(number)
    return share_figure(f"{name}: light up", lit, photo)
