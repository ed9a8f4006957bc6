"""Probes: what a model's maps do with colours, counts and relations, made-up words, rare words, and what they cost.

Most need no data but what is in the package; `retrieval`, `heads` and `words` measure on a dataset of the user's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from crossviz.errors import SelectionError
from crossviz.evaluate.probes.cost import probe_cost
from crossviz.evaluate.probes.gibberish import probe_gibberish
from crossviz.evaluate.probes.heads import probe_heads
from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, markdown
from crossviz.evaluate.probes.retrieval import probe_retrieval
from crossviz.evaluate.probes.scenes import probe_scenes
from crossviz.evaluate.probes.words import probe_words

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset
    from crossviz.explainer import Explainer

__all__ = ["PROBES", "ProbeFigure", "ProbeReport", "markdown", "run"]

Probe = Callable[["Explainer", "Dataset | None", int], ProbeReport]

PROBES: Mapping[str, Probe] = {
    "scenes": probe_scenes,
    "gibberish": probe_gibberish,
    "retrieval": probe_retrieval,
    "heads": probe_heads,
    "words": probe_words,
    "cost": probe_cost,
}
"""The probes by name, in the order they are run in."""


def run(
    names: Sequence[str] | None, explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0
) -> list[ProbeReport]:
    """Run probes; one that needs a dataset and gets none, or not what it needs, says so in its report.

    Args:
        names: which, of `PROBES`; None or empty for all.
        explainer: the model.
        dataset: photos for the probes that need some; None without.
        seed: decides every random choice.

    Raises:
        SelectionError: there is no such probe.
    """
    chosen = list(dict.fromkeys(names or PROBES))
    unknown = [name for name in chosen if name not in PROBES]
    if unknown:
        raise SelectionError(f"There is no probe {unknown[0]!r:.60}: choose from {', '.join(PROBES)}.")
    reports = []
    for name in chosen:
        began = time.perf_counter()
        report = PROBES[name](explainer, dataset, seed)
        reports.append(ProbeReport(name, report.sentence, report.figures, report.notes, time.perf_counter() - began))
    return reports
