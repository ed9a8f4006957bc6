"""Trust: measured answers to "can this map be trusted?", for one word at a time.

Each check is a file: its result, and the arithmetic as a pure function. `crossviz.Explainer.trust` makes them.
"""

from crossviz.trust.agreement import Agreement, agree
from crossviz.trust.calibration import Calibration, calibrate
from crossviz.trust.deletion import Deletion
from crossviz.trust.head_effect import Head, HeadEffect
from crossviz.trust.localisation import Localisation, localise
from crossviz.trust.randomisation import Randomisation
from crossviz.trust.report import CHECKS, TrustReport
from crossviz.trust.run import check
from crossviz.trust.subject import Subject

__all__ = [
    "CHECKS",
    "Agreement",
    "Calibration",
    "Deletion",
    "Head",
    "HeadEffect",
    "Localisation",
    "Randomisation",
    "Subject",
    "TrustReport",
    "agree",
    "calibrate",
    "check",
    "localise",
]
