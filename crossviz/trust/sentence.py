"""One line of plain words for a report, which never says more than its figures do."""

from crossviz.trust.agreement import Agreement
from crossviz.trust.calibration import Calibration
from crossviz.trust.deletion import RATIO_LEVEL, Deletion
from crossviz.trust.localisation import Localisation
from crossviz.trust.randomisation import Randomisation
from crossviz.trust.report import TrustReport

__all__ = ["sentence"]

_LEVEL = 0.05
_ALIKE = 1.5
"""Ratios between 1 / 1.5 and 1.5 are not told apart: the random orders are only a few."""
_KEPT = 0.5
"""A correlation with the real map above which a map of random weights counts as the same."""


def sentence(report: TrustReport) -> str:
    """What the checks that were made come to."""
    word = f"'{report.text if len(report.text) <= 60 else report.text[:59] + '…'}'"
    parts = []
    if report.calibration is not None:
        parts.append(_calibrated(word, report.calibration))
    if report.deletion is not None:
        parts.append(_deleted(word, report.deletion))
    if report.agreement is not None and report.agreement.of:
        parts.append(_agreed(report.agreement))
    if report.randomisation is not None and len(report.randomisation.correlations) > 1:
        parts.append(_randomised(report.randomisation))
    if report.localisation is not None:
        parts.append(_located(report.localisation))
    said = "; ".join(part for part in parts if part)
    return f"{said[0].upper()}{said[1:]}." if said else f"What was measured says nothing about the map of {word}."


def _calibrated(word: str, found: Calibration) -> str:
    """Only a map that can't be told from chance is spoken of: what follows then means little."""
    if found.p_peak > _LEVEL and found.share_beyond <= 2 * found.expected:
        return f"the map of {word} can't be told from those of {found.captions} random captions"
    return ""


def _deleted(word: str, found: Deletion) -> str:
    whole, nothing = _match(found.whole, found.unit), _match(found.nothing, found.unit)
    if not found.depends:
        return (
            f"deleting can't tell whether {word} looked at the right place: the match is {whole}, and {nothing} when "
            "the whole photo is taken away"
        )
    mine, chance = found.fall("map"), found.fall("random")
    left = _match(found.whole - mine, found.unit)
    which = f"the {RATIO_LEVEL:.0%} of the photo that {word} looked at most"
    if mine < 0:
        said = f"deleting {which} does not lower the match ({whole} to {left})"
    elif found.ratio is None and mine < _LEVEL * (found.whole - found.nothing):
        said = f"deleting {which} hardly changes the match ({whole} to {left})"
    elif found.ratio is None:
        random = _match(found.whole - chance, found.unit)
        said = f"deleting {which} lowers the match from {whole} to {left}, deleting random patches to {random}"
    elif found.ratio >= _ALIKE and mine > found.fall("random_low"):  # the lowest curve is the one that falls furthest
        said = f"deleting {which} lowers the match {_times(found.ratio)} as much as random patches"
    else:
        less = found.ratio <= 1 / _ALIKE and mine < found.fall("random_high")
        said = f"deleting {which} lowers the match {'less than' if less else 'about as much as'} random patches do"
    if mine > 0 and found.fall("centre") >= mine:
        said += ", and the middle of the photo does as much"
    return said


def _agreed(found: Agreement) -> str:
    methods = "other method agrees" if found.of == 1 else "other methods agree"
    return f"{found.agreeing} of {found.of} {methods}"


def _randomised(found: Randomisation) -> str:
    if found.last >= _KEPT:
        return (
            f"but with random weights the map stays much the same (rank correlation {found.last:.2f}), so it does not "
            "show what the model learned"
        )
    return ""


def _located(found: Localisation) -> str:
    return f"{found.mass:.0%} of the map lies in the box, which is {found.area:.0%} of the photo"


def _match(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit.startswith("share") else f"{value:.3f}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 2.5 else f"{ratio:.1f} times"
