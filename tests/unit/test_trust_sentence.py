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
    fill: str = "blur",
    elsewhere: tuple[float, ...] = (),
    later: float | None = None,
) -> Deletion:
    """Falls at a tenth of the patches and from there on; `later`: the map's from there on, if another."""
    curves = torch.full((2, 5, len(LEVELS)), whole)
    curves[0, :, -1] = curves[1, :, 0] = nothing
    for row, fall in zip(curves[0], (mine, centre, *random), strict=True):
        row[1:-1] = whole - fall
    if later is not None:
        curves[0, 0, LEVELS.index(RATIO_LEVEL) + 1 : -1] = whole - later
    return Deletion(unit, fill, LEVELS, curves, tuple(whole - fall for fall in elsewhere))


def calibration(p_share: float, p_peak: float) -> Calibration:
    return Calibration(40, 0.2, 0.049, p_peak, torch.zeros(2, 2), torch.zeros(2, 2), p_share)


def agreement(*agrees: bool, alike: tuple[float, ...] = ()) -> Agreement:
    """Whether each other method agrees; `alike`: their correlations with the first, 0 if not given."""
    count = len(agrees) + 1
    names, correlations = tuple("abcdefg"[:count]), torch.eye(count)
    if alike:
        correlations[0, 1:] = correlations[1:, 0] = torch.tensor(alike)
    return Agreement(names, names, correlations, agrees, torch.zeros(2, 2))


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
        (deletion(0.8, (0.0, 0.0, 0.0), unit="probability of matching"), "from 90% to 10%", "0.9"),
        (deletion(0.05, (0.01, 0.01, 0.01), whole=0.25, nothing=0.18, unit="cosine similarity"), "5 times", "%)"),
    ],
)
def test_deletion_says_no_more_than_the_curves(found, must, must_not):
    line = said(deletion=found)
    assert must.casefold() in line.casefold()
    assert must_not not in line


def test_one_level_is_no_claim_where_the_whole_curve_does_not_bear_it_out():
    """coca-mini's 'dog': six times the fall at a tenth, and on the whole as large an area as that of random patches."""
    figures = {"whole": -0.76, "nothing": -8.3, "unit": "log-probability per token"}
    line = said(deletion=deletion(3.0, (0.5, 0.5, 0.5), later=0.0, **figures))
    assert "times" not in line and line == (
        "Deleting the 10% of the photo that 'frisbee' looked at most lowers the match (-0.760 to -3.760), but over the "
        "whole curve not clearly more than random patches do."
    )
    assert "6 times as much" in said(deletion=deletion(3.0, (0.5, 0.5, 0.5), later=2.0, **figures))
    nothing_at_a_tenth = deletion(0.5, (0.0, 0.0, 0.0), later=-0.1)  # where no ratio can be named
    assert "(90% to 40%), but over the whole curve not clearly more than random" in said(deletion=nothing_at_a_tenth)
    alike = said(deletion=deletion(0.12, later=0.1))  # says of the level no more than that it is like random patches
    assert "about as much as random patches do" in alike and "curve" not in alike


def test_the_middle_of_the_photo_is_named_where_it_does_as_much():
    assert "the middle of the photo does as much" in said(deletion=deletion(0.5, centre=0.6))
    assert "middle" not in said(deletion=deletion(0.5, centre=0.4))


def test_a_map_like_any_other_is_called_that():
    line = said(calibration=calibration(0.06, 0.6), deletion=deletion(0.5))
    assert line.startswith("The map of 'frisbee' can't be told from those of 40 random words in its place; deleting")
    assert "random words" not in said(calibration=calibration(0.04, 0.6), deletion=deletion(0.5))
    assert "random words" not in said(calibration=calibration(0.6, 0.04), deletion=deletion(0.5))


def test_what_was_found_is_said_where_nothing_else_is():
    assert said(calibration=calibration(0.3, 0.024)) == (
        "The map of 'frisbee' is beyond those of random words in its place (p = 0.024 for its highest patch)."
    )
    assert "(p = 0.024 for its share of high patches)" in said(calibration=calibration(0.024, 0.3))
    gone = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, 0.1))
    assert said(randomisation=gone) == (
        "The map of 'frisbee' changes when the weights are shuffled (rank correlation 0.10)."
    )
    both = said(randomisation=gone, calibration=calibration(0.024, 0.024))
    assert "highest patch) and changes when" in both
    assert said(randomisation=gone, calibration=calibration(0.5, 0.5)).endswith("in its place.")


