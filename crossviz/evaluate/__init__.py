"""How well a model's maps find what the words mean, on photos where that is known, beside what guessing would do.

>>> from crossviz.evaluate import evaluate, open_dataset
>>> report = evaluate(crossviz.Explainer(), open_dataset("photos", limit=100))
>>> print(report.markdown())
"""

from crossviz.evaluate.compare import Comparison, compare
from crossviz.evaluate.dataset import Box, Dataset, Item, Mask, Question
from crossviz.evaluate.intervals import Figure
from crossviz.evaluate.layouts import LAYOUTS, find_sets, open_dataset, open_sets
from crossviz.evaluate.report import Report, Run
from crossviz.evaluate.run import evaluate
from crossviz.evaluate.tally import CutOff, Group, Kind, Source

__all__ = [
    "LAYOUTS",
    "Box",
    "Comparison",
    "CutOff",
    "Dataset",
    "Figure",
    "Group",
    "Item",
    "Kind",
    "Mask",
    "Question",
    "Report",
    "Run",
    "Source",
    "compare",
    "evaluate",
    "find_sets",
    "open_dataset",
    "open_sets",
]
