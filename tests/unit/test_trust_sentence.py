"""The one line of plain words: what it may say for which figures, and what it must not."""

import pytest
import torch

from crossviz.trust import Agreement, Calibration, Deletion, Localisation, Randomisation, TrustReport
from crossviz.trust.deletion import LEVELS, RATIO_LEVEL


def said(**checks) -> str:
    return TrustReport(span=(0, 7), text="frisbee", method="m", seconds=0.0, seed=0, **checks).sentence


def deletion(
    mine: float,
    random: tuple[float, float, float] = (0.1, 0.1, 0.1),
    *,
    centre: float = 0.0,
    whole: float = 0.9,
    nothing: float = 0.0,
    unit: str = "share found",
) -> Deletion:
    """Falls at a tenth of the patches."""
    curves = torch.full((2, 5, 7), whole)
    curves[0, :, -1] = curves[1, :, 0] = nothing
    for row, fall in zip(curves[0], (mine, centre, *random), strict=True):
        row[LEVELS.index(RATIO_LEVEL)] = whole - fall
    return Deletion(unit, "blur", LEVELS, curves)


def calibration(share: float, p: float) -> Calibration:
    return Calibration(60, share, 0.049, p, torch.zeros(2, 2), torch.zeros(2, 2))


def agreement(*agrees: bool) -> Agreement:
    count = len(agrees) + 1
    names = tuple("abcdefg"[:count])
    return Agreement(names, names, torch.eye(count), agrees, torch.zeros(2, 2))


def test_ratio_and_agreement():
    assert said(deletion=deletion(0.81, (0.09, 0.08, 0.1)), agreement=agreement(True, True, False, True, True)) == (
        "Deleting the 10% of the photo that 'frisbee' looked at most lowers the match 9 times as much as random "
        "patches; 4 of 5 other methods agree."
    )
    assert "1.8 times as much" in said(deletion=deletion(0.18))


@pytest.mark.parametrize(
    ("found", "must", "must_not"),
    [
        (deletion(0.8, (0.0, 0.0, 0.0)), "from 90% to 10%, deleting random patches to 90%", "times"),
        (deletion(0.8, (-0.1, 0.0, 0.0)), "from 90% to 10%", "times"),
        (deletion(0.01, (0.001, 0.0, 0.0)), "hardly changes the match (90% to 89%)", "times"),
        (deletion(-0.05), "does not lower the match", "times"),
        (deletion(0.3, (0.01, 0.02, 0.4)), "about as much as random patches", "times"),  # one draw falls further
        (deletion(0.12), "about as much as random patches", "times"),
        (deletion(0.05), "less than random patches", "times"),
        (deletion(0.5, nothing=0.88), "deleting can't tell", "lowers"),
        (deletion(0.003, whole=0.004), "deleting can't tell", "lowers"),  # the word is not found to begin with
        (deletion(0.05, (0.01, 0.01, 0.01), whole=0.25, nothing=0.18, unit="cosine similarity"), "5 times", "%)"),
    ],
)
def test_deletion_says_no_more_than_the_curves(found, must, must_not):
    line = said(deletion=found)
    assert must.casefold() in line.casefold()
    assert must_not not in line


def test_the_middle_of_the_photo_is_named_where_it_does_as_much():
    assert "the middle of the photo does as much" in said(deletion=deletion(0.5, centre=0.6))
    assert "middle" not in said(deletion=deletion(0.5, centre=0.4))


def test_a_map_like_any_other_is_called_that():
    line = said(calibration=calibration(0.02, 0.6), deletion=deletion(0.5))
    assert line.startswith("The map of 'frisbee' can't be told from those of 60 random captions; deleting")
    assert "random captions" not in said(calibration=calibration(0.3, 0.6), deletion=deletion(0.5))
    assert "random captions" not in said(calibration=calibration(0.02, 0.016), deletion=deletion(0.5))


def test_a_map_that_outlives_the_weights_is_not_praised():
    kept = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, 0.8))
    gone = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, 0.1))
    assert "does not show what the model learned" in said(randomisation=kept, deletion=deletion(0.5))
    assert "learned" not in said(randomisation=gone, deletion=deletion(0.5))


def test_the_box_is_told_with_its_area():
    box = Localisation((0, 0, 3, 4), 0.7, True, 0.5, 0.3, 0.12)
    assert said(localisation=box) == "70% of the map lies in the box, which is 12% of the photo."


def test_nothing_measured_says_nothing():
    assert said() == "What was measured says nothing about the map of 'frisbee'."
    long = TrustReport(span=(0, 100), text="x" * 100, method="m", seconds=0.0, seed=0)
    assert len(long.sentence) < 120
