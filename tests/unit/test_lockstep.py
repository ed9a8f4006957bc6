"""A callback turned into an iterator: in step with who asks, and cleaned up however it ends."""

import contextvars
import threading

import pytest

from crossviz.lockstep import lockstep

VALUE = contextvars.ContextVar("value", default="none")


def finished(generator):
    """What it gives, and what it returns."""
    given = []
    while True:
        try:
            given.append(next(generator))
        except StopIteration as stop:
            return given, stop.value


def test_it_gives_what_is_given_and_returns_what_is_returned():
    def run(give):
        for number in range(3):
            give(number)
        return "end"

    assert finished(lockstep(run)) == ([0, 1, 2], "end")
    assert finished(lockstep(lambda give: 7)) == ([], 7)


def test_it_never_runs_ahead_and_sees_the_callers_context():
    done = []

    def run(give):
        for number in range(3):
            done.append((number, VALUE.get()))
            give(number)

    token = VALUE.set("mine")
    steps = lockstep(run)
    VALUE.reset(token)
    assert done == []
    VALUE.set("mine")
    for number in range(3):
        assert next(steps) == number and len(done) == number + 1
    assert done[0] == (0, "mine")
    steps.close()


@pytest.mark.parametrize("taken", [1, 2])
def test_closing_stops_it_and_waits_until_it_has_cleaned_up(taken):
    log = []

    def run(give):
        try:
            for number in range(5):
                try:
                    give(number)
                except Exception:  # as libraries do; the stop must not be kept
                    log.append("kept")
        finally:
            log.append("cleaned")

    steps = lockstep(run)
    threads = threading.active_count()
    for _ in range(taken):
        next(steps)
    assert threading.active_count() == threads + 1
    steps.close()
    assert log == ["cleaned"] and threading.active_count() == threads


def test_one_that_was_never_begun_runs_nothing():
    steps = lockstep(lambda give: pytest.fail("it ran"))
    steps.close()


def test_errors_come_out_where_the_next_is_asked_for():
    def run(give):
        give(1)
        raise OSError("broken")

    steps = lockstep(run)
    assert next(steps) == 1
    with pytest.raises(OSError, match="broken"):
        next(steps)
    assert list(steps) == []
