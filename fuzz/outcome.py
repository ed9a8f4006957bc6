"""What became of one case, and the table of many."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Outcome", "Tally"]


@dataclass(frozen=True)
class Outcome:
    """One case.

    Args:
        number: the case's, from which it is made again.
        label: how it was made, as "png palette: bit flips".
        kind: "accepted", "refused", or "wrong": what must not happen.
        said: the sentence it was refused by, or what was wrong.
        ms: how long it took: of the processor where it ran in a process of its own, by the clock where a server did.
        peak_mb: by how much the memory of the process rose meanwhile; 0 where that is not known.
    """

    number: int
    label: str
    kind: str
    said: str = ""
    ms: float = 0.0
    peak_mb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


@dataclass
class Tally:
    """The outcomes of one target, counted."""

    target: str
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[Outcome] = field(default_factory=list)
    crashes: int = 0
    hangs: int = 0
    slowest: Outcome | None = None
    largest: Outcome | None = None
    notes: list[str] = field(default_factory=list)
    """What else was held to account, as memory before and after."""
    failed: bool = False
    """Whether one of the notes is a failure."""

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        if outcome.kind == "accepted":
            self.accepted += 1
        elif outcome.kind == "refused":
            self.refused[plain(outcome.said)] += 1
        else:
            self.wrong.append(outcome)
        if self.slowest is None or outcome.ms > self.slowest.ms:
            self.slowest = outcome
        if self.largest is None or outcome.peak_mb > self.largest.peak_mb:
            self.largest = outcome

    @property
    def cases(self) -> int:
        """How many there were."""
        return self.accepted + self.refused.total() + len(self.wrong)

    @property
    def good(self) -> bool:
        """Whether nothing happened that must not."""
        return not (self.wrong or self.failed)

    def row(self) -> str:
        """A row of the table whose head is `HEAD`."""
        slowest = f"{self.slowest.ms:.0f} ms (case {self.slowest.number})" if self.slowest else "-"
        largest = self.largest
        peak = f"{largest.peak_mb:.0f} MB (case {largest.number})" if largest and largest.peak_mb else "-"
        other = len(self.wrong) - self.crashes - self.hangs
        cells = [self.target, self.cases, self.accepted, self.refused.total(), len(self.refused), slowest, peak]
        cells += [self.crashes, self.hangs, other, "; ".join(self.notes) or "-"]
        return "| " + " | ".join(str(cell) for cell in cells) + " |"

    def sentences(self, most: int = 12) -> list[str]:
        """By what sentences cases were refused, and how many by each."""
        listed = [f"- {count}: {said}" for said, count in self.refused.most_common(most)]
        rest = len(self.refused) - most
        return [*listed, f"- and {rest} other sentences"] if rest > 0 else listed


HEAD = (
    "| target | cases | accepted | refused | kinds of sentence | slowest | most memory for one | crashes | hangs "
    "| unexpected | before and after |"
)


def plain(sentence: str) -> str:
    """The kind of a sentence: without the names and numbers in it."""
    sentence = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|‘[^’]*’", "‘…’", sentence)
    return re.sub(r"\(.*?\)|-?\d[\d,.e+-]*", "#", sentence)[:110]
