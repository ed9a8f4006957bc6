"""Many who ask at the same time: each gets their own answer, what is the same is computed once, and who leaves is not
waited for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from factories import photo

from crossviz import explainer as explainer_module
from crossviz.errors import ModelUnavailableError, PhotoError
from crossviz.explainer import Explainer
from crossviz.web.batching import Batcher, Shared
from crossviz.web.engine import Engine
from crossviz.web.server_settings import ServerSettings

PATIENCE_S = 60


class Gate:
    """A call that begins, says so, and goes on when it is let."""

    def __init__(self):
        self.begun, self.let, self.groups = threading.Semaphore(0), threading.Semaphore(0), []

    def __call__(self, kind, items):
        self.groups.append((kind, list(items)))
        self.begun.release()
        assert self.let.acquire(timeout=PATIENCE_S)
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]

    def open(self, times=1):
        self.let.release(times)

    def wait(self):
        assert self.begun.acquire(timeout=PATIENCE_S)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batcher(gate):
    return Batcher(gate, lambda kind: 3, "test-batcher")


def test_those_that_come_meanwhile_go_together_in_their_order(gate, batcher):
    places = [batcher.place("k", "a", "a")]
    gate.wait()
    places += [batcher.place(*(("l", "x", "x") if item == "x" else ("k", item, item))) for item in "bxcde"]
    assert [place.before() for place in places] == [0, 1, 2, 3, 4, 5]
    assert not places[1].wait(0)
    gate.open(4)
    assert [place.answer() for place in places] == list("ABXCDE")
    assert gate.groups == [("k", ["a"]), ("k", ["b", "c", "d"]), ("l", ["x"]), ("k", ["e"])]


def test_the_same_is_asked_for_once_also_while_it_runs(gate, batcher):
    first = batcher.place("k", "a", "a")
    gate.wait()
    again = batcher.place("k", "a", "another object")
    waiting = [batcher.place("k", "b", "b") for _ in range(3)]
    gate.open(2)
    assert {place.answer() for place in (first, again)} == {"A"}
    assert {place.answer() for place in waiting} == {"B"}
    assert gate.groups == [("k", ["a"]), ("k", ["b"])]


def test_one_who_fails_does_not_fail_the_others(gate, batcher):
    first = batcher.place("k", "a", "a")
    gate.wait()
    good, bad, other = (batcher.place("k", item, item) for item in ("b", "bad", "c"))
    gate.open(5)  # the first, the three together, then each alone
    assert (first.answer(), good.answer(), other.answer()) == ("A", "B", "C")
    with pytest.raises(ValueError, match="bad"):
        bad.answer()
    gate.open()
    assert batcher.place("k", "bad again", "d").answer() == "D"  # the thread lives on


def test_who_leaves_is_not_worked_for_unless_another_waits_for_the_same(gate, batcher):
    batcher.place("k", "a", "a")
    gate.wait()
    with batcher.place("k", "b", "b"):
        last = batcher.place("l", "c", "c")
        assert last.before() == 2
    assert last.before() == 1
    with batcher.place("m", "d", "d"):
        same = batcher.place("m", "d", "d")
    gate.open(3)
    assert (last.answer(), same.answer()) == ("C", "D")
    assert gate.groups == [("k", ["a"]), ("l", ["c"]), ("m", ["d"])]


def test_the_thread_ends_when_nobody_asks_and_begins_again(gate, monkeypatch):
    monkeypatch.setattr("crossviz.web.batching.IDLE_S", 0.01)
    batcher = Batcher(gate, lambda kind: 1, "test-idle")
    for item in "ab":
        place = batcher.place("k", item, item)
        thread = batcher._thread
        gate.open()
        assert place.answer() == item.upper()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class Key:
    """Says each time when it is looked up."""

    def __init__(self):
        self.looked_up = threading.Semaphore(0)

    def __hash__(self):
        self.looked_up.release()
        return 1


def test_a_shared_call_is_made_once_and_its_error_is_everyones_but_not_kept():
    shared, let, calls, key = Shared(), threading.Event(), [], Key()

    def fail():
        calls.append(1)
        assert let.wait(PATIENCE_S)
        raise ModelUnavailableError("not there")

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(shared, key, fail) for _ in range(4)]
        for _ in range(8):  # each looks for it, and takes it or puts it there
            assert key.looked_up.acquire(timeout=PATIENCE_S)
        assert shared("other key", lambda: "at once") == "at once"
        let.set()
        assert all(isinstance(run.exception(PATIENCE_S), ModelUnavailableError) for run in runs)
    assert shared(key, lambda: len(calls)) == 1


@pytest.fixture
def counted(monkeypatch):
    """Photos of each pass, and models that were loaded."""
    passes, loads = [], []
    encode, load = Explainer.encode_many, explainer_module.load_model
    monkeypatch.setattr(Explainer, "encode_many", lambda self, some: passes.append(len(some)) or encode(self, some))
    monkeypatch.setattr(explainer_module, "load_model", lambda *asked: loads.append(asked[0]) or load(*asked))
    return passes, loads


def at_once(count, ask):
    """`ask(0)` to `ask(count - 1)`, each in a thread, all from the same moment on."""
    start = threading.Barrier(count)

    def run(index):
        start.wait(PATIENCE_S)
        return ask(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_model_is_loaded_once(counted):
    engine = Engine("crossviz-mini")
    assert len(set(map(id, at_once(4, lambda index: engine.explainer(""))))) == 1
    assert counted[1] == ["crossviz-mini"]


def test_sixteen_who_ask_at_once_each_get_their_own_answer(counted, monkeypatch):
    passes, _ = counted
    engine = Engine("crossviz-mini", settings=ServerSettings(batch=4))
    line, encode, begun = engine._reading, engine._reading._run, threading.Event()

    def when_all_are_there(kind, items):
        begun.set()
        deadline = time.monotonic() + PATIENCE_S
        while not passes and len(line._waiting) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        return encode(kind, items)

    monkeypatch.setattr(line, "_run", when_all_are_there)
    pictures = [photo(seed=index, name=f"{index}") for index in range(6)]
    captions = [f"a dog and {index} cats" for index in range(16)]

    def ask(index):
        assert index == 0 or begun.wait(PATIENCE_S)
        return engine.explain(pictures[index % 6], captions[index])

    found = at_once(16, ask)
    assert passes == [1, 4, 1]
    alone = Explainer("crossviz-mini")
    encoded = [alone.encode(picture) for picture in pictures]
    for index, explanation in enumerate(found):
        expected = alone.explain(encoded[index % 6], captions[index])
        assert (explanation.caption, explanation.photo) == (expected.caption, expected.photo)
        assert torch.allclose(explanation.map.values, expected.map.values, atol=1e-5)
        assert explanation.similarity == pytest.approx(expected.similarity, abs=1e-5)


def test_the_bound_of_memory_holds_while_many_ask():
    engine = Engine("crossviz-mini", settings=ServerSettings(cache_mb=5))
    found = at_once(4, lambda index: engine.explain(photo(seed=index), "a dog"))
    assert len({explanation.photo.sha256 for explanation in found}) == 4
    assert 0 < engine.photos.total <= 5 << 20
    assert len(engine.photos) == 2  # of 2.4 MB each


def test_a_photo_that_fails_fails_alone(monkeypatch):
    encode, bad = Explainer.encode_many, photo(seed=1)

    def failing(self, prepared):
        if any(each.photo == bad for each in prepared):
            raise PhotoError("this one")
        return encode(self, prepared)

    monkeypatch.setattr(Explainer, "encode_many", failing)
    engine = Engine("crossviz-mini", settings=ServerSettings(batch=4))
    engine.explainer("")

    def ask(index):
        try:
            return engine.explain(photo(seed=index), "a dog").photo
        except PhotoError as error:
            return str(error)

    assert at_once(3, ask) == [photo(seed=0), "this one", photo(seed=2)]


def test_who_waits_is_told_and_closing_the_steps_leaves_the_line(monkeypatch):
    monkeypatch.setattr("crossviz.web.engine.PATIENCE_S", 0.01)
    engine, begun, let, passed = Engine("crossviz-mini"), threading.Event(), threading.Event(), []

    def held(self, prepared):
        passed.extend(each.photo.name for each in prepared)
        begun.set()
        assert let.wait(PATIENCE_S)
        return encode(self, prepared)

    encode = Explainer.encode_many
    monkeypatch.setattr(Explainer, "encode_many", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.explain, photo(seed=0, name="first"), "a dog")
        assert begun.wait(PATIENCE_S)
        second, third = (engine.steps(photo(seed=seed, name=f"{seed}"), "a dog", "", None) for seed in (1, 2))
        assert [next(second), next(second)] == ["reading the photo", "waiting: 1 photo is read before yours"]
        assert [next(third), next(third)] == ["reading the photo", "waiting: 2 photos are read before yours"]
        second.close()
        assert next(third) == "waiting: 1 photo is read before yours"
        let.set()
        assert first.result(PATIENCE_S).photo.name == "first"
    assert "asking every word" in list(third)
    assert passed == ["first", "2"]
