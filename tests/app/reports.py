"""A report of every check, with figures from formulas, for explanations that no model made."""

import torch

from crossviz.explanation import Explanation
from crossviz.trust.agreement import Agreement
from crossviz.trust.calibration import Calibration
from crossviz.trust.deletion import Deletion
from crossviz.trust.head_effect import Head, HeadEffect
from crossviz.trust.localisation import Localisation, localise
from crossviz.trust.randomisation import Randomisation
from crossviz.trust.report import TrustReport

__all__ = ["checked", "report"]

METHODS = {
    "cross_attention": "Cross-attention",
    "raw_attention": "Raw attention",
    "legrad": "LeGrad",
    "chefer": "Chefer et al., bi-modal",
    "gradcam": "Grad-CAM",
    "occlusion": "Occlusion",
}
LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
FALL = [0.92, 0.61, 0.33, 0.12, 0.06, 0.05, 0.04]
SLOW = [0.92, 0.9, 0.86, 0.74, 0.5, 0.24, 0.04]
CENTRE = [0.92, 0.84, 0.8, 0.6, 0.3, 0.1, 0.04]


def report(
    explanation: Explanation,
    text: str,
    *,
    beyond: float = 0.25,
    box: tuple[float, float, float, float] | None = None,
    **changed: object,
) -> TrustReport:
    """The checks of one word's map; the `beyond` share of the patches with the highest values is beyond chance."""
    phrase = explanation.caption.phrase(text)
    span = (phrase.start, phrase.end)
    values = torch.from_numpy(explanation.patch_map(text))
    above = round(beyond * values.numel())
    percentile = torch.full((values.numel(),), 0.5)
    percentile[values.flatten().argsort(descending=True)[:above]] = 59 / 60
    percentile = percentile.view(values.shape)
    fall, slow, centre = (torch.tensor(curve) for curve in (FALL, SLOW, CENTRE))
    levels = torch.tensor(LEVELS)
    wide = 0.24 * levels * (1 - levels)
    deletion = torch.stack([fall, centre, slow - wide, slow, slow + wide])
    parts = {
        "calibration": Calibration(60, above / values.numel(), 0.05, 1 / 61, percentile, 4 * percentile - 2),
        "deletion": Deletion("share found", "blur", LEVELS, torch.stack([deletion, 0.96 - deletion])),
        "randomisation": Randomisation(
            ("as it is", "cross-attention", "text tower", "blocks", "stem"),
            (0.0, 0.08, 0.3, 0.7, 1.0),
            (1.0, 0.44, 0.21, -0.06, 0.02),
        ),
        "agreement": Agreement(
            tuple(METHODS),
            tuple(METHODS.values()),
            torch.tensor([[1 / (1 + 0.35 * abs(i - j)) for j in range(6)] for i in range(6)]),
            (True, True, True, True, False),
            (percentile > 0.9).float(),
        ),
        "head_effect": HeadEffect(
            "share found",
            (
                Head("block 1", 0, -0.31, 0.4, 0.2),
                Head("block 2", 1, -0.08, 0.21, 0.5),
                Head("cross-attention", 3, 0.03, None, 0.1),
            ),
            0.92,
            0.03,
        ),
        "localisation": None if box is None else located(explanation, span, box),
    }
    notes = ("Planted.",)
    return TrustReport(span, phrase.text, explanation.method, 2.1, 0, notes, **{**parts, **changed})


def located(explanation: Explanation, span: tuple[int, int], box: tuple[float, float, float, float]) -> Localisation:
    return localise(explanation.heatmap(span=span), box)


def checked(explanation: Explanation, *texts: str, **options: object) -> Explanation:
    """The explanation with a report of each of the words or phrases."""
    for text in texts:
        explanation = explanation.with_trust(report(explanation, text, **options))
    return explanation
