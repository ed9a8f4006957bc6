"""The small results that the tests plant, for the fuzzers: most damage to a small file hits something that matters."""

import sys

from crossviz.explanation import Explanation
from crossviz.generation import Generation
from fuzz import ROOT

__all__ = ["small_explanation", "small_generation"]

sys.path.append(str(ROOT / "tests"))

import factories
import planted_generator


def small_explanation() -> Explanation:
    """Two words, two layers, two heads, 4 x 6 patches."""
    return factories.explanation("a zebra", layers=2, heads=2, size_wh=(12, 8))


def small_generation() -> Generation:
    """A red cube of 12 x 12 places."""
    return planted_generator.planted("a red cube")
