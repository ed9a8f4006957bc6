"""The checks of one word, one after another, with what is done so far; they end when the generator is closed."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from crossviz.errors import CrossvizError, MethodError
from crossviz.frozen import FrozenResult
from crossviz.geometry import ImageView
from crossviz.measures import Box
from crossviz.trust.agreement import Agreement, agree
from crossviz.trust.calibration import Calibration, calibrate
from crossviz.trust.curves import PLACES, delete
from crossviz.trust.deletion import RATIO_LEVEL
from crossviz.trust.fills import FILLS, Fill, fill_sentence
from crossviz.trust.heads import head_effect
from crossviz.trust.localisation import Localisation, localise
from crossviz.trust.null_maps import CAPTIONS, FEWEST, null_maps
from crossviz.trust.randomisation import Randomisation
from crossviz.trust.ranks import spearman
from crossviz.trust.report import CHECKS, TrustReport
from crossviz.trust.subject import Steps, Subject, remembered, run_method

__all__ = ["LABELS", "check", "choose"]

LABELS = {
    "calibration": "random words",
    "deletion": "deleting patches",
    "randomisation": "random weights",
    "agreement": "other methods",
    "head_effect": "heads off",
    "localisation": "the box",
}
"""What is being done, for people."""
_PARTS = {"calibration": 4, "deletion": 8, "randomisation": 4, "agreement": 4, "head_effect": 3, "localisation": 1}
"""About how long each takes beside the others."""
_NEEDS = {"deletion": ("match",), "head_effect": ("match", "image_tower", "image_attention")}
SLOW = ("occlusion",)
"""Methods that others are compared with only where their map is there already."""


def choose(checks: Sequence[str] | None, box: Box | None, fill: str) -> tuple[str, ...]:
    """The checks to make: those asked for, or all; localisation needs a box.

    Raises:
        MethodError: there is no such check or fill, or a box is missing.
    """
    if isinstance(checks, str):
        raise MethodError(f"`checks` is a list of names, not the text {checks!r:.60}.")
    chosen = [name for name in CHECKS if name != "localisation" or box is not None] if checks is None else list(checks)
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown or not chosen:
        asked = f"There is no check {unknown[0]!r:.60}" if unknown else "No check was asked for"
        raise MethodError(f"{asked}: choose from {', '.join(CHECKS)}.")
    if "localisation" in chosen and box is None:
        raise MethodError("Localisation needs a box: give `box` as left, top, right and bottom in the photo's pixels.")
    if fill not in FILLS:
        raise MethodError(f"There is no fill {fill!r:.60}: choose one of {', '.join(FILLS)}.")
    return tuple(name for name in CHECKS if name in chosen)


def check(
    subject: Subject,
    checks: Sequence[str] | None = None,
    *,
    seed: int = 0,
    box: Box | None = None,
    fill: Fill = "blur",
) -> Generator[tuple[float, str], None, TrustReport]:
    """Make the checks.

    Args:
        subject: the word.
        checks: names of CHECKS; all that there can be if None.
        seed: of every random choice.
        box: for localisation, in the photo's pixels.
        fill: what takes the place of removed patches.

    Yields:
        The share that is done, 0 to 1, and what is being done.

    Returns:
        The report, as the generator's value. A check that this model or method can't make is None, with the reason in
        the notes.
    """
    chosen, began = choose(checks, box, fill), time.monotonic()
    yield 0.0, LABELS[chosen[0]]  # nothing is computed before the first step is shown
    made: dict[str, FrozenResult] = {}
    notes: list[str] = []
    total, done = sum(_PARTS[name] for name in chosen), 0
    steps = _steps(subject, seed, box, fill, notes)
    for name in chosen:
        reason = _cannot(subject, name)
        if reason:
            notes.append(f"No {name.replace('_', ' ')}: {reason}.")
        else:
            try:
                running = steps[name]()
                while True:
                    try:
                        share = next(running)
                    except StopIteration as stop:
                        made[name] = stop.value
                        break
                    yield (done + _PARTS[name] * min(share, 1.0)) / total, LABELS[name]
            except CrossvizError as error:
                notes.append(f"No {name.replace('_', ' ')}: {error}")
        done += _PARTS[name]
        yield done / total, LABELS[name]
    if "deletion" in made:
        notes += [subject.trace.match().sentence, fill_sentence(fill), *_deletion_notes(subject)]
    phrase = subject.phrase
    return TrustReport(
        span=(phrase.start, phrase.end),
        text=phrase.text,
        method=subject.chart.method,
        seconds=time.monotonic() - began,
        seed=seed,
        notes=tuple(notes),
        text_dependent=subject.chart.text_dependent,
        looked=subject.chart.direction.startswith("query: text") and not subject.method.info.before_word,
        **{name: part for name, part in made.items() if part is not None},
    )


def _deletion_notes(subject: Subject) -> list[str]:
    """How the ratio is held against chance, and whether the map ranks as many patches as it compares."""
    notes = [
        f"How many times as much is said only where the map's highest {RATIO_LEVEL:.0%} lower the match more than the "
        f"same patches at each of {PLACES} other places do, and the area under its curve is clearly below that of "
        "random patches."
    ]
    values = subject.values.flatten()
    last = values.sort(descending=True).values[max(1, round(RATIO_LEVEL * len(values))) - 1]
    if last == 0 and int((values == 0).sum()) > 1:
        notes.append(
            f"Only {int((values > 0).sum())} of {len(values)} patches are above zero, fewer than {RATIO_LEVEL:.0%}: "
            "the rest of what is deleted first was drawn from those at zero."
        )
    return notes


def _few(name: str, found: int) -> str:
    return (
        f"No {name}: of {CAPTIONS} captions with random words in its place the model reads these words in {found}, and "
        f"fewer than {FEWEST} are too few to be sure at 5 %."
    )


def _cannot(subject: Subject, name: str) -> str:
    """Why a check can't be made of this map; empty where it can."""
    if name in ("calibration", "agreement"):  # both hold the map against those of random words in its place
        if not subject.chart.text_dependent:
            return "the map is the same for every caption"
        if subject.method.info.before_word:
            return "what wrote the word had not seen it, so that random words in its place tell nothing"
    missing = [need for need in _NEEDS.get(name, ()) if need not in subject.trace.provides]
    if missing:
        return subject.trace.lacks.get(missing[0], "this model does not offer what it needs")
    if name == "agreement" and not subject.others:
        return "there is no other method for this model"
    return ""


