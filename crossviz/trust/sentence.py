"""One line of plain words for a report, which never says more than its figures do."""

from crossviz.trust.agreement import Agreement
from crossviz.trust.calibration import Calibration
from crossviz.trust.deletion import ALIKE, RATIO_LEVEL, Deletion
from crossviz.trust.localisation import Localisation
from crossviz.trust.randomisation import Randomisation
from crossviz.trust.report import TrustReport

__all__ = ["sentence"]

_LEVEL = 0.05
_KEPT = 0.5
"""A correlation with the real map from which on a map of random weights counts as not lost."""
_CLOSE = 0.5
"""A correlation from which on a method that does not agree looks as if it did."""
_FILLED = {"blur": "blurred", "mean": "painted in its mean colour", "inpaint": "filled in without detail"}


def sentence(report: TrustReport) -> str:
    """What the checks that were made come to."""
    word = f"'{report.text if len(report.text) <= 60 else report.text[:59] + '…'}'"
    parts = []
    if report.calibration is not None:
        parts.append(_calibrated(word, report.calibration))
    if report.deletion is not None:
        parts.append(_deleted(word, report.deletion, report.text_dependent and report.looked))
    if report.agreement is not None and report.agreement.of:
        parts.append(_agreed(report.agreement))
    if report.randomisation is not None:
        parts.append(_randomised(report.randomisation, after=any(parts)))
    if report.localisation is not None:
        parts.append(_located(report.localisation))
    said = "; ".join(part for part in parts if part) or _passed(word, report)
    return f"{said[0].upper()}{said[1:]}." if said else f"What was measured says nothing about the map of {word}."


def _calibrated(word: str, found: Calibration) -> str:
    """Only a map that can't be told from chance is spoken of: what follows then means little."""
    if found.p_peak > _LEVEL and found.p_share > _LEVEL:
        return f"the map of {word} can't be told from those of {found.captions} random words in its place"
    return ""


def _passed(word: str, report: TrustReport) -> str:
    """Of checks that were passed, where nothing else is to be said."""
    parts = []
    if (c := report.calibration) is not None:
        of, p = ("its highest patch", c.p_peak) if c.p_peak <= c.p_share else ("its share of high patches", c.p_share)
        parts.append(f"is beyond those of random words in its place (p = {p:.3f} for {of})")
    if (r := report.randomisation) is not None and r.complete:
        parts.append(f"changes when the weights are shuffled (rank correlation {r.last:.2f})")
    return f"the map of {word} {' and '.join(parts)}" if parts else ""


def _deleted(word: str, found: Deletion, looks: bool) -> str:
    whole, nothing = _match(found.whole, found.unit), _match(found.nothing, found.unit)
    looked = f"{word} looked at" if looks else "the map marks"
    if not found.depends:
        return (
            f"deleting can't tell whether {looked} the right place: the match is {whole}, and {nothing} when the whole "
            f"photo is {_FILLED.get(found.fill, 'taken away')}"
        )
    mine, chance = found.fall("map"), found.fall("random")
    left = _match(found.whole - mine, found.unit)
    which = f"the {RATIO_LEVEL:.0%} of the photo that {looked} most"
    if mine < 0:
        said = f"deleting {which} does not lower the match ({whole} to {left})"
    elif found.ratio is None and mine < _LEVEL * (found.whole - found.nothing):
        said = f"deleting {which} hardly changes the match ({whole} to {left})"
    elif found.beaten:
        said = f"deleting {which} lowers the match ({whole} to {left}), but deleting as much elsewhere can do the same"
    elif mine >= ALIKE * chance and mine > found.fall("random_low"):  # the lowest curve is the one that falls furthest
        if not found.below:
            said = (
                f"deleting {which} lowers the match ({whole} to {left}), but over the whole curve not clearly more "
                "than random patches do"
            )
        elif found.ratio is None:
            random = _match(found.whole - chance, found.unit)
            said = f"deleting {which} lowers the match from {whole} to {left}, deleting random patches to {random}"
        else:
            said = f"deleting {which} lowers the match {_times(found.ratio)} as much as random patches"
    else:
        less = mine <= chance / ALIKE and mine < found.fall("random_high")
        said = f"deleting {which} lowers the match {'less than' if less else 'about as much as'} random patches do"
    if mine > 0 and found.fall("centre") >= mine:
        said += ", and the middle of the photo does as much"
    return said


def _agreed(found: Agreement) -> str:
    said = f"{found.agreeing} of {found.of} {'other method agrees' if found.of == 1 else 'other methods agree'}"
    close = int((found.correlations[0, 1:] >= _CLOSE).sum())
    if found.agreeing or not close:
        return said
    which = str(close) if close < found.of else "it" if close == 1 else "they"
    return (
        f"{said}: {which} {'is' if close == 1 else 'are'} like this map, but not clearly more than like maps of random "
        "words"
    )


def _randomised(found: Randomisation, after: bool) -> str:
    """Of a map that changes only where that may look otherwise, and something stands before it; see `_passed`."""
    if found.complete and found.last >= _KEPT:
        return (
            f"but with random weights the map stays much the same (rank correlation {found.last:.2f}), so it does not "
            "show what the model learned"
        )
    if after and found.complete and found.last <= -_KEPT:
        return f"with random weights the map changes (rank correlation {found.last:.2f})"
    return ""


def _located(found: Localisation) -> str:
    return f"{found.mass:.0%} of the map lies in the box, which is {found.area:.0%} of the photo"


def _match(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit.startswith(("share", "probability")) else f"{value:.3f}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 2.5 else f"{ratio:.1f} times"
