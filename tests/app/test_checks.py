"""What the server keeps of one visitor's checks, and the thread that a check runs in."""

import copy
import threading

import pytest
import torch
from reports import report
from scenes import meadow

from crossviz.errors import CrossvizError
from crossviz.trust.localisation import localise
from crossviz.web.checks import Kept, Runs, in_one_thread

DOG = (8, 11)
RED = (22, 25)
BOX = (120.0, 240.0, 312.0, 408.0)
SKY = (0.0, 0.0, 720.0, 120.0)


@pytest.fixture
def kept():
    return Kept("one", meadow(), "a model")


def test_only_what_the_page_shows_is_answered_for(kept):
    assert kept.of("one") == meadow()
    for other in ("two", None, 1):
        with pytest.raises(CrossvizError, match="press Explain"):
            kept.of(other)
        with pytest.raises(CrossvizError, match="press Explain"):
            kept.locate(other, DOG, BOX)


def test_reports_are_kept_with_the_explanation(kept):
    found = report(meadow(), "dog")
    assert kept.report(DOG) is None
    assert kept.add(found) == found
    assert kept.report(DOG) == found
    assert kept.of("one").trust == {DOG: found}


def test_a_box_is_kept_with_the_report_whichever_comes_first(kept):
    found = report(meadow(), "dog")
    wanted = localise(meadow().heatmap("dog"), BOX)
    kept.locate("one", DOG, BOX)
    assert kept.report(DOG) is None  # nothing but the box was looked at
    assert kept.explanation.trust[DOG].localisation == wanted
    kept.add(found)
    assert kept.report(DOG).localisation == wanted
    assert kept.report(DOG).calibration == found.calibration

    other = Kept("one", meadow(), "a model")
    other.add(found)
    other.locate("one", DOG, BOX)
    assert other.report(DOG) == kept.report(DOG)


def test_a_part_of_a_word_is_the_word(kept):
    assert set(kept.locate("one", (9, 10), BOX)) == {DOG}


def test_another_box_is_held_against_every_map_that_a_box_was(kept):
    kept.locate("one", DOG, BOX)
    kept.add(report(meadow(), "red"))
    reports = kept.locate("one", RED, SKY)
    assert set(reports) == {DOG, RED}
    for span, found in reports.items():
        assert found.localisation == localise(meadow().heatmap(span=span), SKY)
    assert kept.explanation.trust == reports


def test_a_box_that_is_taken_away_leaves_nothing(kept):
    kept.locate("one", DOG, BOX)
    kept.add(report(meadow(), "red"))
    assert set(kept.locate("one", (0, 0), None)) == {RED}
    assert kept.explanation.trust == {RED: report(meadow(), "red")}
    kept.add(report(meadow(), "dog"))
    assert kept.report(DOG).localisation is None


@pytest.mark.parametrize("box", [(1, 2, 3), "box", (0, 0, 0, 0), (float("nan"), 0, 9, 9), {"x": 1}, [None] * 4, 7])
def test_a_box_that_is_none_changes_nothing(kept, box):
    with pytest.raises(CrossvizError):
        kept.locate("one", DOG, box)
    assert kept.explanation.trust == {}
    assert kept.add(report(meadow(), "dog")).localisation is None


def test_a_copy_has_checks_of_its_own(kept):
    first = copy.deepcopy(kept)
    first.locate("one", DOG, BOX)
    assert kept.explanation.trust == {}
    assert copy.deepcopy(kept).of("one") is kept.of("one")  # not the photo and its maps once more


def test_runs_end_up_to_the_one_that_is_named():
    runs = Runs()
    assert runs.goes_on(1)
    runs.end(2)
    runs.end(1)
    assert [runs.goes_on(run) for run in (1, 2, 3)] == [False, False, True]
    assert copy.deepcopy(runs).goes_on(1)


def test_a_generator_stays_in_its_thread():
    seen = []

    def steps():
        seen.append(threading.get_ident())
        try:
            with torch.no_grad():
                for number in range(3):
                    seen.append(threading.get_ident())
                    yield number
        finally:
            seen.append(threading.get_ident())
        return "done"

    def run_in_threads(generator):
        """Each step in another thread, as Gradio may."""
        answers = []

        def step():
            try:
                answers.append(next(generator))
            except StopIteration as done:
                answers.append(done.value)

        while len(answers) < 4:
            thread = threading.Thread(target=step)
            thread.start()
            thread.join()
        return answers

    assert run_in_threads(in_one_thread(steps)) == [0, 1, 2, "done"]
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()
    assert torch.is_grad_enabled()


def test_closing_closes_the_generator_inside():
    ended = []

    def steps():
        try:
            yield 1
            yield 2
        finally:
            ended.append(threading.current_thread().name)

    run = in_one_thread(steps)
    next(run)
    run.close()
    assert len(ended) == 1
    assert ended[0].startswith("crossviz-check")
    assert not any(thread.name.startswith("crossviz-check") for thread in threading.enumerate())


def test_errors_come_through():
    def steps():
        yield 1
        raise CrossvizError("No.")

    run = in_one_thread(steps)
    next(run)
    with pytest.raises(CrossvizError, match=r"No\."):
        next(run)
