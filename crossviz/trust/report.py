"""What the checks of one word come to: a report that is saved with the explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import BundleError, CrossvizError, ResultError
from crossviz.frozen import FrozenResult, check_flag, check_text, set_fields, strings
from crossviz.trust.agreement import Agreement
from crossviz.trust.calibration import Calibration
from crossviz.trust.deletion import Deletion
from crossviz.trust.head_effect import HeadEffect
from crossviz.trust.localisation import Localisation
from crossviz.trust.plain import check_number, plain
from crossviz.trust.randomisation import Randomisation

__all__ = ["CHECKS", "TrustReport"]

_TYPES: Mapping[str, type[FrozenResult]] = {
    "calibration": Calibration,
    "deletion": Deletion,
    "randomisation": Randomisation,
    "agreement": Agreement,
    "head_effect": HeadEffect,
    "localisation": Localisation,
}
CHECKS = tuple(_TYPES)
"""The names of the checks, in the order in which they are made."""


@dataclass(frozen=True, eq=False)
class TrustReport(FrozenResult):
    """How far one map of one word can be trusted. A check that was not made is None.

    Args:
        span: the word or phrase, as start and end character in the caption.
        text: the caption's text there.
        method: the map's.
        seconds: how long the checks took.
        seed: what every random choice was drawn with.
        notes: what was left out and why, and what belongs beside the figures.
        text_dependent: whether the map is of the word, and not the same for every text.
        calibration, deletion, randomisation, agreement, head_effect, localisation: the checks.
        looked: whether it is the word that looks at the photo, and not a patch at the word, or what wrote the word.

    Raises:
        ResultError: for parts that don't fit together.
    """

    span: tuple[int, int]
    text: str
    method: str
    seconds: float
    seed: int
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None
    deletion: Deletion | None = None
    randomisation: Randomisation | None = None
    agreement: Agreement | None = None
    head_effect: HeadEffect | None = None
    localisation: Localisation | None = None
    text_dependent: bool = True
    looked: bool = True

    def __post_init__(self) -> None:
        check_text(self, "text", "method")
        check_flag(self, "text_dependent", "looked")
        span = tuple(self.span)
        if len(span) != 2 or any(type(at) is not int for at in span) or not 0 <= span[0] < span[1]:
            raise ResultError(f"`span` must be a start and an end in characters, but is {self.span!r:.60}.")
        set_fields(self, span=span, notes=strings("notes", self.notes))
        check_number("seconds", self.seconds, 0)
        if type(self.seed) is not int:
            raise ResultError(f"`seed` must be an integer, but is {self.seed!r:.60}.")
        for name, kind in _TYPES.items():
            part = getattr(self, name)
            if part is not None and not isinstance(part, kind):
                raise ResultError(f"`{name}` must be a {kind.__name__} or None, but is {type(part).__name__}.")

    @property
    def made(self) -> tuple[str, ...]:
        """The names of the checks that were made."""
        return tuple(name for name in CHECKS if getattr(self, name) is not None)

    @property
    def sentence(self) -> str:
        """What the figures come to, in one line of plain words."""
        from crossviz.trust.sentence import sentence  # it reads reports

        return sentence(self)

    def lines(self) -> list[str]:
        """The sentence, and under it a line of text for each check that was made and each note."""
        from crossviz.trust.lines import lines

        return lines(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values, numbers with 5 significant digits; a check not made is None."""
        checks = {name: getattr(self, name) for name in CHECKS}
        return {
            "span": list(self.span),
            "text": self.text,
            "method": self.method,
            "sentence": self.sentence,
            "seconds": plain(self.seconds),
            "seed": self.seed,
            "notes": list(self.notes),
            **{name: None if part is None else part.as_dict() for name, part in checks.items()},
        }

    def to_arrays(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """The report as (arrays by check and name, JSON-able values)."""
        arrays: dict[str, NDArray[np.float32]] = {}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in CHECKS}
        values |= {"span": list(self.span), "notes": list(self.notes), "checks": {}}
        for name in self.made:
            own, values["checks"][name] = getattr(self, name).to_arrays()
            arrays |= {f"{name}_{key}": array for key, array in own.items()}
        return arrays, values

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.floating]], values: Mapping[str, Any]) -> Self:
        """The inverse of `to_arrays`, also after the values went through JSON.

        Raises:
            BundleError: for parts that are missing, unknown, or don't make up a report.
        """
        try:
            values = dict(values)
            checks: Mapping[str, Mapping[str, Any]] = values.pop("checks")
            return cls(**values, **{name: _restored(name, arrays, own) for name, own in checks.items()})
        except BundleError:
            raise
        except CrossvizError as error:
            raise BundleError(f"The saved figures of trust can't be read: {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BundleError("The saved figures of trust have parts missing or of the wrong kind.") from error

    def check_fits(self, caption: str, methods: Sequence[str], grid_hw: tuple[int, int]) -> None:
        """See that the report is of this caption, one of these methods and this grid.

        Raises:
            ResultError: it is not.
        """
        start, end = self.span
        if caption[start:end] != self.text:
            raise ResultError(f"The figures of trust are of {self.text!r:.60}, which is not at {self.span}.")
        if self.method not in methods:
            raise ResultError(f"The figures of trust are of the method {self.method!r:.60}, of which there is no map.")
        for part in (self.calibration and self.calibration.z, self.agreement and self.agreement.patches):
            if part is not None and tuple(part.shape) != grid_hw:
                raise ResultError(f"The figures of trust are of a grid of {tuple(part.shape)}, not of {grid_hw}.")


def _restored(name: str, arrays: Mapping[str, NDArray[np.floating]], values: Mapping[str, Any]) -> FrozenResult:
    own = {key.removeprefix(f"{name}_"): array for key, array in arrays.items() if key.startswith(f"{name}_")}
    return _TYPES[name].from_arrays(own, values)
