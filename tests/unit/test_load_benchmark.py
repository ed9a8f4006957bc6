"""What of the load benchmark needs no server: its arithmetic, and how it counts."""

import pytest

from benchmarks.load import row, shown
from benchmarks.load_clients import Record, jain


def test_fairness_is_one_for_equals_and_one_over_n_where_one_got_everything():
    assert jain([3, 3, 3]) == 1
    assert jain([0, 7, 0, 0]) == pytest.approx(1 / 4)
    assert jain([1, 2, 3]) == pytest.approx(36 / (3 * 14))
    assert jain([0, 0]) == 1


def test_a_row_counts_what_was_answered_in_time_and_measures_all_that_was():
    quick = Record(seconds=[0.1] * 18 + [0.2], in_time=19)
    slow = Record(seconds=[0.4], in_time=0, refused=2, failed=1)
    assert row([quick, slow], 10).split(" | ") == [
        "2", "1.9", "100 ms", "400 ms", "400 ms", "2", "1", "0.50", "4.00",
    ]  # fmt: skip


def test_a_row_without_an_answer():
    assert row([Record(refused=3), Record(failed=1)], 10).split(" | ") == [
        "2", "0", "-", "-", "-", "3", "1", "-", "-",
    ]  # fmt: skip


def test_times_are_shown_in_the_unit_that_fits():
    assert (shown(0.0414), shown(1.239)) == ("41 ms", "1.24 s")