def test_copies_of_the_map_elsewhere_forbid_a_ratio():
    assert "5 times as much" in said(deletion=deletion(0.5, elsewhere=(0.1, 0.49)))
    line = said(deletion=deletion(0.5, elsewhere=(0.1, 0.5)))
    assert "times" not in line and "lowers the match (90% to 40%), but deleting as much elsewhere" in line


@pytest.mark.parametrize(
    ("fill", "words"), [("blur", "blurred"), ("mean", "painted in its mean colour"), ("inpaint", "filled in")]
)
def test_the_whole_photo_is_what_the_fill_makes_of_it(fill, words):
    line = said(deletion=deletion(0.5, nothing=0.88, fill=fill))
    assert f"when the whole photo is {words}" in line and "taken away" not in line


def test_a_map_that_is_not_of_the_word_is_not_where_it_looked():
    assert "the photo that the map marks most lowers" in said(deletion=deletion(0.5), text_dependent=False)
    assert "looked" not in said(deletion=deletion(0.5, nothing=0.88), text_dependent=False)
    assert "the photo that the map marks most lowers" in said(deletion=deletion(0.5), looked=False)
    assert "looked" not in said(deletion=deletion(0.5, nothing=0.88), looked=False)


def test_a_map_that_outlives_the_weights_is_not_praised():
    kept = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, 0.8))
    gone = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, 0.1))
    assert "does not show what the model learned" in said(randomisation=kept, deletion=deletion(0.5))
    assert "learned" not in said(randomisation=gone, deletion=deletion(0.5))
    early = Randomisation(("nothing", "some"), (0.0, 0.3), (1.0, 0.8))
    assert "learned" not in said(randomisation=early, deletion=deletion(0.5))
    assert "says nothing" in said(randomisation=Randomisation(("nothing", "some"), (0.0, 0.3), (1.0, 0.1)))
    report = TrustReport((0, 7), "frisbee", "m", 0.0, 0, randomisation=early)
    assert "+0.80 when 30% are random (1 stages)" in report.lines()[1]


def test_a_map_that_turns_with_the_weights_has_changed():
    turned = Randomisation(("nothing", "all"), (0.0, 1.0), (1.0, -0.8))
    line = said(randomisation=turned, deletion=deletion(0.5))
    assert line.endswith("; with random weights the map changes (rank correlation -0.80).")
    assert said(randomisation=turned, calibration=calibration(0.3, 0.024)).endswith(
        "for its highest patch) and changes when the weights are shuffled (rank correlation -0.80)."
    )
    early = Randomisation(("nothing", "some"), (0.0, 0.3), (1.0, -0.8))
    assert "weights" not in said(randomisation=early, deletion=deletion(0.5))


def test_why_methods_with_like_maps_do_not_agree_is_said():
    why = "like this map, but not clearly more than like maps of random words."
    line = said(agreement=agreement(False, False, False, alike=(0.84, 0.87, 0.86)))
    assert line == f"0 of 3 other methods agree: they are {why}"
    assert said(agreement=agreement(False, alike=(0.84,))) == f"0 of 1 other method agrees: it is {why}"
    assert said(agreement=agreement(False, False, alike=(0.84, 0.1))) == f"0 of 2 other methods agree: 1 is {why}"
    assert said(agreement=agreement(False, False, alike=(-0.84, 0.1))) == "0 of 2 other methods agree."
    assert said(agreement=agreement(True, False, alike=(0.84, 0.8))) == "1 of 2 other methods agree."


def test_the_box_is_told_with_its_area():
    box = Localisation((0, 0, 3, 4), 0.7, True, 0.5, 0.3, 0.12)
    assert said(localisation=box) == "70% of the map lies in the box, which is 12% of the photo."


def test_nothing_measured_says_nothing():
    assert said() == "What was measured says nothing about the map of 'frisbee'."
    long = TrustReport(span=(0, 100), text="x" * 100, method="m", seconds=0.0, seed=0)
    assert len(long.sentence) < 120
