"""Who is here and what is theirs: kept as long as a visit goes on, gone when the last one that needs it is over."""

import os

import pytest
from factories import photo

from crossviz.web.engine import Engine
from crossviz.web.examples import examples
from crossviz.web.owners import Owners
from crossviz.web.visits import AWAY_S, GRACE_S, Visits


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def visits(tmp_path, clock):
    return Visits(tmp_path, clock)


def test_what_is_kept_for_visits_goes_with_the_last_of_them(clock):
    owners, here = Owners(clock), {"ann", "bob"}
    owners.use("shared", "ann")
    owners.use("shared", "bob")
    owners.use("own", "ann")
    owners.use("nobody's", None)
    assert owners.over(here.__contains__, 60) == []
    here.remove("ann")
    assert owners.over(here.__contains__, 60) == ["own"]
    here.remove("bob")
    assert owners.over(here.__contains__, 60) == ["shared"]
    clock.now += 61
    assert owners.over(here.__contains__, 60) == ["nobody's"]
    owners.use("late", "ann")  # what a question that still ran has left
    assert owners.over(here.__contains__, 60) == ["late"]


def test_what_is_only_found_ages_from_then_on(clock):
    owners = Owners(clock)
    owners.found(["a"])
    clock.now += 50
    owners.found(["a"])
    clock.now += 11
    assert owners.over(lambda visit: True, 60) == ["a"]


def test_a_visit_lasts_as_long_as_its_line(visits, clock):
    visits.came("ann")
    clock.now += 10 * AWAY_S
    assert visits.here("ann")
    visits.came("ann")
    visits.left("ann")
    assert visits.here("ann")  # the other line
    visits.left("ann")
    assert visits.here("ann") and visits.open("ann")
    clock.now += GRACE_S
    assert not visits.here("ann") and not visits.open("ann")
    visits.came("ann")  # the same page again
    assert visits.here("ann")


def test_a_visit_without_a_line_lasts_some_minutes(visits, clock):
    assert not visits.here("program")
    assert visits.asked("program") is False
    clock.now += AWAY_S - 1
    visits.reads("program", 1)
    visits.reads("program", -1)
    clock.now += AWAY_S - 1
    assert visits.here("program") and not visits.open("program")
    clock.now += 1
    assert not visits.here("program")


def question(path):
    return {"data": [{"path": str(path), "meta": {"_type": "gradio.FileData"}}, "a dog"], "session_hash": "x"}


def put(visits, name, content=b"photo"):
    folder = visits.folder / name
    folder.mkdir(exist_ok=True)
    path = folder / "photo.png"
    path.write_bytes(content)
    return path


def test_files_are_deleted_with_their_last_visit(visits, clock):
    shared, own, stays = (put(visits, name) for name in ("shared", "own", "examples"))
    for visit in ("ann", "bob"):
        visits.came(visit)
        visits.uses(question(shared), visit)
    visits.uses({"event_data": {"path": str(own)}}, "ann")
    visits.uses(question(stays), "ann")
    visits.left("ann")
    clock.now += GRACE_S
    assert visits.sweep() == [str(own)]
    assert shared.exists()
    visits.left("bob")
    clock.now += GRACE_S
    assert visits.sweep() == [str(shared)]
    clock.now += 2 * AWAY_S
    visits.sweep()
    assert os.listdir(visits.folder) == ["examples"]


def test_what_no_question_named_is_deleted_after_a_while(visits, clock):
    sent = put(visits, "sent")
    half = visits.folder / "tmp1234"
    half.write_bytes(b"half of a photo")
    assert visits.sweep() == []
    clock.now += AWAY_S + 1
    assert sorted(visits.sweep()) == sorted([str(sent), str(half)])


