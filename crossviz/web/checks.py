"""What a visitor's page shows, kept on the server with the checks that were made of it, and how a check is ended."""

import dataclasses
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Self, TypeVar

from crossviz.errors import CrossvizError
from crossviz.explanation import Explanation
from crossviz.lockstep import lockstep
from crossviz.trust import TrustReport
from crossviz.trust.localisation import localise
from crossviz.web.memory import weight

__all__ = ["Kept", "Runs", "in_one_thread"]

Y = TypeVar("Y")
R = TypeVar("R")
Span = tuple[int, int]
Box = tuple[float, float, float, float]

FORGOTTEN = "This answer is no longer kept on the server: press Explain again."


class Kept:
    """The last explanation of one visitor: what is saved, and what the checks are made of.

    Checks are added to it while the visitor may already have asked for something else; each belongs to the explanation
    that it was asked about. A copy, which each new visitor gets of what the page opens with, has checks of its own.

    Args:
        key: the payload's id, by which the page names what it shows.
        explanation: what was explained.
        model: the name that the engine knows its model by.
    """

    def __init__(self, key: str, explanation: Explanation, model: str) -> None:
        self.key = key
        self.model = model
        self._hold(explanation)
        self._box: Box | None = None
        self._lock = threading.Lock()

    @property
    def explanation(self) -> Explanation:
        """With every check that was made so far."""
        return self._explanation

    def of(self, key: Any) -> Explanation:
        """The explanation, if it is the one that the page shows.

        Raises:
            CrossvizError: it is another.
        """
        if key != self.key:
            raise CrossvizError(FORGOTTEN)
        return self._explanation

    def report(self, span: Span) -> TrustReport | None:
        """The checks of a span, if more than the box was looked at."""
        report = self._explanation.trust.get(span)
        return report if report is not None and set(report.made) - {"localisation"} else None

    def add(self, report: TrustReport) -> TrustReport:
        """Keep the checks of a span, with what the box that is drawn says of it."""
        with self._lock:
            if self._box is not None:
                found = localise(
                    self._explanation.heatmap(span=report.span), self._box, self._explanation.view.seen_xyxy
                )
                report = dataclasses.replace(report, localisation=found)
            self._hold(self._explanation.with_trust(report))
        return report

    def locate(self, key: Any, span: Span, box: Any) -> Mapping[Span, TrustReport]:
        """Hold the map of a span against a box, and again those that were held against the box before.

        Args:
            key: of the explanation that the page shows.
            span: ignored where there is no box.
            box: left, top, right and bottom in the photo's pixels; None where it was taken away.

        Returns:
            Every report that there is now, by span.

        Raises:
            CrossvizError: the page shows another explanation, there are no such words, or the box is none.
        """
        explanation = self.of(key)
        phrase = None if box is None else explanation.caption.phrase(span=span)
        span = span if phrase is None else (phrase.start, phrase.end)
        with self._lock:
            reports = dict(self._explanation.trust)
            if phrase is not None and span not in reports:
                reports[span] = TrustReport(span, phrase.text, explanation.method, seconds=0.0, seed=0)
            for at, report in list(reports.items()):
                found = None
                if box is not None and (at == span or report.localisation is not None):
                    found = localise(explanation.heatmap(span=at), box, explanation.view.seen_xyxy)
                reports[at] = dataclasses.replace(report, localisation=found)
                if not reports[at].made:
                    del reports[at]
            self._box = None if box is None else reports[span].localisation.box
            self._hold(dataclasses.replace(self._explanation, trust=reports))
        return reports

    def _hold(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self.weight = weight(explanation)
        """Its bytes in memory by address; taken here, as it takes a while where the others must not wait."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.key, self._explanation, self.model)


class Runs:
    """Which of one visitor's checks were ended. Runs are numbered by the page; those up to the last ended are over."""

    def __init__(self) -> None:
        self._ended = 0

    def end(self, run: int) -> None:
        self._ended = max(self._ended, run)

    def goes_on(self, run: int) -> bool:
        return run > self._ended

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()


def in_one_thread(make: Callable[[], Generator[Y, None, R]]) -> Generator[Y, None, R]:
    """A generator whose every step runs in one and the same thread, in which it is closed, too.

    PyTorch's grad mode belongs to a thread, and Gradio takes up a generator again in any thread it has: a step that
    switched gradients off would leave them off in one thread and find them on in the next.
    """

    def run(give: Callable[[Y], None]) -> R:
        with closing(make()) as inner:
            while True:
                try:
                    item = next(inner)
                except StopIteration as done:
                    return done.value
                give(item)

    return lockstep(run, "crossviz-check")
