"""Figures of probes: intervals, the table, and what is said where a dataset is missing."""

import json

import numpy as np
import pytest

from crossviz.errors import SelectionError
from crossviz.evaluate import probes
from crossviz.evaluate.probes.report import (
    ProbeFigure,
    ProbeReport,
    markdown,
    mean_figure,
    share_figure,
    summary_figure,
    wilson,
)


def test_wilson_is_the_interval_of_the_textbook():
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # 8 of 10
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_the_wilson_interval_holds_the_truth_19_times_in_20():
    rng = np.random.default_rng(0)
    hits = rng.binomial(40, 0.3, 4000)
    held = np.mean([low <= 0.3 <= high for low, high in (wilson(h / 40, 40) for h in hits)])
    assert 0.93 < held < 0.97


def test_agreement_of_a_few_photos_is_no_certainty():
    hits, photos = np.ones(60), np.repeat(np.arange(3), 20)
    figure = share_figure("x", hits, photos)
    assert figure.value == figure.high == 100
    assert figure.low == pytest.approx(100 * wilson(1.0, 3)[0])
    assert (figure.count, figure.unit) == (60, "%")


def test_phrases_of_one_photo_are_not_independent():
    rng = np.random.default_rng(1)
    photos = np.repeat(np.arange(20), 30)
    values = rng.random(20)[photos] < 0.5  # all of a photo alike
    grouped, single = share_figure("x", values, photos), share_figure("x", values)
    assert grouped.value == single.value
    assert grouped.high - grouped.low > 3 * (single.high - single.low)
    alike = mean_figure("x", values.astype(float), photos)
    assert (100 * alike.low, 100 * alike.high) == pytest.approx((grouped.low, grouped.high))


def test_a_median_lies_in_its_interval():
    values = np.arange(101.0)
    figure = summary_figure("x", values, np.median, unit="ms")
    assert figure.value == 50
    assert 25 < figure.low < 50 < figure.high < 75


def test_nothing_measured_is_no_number():
    assert all(
        np.isnan(f.value) for f in (share_figure("x", []), mean_figure("x", []), summary_figure("x", [], np.median))
    )


def test_the_table_shows_what_is_known_and_json_holds_all():
    report = ProbeReport(
        "heads",
        "A sentence.",
        (ProbeFigure("seen", 12.345, 10.0, 14.0, "%", 7, 50.0), ProbeFigure("hidden", 1.0, detail=True)),
        ("A note.",),
    )
    text = markdown([report])
    assert "| seen | 12.3 % | 10.0 to 14.0 | 50.0 | 7 |" in text
    assert "hidden" not in text
    assert text.index("A sentence.") < text.index("seen") < text.index("A note.")
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert [f["name"] for f in found["figures"]] == ["seen", "hidden"]
    assert found["figures"][1]["low"] is None
    assert report["seen"].value == 12.345
    with pytest.raises(KeyError, match="seen, hidden"):
        report["unseen"]


def test_an_unknown_probe_is_an_error_that_lists_them():
    with pytest.raises(SelectionError, match=r"'scene'.*scenes, gibberish, retrieval, heads, words, cost"):
        probes.run(["words", "scene"], None)


def test_a_probe_that_needs_a_dataset_says_so_in_one_sentence():
    reports = probes.run(["retrieval", "heads", "words", "heads"], None, None)
    assert [report.probe for report in reports] == ["retrieval", "heads", "words"]
    for report in reports:
        assert report.figures == ()
        assert report.sentence.startswith("Not measured: ")
        assert report.sentence.count(".") == 1
        assert "dataset" in report.sentence