def test_what_is_sent_again_while_its_visit_ends_waits_for_its_question(visits, clock, monkeypatch):
    path = put(visits, "photo")
    visits.came("ann")
    monkeypatch.setattr("crossviz.web.visits.time.time", lambda: path.stat().st_ctime - 1)
    visits.uses(question(path), "ann")  # and another visitor sends the same a second later
    visits.left("ann")
    clock.now += GRACE_S
    assert visits.sweep() == []
    visits.came("bob")
    visits.uses(question(path), "bob")
    clock.now += 2 * AWAY_S
    assert visits.sweep() == []
    assert path.exists()


def test_what_is_still_being_uploaded_is_left_alone(visits, clock, tmp_path):
    (tmp_path / "tmpabcd1234").write_bytes(b"half")
    for _ in range(3):
        assert visits.sweep() == []
        clock.now += AWAY_S + 1


def test_what_is_named_while_it_is_swept_stays(visits, clock, monkeypatch):
    (visits.folder / "a").mkdir()
    visits.came("ann")
    visits.came("bob")
    visits.keep("a", "ann")
    visits.left("ann")
    clock.now += GRACE_S + 1
    over = visits._files.over

    def overtaken(*asked):
        found = over(*asked)
        visits.keep("a", "bob")
        return found

    monkeypatch.setattr(visits._files, "over", overtaken)
    assert visits.sweep() == [] and (visits.folder / "a").exists()


def test_someone_who_reads_the_answers_is_here(visits, clock):
    visits.asked("ann")
    visits.reads("ann", 1)
    clock.now += 2 * AWAY_S
    assert visits.here("ann")
    visits.reads("ann", -1)
    clock.now += AWAY_S + 1
    assert not visits.here("ann")
    visits.reads("nobody", 1)
    assert visits.known("nobody") is None


def test_so_many_visits_are_remembered_and_no_page_is_forgotten(visits, monkeypatch):
    monkeypatch.setattr("crossviz.web.visits.MOST_VISITS", 5)
    visits.came("page")
    for number in range(20):
        visits.asked(str(number))
    assert visits.here("page") and visits.here("19") and len(visits) == 5


@pytest.mark.parametrize("named", ["..", ".", "", "nothing-there", "a" * 300])
def test_names_that_are_no_files_are_kept_for_nobody(visits, named):
    visits.uses(question(visits.folder / named), "ann")
    assert visits.sweep() == []


def test_only_files_of_visitors_are_ever_there(visits, tmp_path):
    path = put(visits, "photo")
    outside = tmp_path.parent / "outside.png"
    outside.write_bytes(b"secret")
    link = visits.folder / "photo" / "link.png"
    link.symlink_to(outside)
    asked = [question(each) for each in (path, outside, link, "/etc/passwd", "/no/such/file", "\0")]
    gone = [str(outside), str(link), "/etc/passwd", "/no/such/file", "\0"]
    assert list(visits.gone(asked)) == gone
    named = [each["data"][0]["path"] for each in visits.without_gone(asked)]
    assert named == [str(path), *[str(visits.folder / "gone")] * 5]
    assert visits.without_gone(question("http://127.0.0.1/x.png")) == question("http://127.0.0.1/x.png")


def test_photos_are_forgotten_with_the_last_who_asked():
    here, who = {"ann", "bob"}, ["ann"]
    engine = Engine("crossviz-mini", visit=lambda: who[0])
    own, shared = photo(seed=1, name="own"), photo(seed=2, name="shared")
    for asked in (own, shared):
        engine.explain(asked, "a dog")
    who[0] = "bob"
    engine.explain(shared, "a cat")
    engine.explain(str(examples()[0].photo), "a cat")
    engine.forget_photos(here.__contains__, 60)
    assert len(engine.photos) == 3
    here.remove("ann")
    engine.forget_photos(here.__contains__, 60)
    assert own.sha256 not in {sha256 for sha256, _ in engine.photos.kept()}
    assert shared.sha256 in {sha256 for sha256, _ in engine.photos.kept()}
    here.remove("bob")
    engine.forget_photos(here.__contains__, 60)
    assert len(engine.photos) == 1  # the example
    assert engine.photos.total > 0