def _steps(
    subject: Subject, seed: int, box: Box | None, fill: Fill, notes: list[str]
) -> dict[str, Callable[[], Steps[Any]]]:
    def located() -> Steps[Localisation]:
        view: ImageView = subject.trace.image.view
        yield 0.0
        return localise(view.upsample(subject.values.numpy()), box, view.seen_xyxy)

    return {
        "calibration": lambda: _calibration(subject, seed, notes),
        "deletion": lambda: delete(subject, fill, seed),
        "randomisation": lambda: _randomisation(subject, seed, notes),
        "agreement": lambda: _agreement(subject, seed, notes),
        "head_effect": lambda: head_effect(subject),
        "localisation": located,
    }


def _calibration(subject: Subject, seed: int, notes: list[str]) -> Steps[Calibration | None]:
    null = yield from null_maps(subject, seed)
    if len(null) < FEWEST:
        notes.append(_few("calibration", len(null)))
        return None
    return calibrate(subject.values, null)


def _randomisation(subject: Subject, seed: int, notes: list[str]) -> Steps[Randomisation]:
    values, words = subject.values, subject.phrase.words
    # The model as it is goes through the same steps as its random copies: 1 here says that they measure the map.
    again = run_method(subject.method, subject.trace, subject.layers)
    rows = [("nothing", 0.0, spearman(again.select(words), values))]
    for label, share, trace in subject.cascade(seed):
        try:
            chart = run_method(subject.method, trace, subject.layers)
        except CrossvizError as error:
            notes.append(f"The cascade of random weights ends before {label}: {error}")
            break
        rows.append((label, min(share, 1.0), spearman(chart.select(words), values)))
        yield (len(rows) - 1) / max(subject.num_stages, 1)
    labels, shares, correlations = zip(*rows, strict=True)
    return Randomisation(labels, shares, correlations)


def _agreement(subject: Subject, seed: int, notes: list[str]) -> Steps[Agreement | None]:
    null = yield from null_maps(subject, seed)
    if len(null) < FEWEST:
        notes.append(_few("agreement", len(null)))
        return None
    names, titles, maps = [subject.method.info.name], [subject.method.info.title], [subject.values]
    left_out = []
    for number, other in enumerate(subject.others, 1):
        known = (subject.maps or {}).get(other.info.name)
        if known is None and other.info.name in SLOW:
            left_out.append(other.info.title)
            continue
        if known is None:
            try:
                known = yield from _other(subject, other)
            except CrossvizError as error:
                notes.append(f"{other.info.title} is left out of the agreement: {error}")
                continue
        names.append(other.info.name)
        titles.append(other.info.title)
        maps.append(known.select(subject.phrase.words))
        yield number / len(subject.others)
    if left_out:
        notes.append(f"Left out of the agreement, since it takes long: {', '.join(left_out)}.")
    if len(maps) == 1:
        notes.append("No agreement: there is no other method's map to compare with.")
        return None
    return agree(names, titles, maps, null)


def _other(subject: Subject, other: Any) -> Steps[Any]:
    """Another method's map of the phrase's words, kept with the photo."""
    only = subject.phrase.words

    def compute() -> Steps[Any]:
        yield 0.0
        chart = run_method(other, replace(subject.trace, only=only))
        return chart

    name = f"map {other.info.name}"
    return (yield from remembered(subject.trace, name, (subject.trace.caption.text, only), compute))
