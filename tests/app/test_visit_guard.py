"""Visitors of the running app: what is theirs goes with them, a full line and a full disk are said, and who leaves is
waited for no longer."""

import errno
import http.client
import io
import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from gradio.queueing import ProcessTime, Queue
from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
from gradio.state_holder import SessionState, StateHolder
from PIL import Image
from playwright.sync_api import expect
from watched import free_port, until

import crossviz.photo
from crossviz.explainer import Explainer
from crossviz.web.kept_file import NO_ROOM, kept_file
from crossviz.web.page import PRIVACY
from crossviz.web.visits import the_visits
from crossviz.web.waiting import busy_sentence, shown

PATIENCE_S = 60
GONE = "The server can't be reached: try again in a moment. Your photo and caption are kept."


@pytest.fixture(scope="module")
def served():
    """The app's blocks with two places in its line, and one at which questions are answered; its address as `url`."""
    from crossviz.web.app import build
    from crossviz.web.page import launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSVIZ_QUEUE", "2")
        patch.setenv("CROSSVIZ_AT_ONCE", "2")
        page = build()
    page.url = launch(page, "127.0.0.1", free_port())
    page.engine = page.guarded["forgetting"]._engine
    yield page
    page.close(verbose=False)


def picture(seed: int) -> bytes:
    """A PNG that no other test sends."""
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)).save(png, "PNG")
    return png.getvalue()


class Program:
    """A client of the API with one connection."""

    def __init__(self, served) -> None:
        self.line = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)

    def send(self, verb: str, path: str, body=None, kind: str = "application/json"):
        body = json.dumps(body) if isinstance(body, dict) else body
        self.line.request(verb, f"/gradio_api/{path}", body, {"content-type": kind} if body else {})
        return self.line.getresponse()

    def upload(self, content: bytes):
        head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="p.png"\r\n\r\n'
        return self.send("POST", "upload", head + content + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge")

    def ask(self, path: str, caption: str = "a dog"):
        photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
        return self.send("POST", "call/explain", {"data": [photo, caption, "", ""]})

    def listen(self, asked) -> None:
        """Open the stream of an answer, and read nothing of it."""
        event = json.loads(asked.read())["event_id"]
        self.line.request("GET", f"/gradio_api/call/explain/{event}")

    def leave(self) -> None:
        self.line.close()


@pytest.fixture
def program(served):
    """`program()`: another client."""
    clients = []

    def connected() -> Program:
        clients.append(Program(served))
        return clients[-1]

    yield connected
    for client in clients:
        client.leave()


@pytest.fixture
def held(monkeypatch, go_on):
    """Photos' passes wait until `go_on`; which were begun."""
    encode, begun = Explainer.encode_many, []

    def waiting(self, prepared):
        begun.append(len(prepared))
        assert go_on.wait(PATIENCE_S)
        return encode(self, prepared)

    monkeypatch.setattr(Explainer, "encode_many", waiting)
    return begun


def wait_for(true) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "It never came true."
        time.sleep(0.02)


def put(page, content: bytes, caption: str) -> None:
    """A photo and a caption, explained."""
    if page.locator("#cv-photo img").count():
        page.locator("#cv-photo .icon-button-wrapper button").last.click()
        page.wait_for_selector("#cv-photo img", state="detached")
    page.set_input_files("#cv-photo input[type=file]", {"name": "p.png", "mimeType": "image/png", "buffer": content})
    page.wait_for_selector("#cv-photo img")
    page.fill("#cv-caption textarea", caption)
    page.click("#cv-explain")
    expect(page.locator(".cv-words")).to_have_text(caption)


def in_memory(served) -> set[str]:
    """The names of the photos that this process holds, in whatever way."""
    return {photo.sha256 for photo in list(crossviz.photo._in_use.values())}


def test_what_a_visitor_left_is_gone_and_another_keeps_the_same_photo(served, visit):
    folder, own, shared = the_visits().folder, picture(1), picture(2)
    hashes = [crossviz.photo.load_photo(content).sha256 for content in (own, shared)]
    ann, bob = visit(served.url), visit(served.url)
    expect(ann.page.locator("#cv-privacy")).to_have_text(PRIVACY)
    put(ann.page, own, "a dog")
    before = set(os.listdir(folder))
    ann.page.select_option(".cv-save select", ".json")
    with ann.page.expect_download():
        ann.page.click('.cv-button:text-is("Save")')
    (figure,) = set(os.listdir(folder)) - before
    put(ann.page, shared, "a cat")
    put(bob.page, shared, "a cat")
    assert set(hashes) <= in_memory(served)
    sessions = set(served.state_holder.session_data)
    ann.page.context.close()
    until(bob.page, lambda: hashes[0] not in in_memory(served))
    until(bob.page, lambda: figure not in os.listdir(folder))
    kept = {sha256 for sha256, _ in served.engine.photos.kept()}
    assert hashes[0] not in kept
    assert hashes[1] in kept
    files = [path.read_bytes() for path in folder.rglob("*.png")]
    assert own not in files
    assert shared in files
    until(bob.page, lambda: len(sessions - set(served.state_holder.session_data)) == 1)
    bob.page.fill("#cv-caption textarea", "two cats")
    bob.page.click("#cv-explain")
    expect(bob.page.locator(".cv-words")).to_have_text("two cats")
    bob.page.context.close()
    wait_for(lambda: not set(hashes) & in_memory(served))
    wait_for(lambda: shared not in [path.read_bytes() for path in folder.rglob("*.png")])
    bob.assert_quiet()


def test_a_full_line_is_said_with_the_time_to_wait(served, visit, program, held, go_on):
    watched = visit(served.url)
    page, clients = watched.page, [program() for _ in range(5)]
    paths = [json.loads(client.upload(picture(10 + number)).read())[0] for number, client in enumerate(clients)]
    for client, path in zip(clients[:4], paths, strict=False):  # two are answered, two wait
        client.listen(client.ask(path))
        wait_for(lambda: served._queue.event_ids_to_events)
    wait_for(lambda: len(served._queue) == 2)
    fn = next(fn for fn in served.fns.values() if fn.api_name == "explain")
    served._queue.process_time_per_fn[fn].add(30.0)
    times = served._queue.process_time_per_fn[fn]._seconds
    refused = clients[4].ask(paths[4])
    # Two before it, and two that are half done, at two places.
    seconds = (2 + 2 / 2) * (sum(times) / len(times)) / 2
    assert refused.status == 503
    assert json.loads(refused.read()) == {"detail": busy_sentence(2, seconds)}
    assert 0 <= int(refused.headers["retry-after"]) - seconds < 1
    page.fill("#cv-caption textarea", "a bird")
    page.click("#cv-explain")
    said = "The server is busy: 2 questions are waiting. Try again"
    expect(page.locator("#cv-general-error-text")).to_contain_text(said)
    assert page.locator(".toast-body").count() == 0
    assert page.input_value("#cv-caption textarea") == "a bird"
    assert page.locator("#cv-photo img").count() == 1
    go_on.set()
    wait_for(lambda: not served._queue.event_ids_to_events)
    page.click("#cv-explain")
    expect(page.locator(".cv-words")).to_have_text("a bird")
    expect(page.locator("#cv-general-error-text")).to_be_hidden()


def test_who_leaves_gives_up_the_place_in_every_line(served, program, held, go_on):
    clients = [program() for _ in range(4)]
    paths = [json.loads(client.upload(picture(20 + number)).read())[0] for number, client in enumerate(clients)]
    reading = served.engine._reading
    clients[0].listen(clients[0].ask(paths[0]))
    wait_for(lambda: held)  # read now
    clients[1].listen(clients[1].ask(paths[1]))
    wait_for(lambda: len(reading._waiting) == 1)  # in the photos' line
    clients[2].listen(clients[2].ask(paths[2]))
    wait_for(lambda: len(served._queue) == 1)  # in the questions' line
    clients[2].leave()
    wait_for(lambda: len(served._queue) == 0)
    clients[1].leave()
    wait_for(lambda: not reading._waiting)
    clients[3].listen(clients[3].ask(paths[3]))
    wait_for(lambda: len(reading._waiting) == 1)  # there is a place again
    go_on.set()
    assert b"event: complete" in clients[3].line.getresponse().read()
    assert held == [1, 1]


def half_written(self, data):
    """As a disk that is full after some bytes."""
    self.file.write(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_nothing_half_written_stays(served, visit, program, monkeypatch):
    folder, client, other = the_visits().folder, program(), program()
    path = json.loads(other.upload(picture(30)).read())[0]
    before = sorted(os.listdir(folder))

    async def full(self, data):
        half_written(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(GradioUploadFile, "write", full)
        answer = client.upload(picture(31))
        assert (answer.status, json.loads(answer.read())) == (507, {"detail": NO_ROOM})
        assert sorted(os.listdir(folder)) == before
        assert other.ask(path).status == 200  # others' questions go on
        page = visit(served.url).page
        page.locator("#cv-photo .icon-button-wrapper button").last.click()
        page.set_input_files(
            "#cv-photo input[type=file]", {"name": "p.png", "mimeType": "image/png", "buffer": picture(32)}
        )
        expect(page.locator("#cv-photo-error-text")).to_have_text(NO_ROOM)
    page.context.close()

    def no_bytes(self, data):
        with self.open("wb") as file:
            half_written(type("Half", (), {"file": file})(), data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_bytes)
        with pytest.raises(crossviz.errors.CrossvizError, match="no room for this file"):
            kept_file(b"a figure", "figure.png")
    assert not [name for name in os.listdir(folder) if name.startswith(("part-", "tmp"))]


def test_a_server_that_is_gone_is_said_and_found_again(served, visit):
    content = picture(40)
    page = visit(served.url).page
    put(page, content, "a dog")
    page.evaluate("window.same = true")
    page.route("**/gradio_api/queue/join*", lambda route: route.abort())
    page.fill("#cv-caption textarea", "a cat")
    page.click("#cv-explain")
    expect(page.locator("#cv-general-error-text")).to_have_text(GONE)
    page.unroute("**/gradio_api/queue/join*")
    for path in the_visits().folder.rglob("*.png"):  # another server has not got the photo
        if path.read_bytes() == content:
            path.unlink()
    page.click("#cv-explain")
    expect(page.locator(".cv-words")).to_have_text("a cat")
    expect(page.locator("#cv-general-error-text")).to_be_hidden()
    assert content in [path.read_bytes() for path in the_visits().folder.rglob("*.png")]
    assert page.evaluate("window.same")
    assert page.locator(".toast-body").count() == 0


def test_an_answer_that_breaks_off_is_said_and_ends_the_waiting(served, visit, held, go_on):
    page = visit(served.url).page
    page.evaluate("window.same = true")
    broken = threading.Event()

    def cut(route):
        broken.set()
        route.abort()

    page.route("**/gradio_api/queue/data*", cut)
    page.fill("#cv-caption textarea", "a horse")
    page.click("#cv-explain")
    expect(page.locator("#cv-general-error-text")).to_have_text(GONE)
    assert broken.is_set()
    expect(page.locator(".cv-busy-text")).to_be_hidden()
    assert page.evaluate("window.same")
    assert page.locator(".toast-body").count() == 0
    assert page.input_value("#cv-caption textarea") == "a horse"


def test_a_page_of_another_build_is_told_so(served, program):
    client = program()
    client.line.request(
        "POST",
        "/gradio_api/queue/join",
        json.dumps({"data": [], "fn_index": 0, "session_hash": "abc"}),
        {"content-type": "application/json", "x-crossviz-page": "another"},
    )
    answer = client.line.getresponse()
    assert answer.status == 410
    assert "load the page again" in json.loads(answer.read())["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5000,
        b'{"data":' * 3000,
        json.dumps({"data": [], "session_hash": "a" * 10_000}).encode(),
        b'{"data": 1, "session_hash": [1], "fn_index": []}',
        b'{"data": [{"path": "\\ud800"}]}',
    ],
)
def test_questions_that_are_none_are_left_to_gradio(served, program, body):
    known = len(the_visits()._visits)
    answer = program().send("POST", "queue/join", body)
    assert 400 <= answer.status < 500
    assert len(the_visits()._visits) == known


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 second"), (1.2, "2 seconds"), (90, "90 seconds"), (91, "2 minutes")]
)
def test_times_are_rounded_up(seconds, text):
    assert shown(seconds) == text


def test_what_is_used_of_gradios_own_is_there():
    """Private parts: a Gradio without them needs another way."""
    assert {"add"} <= set(dir(ProcessTime))
    parts = vars(Queue(True, 1, 1.0, 1, None, 1))
    assert {"process_time_per_fn", "event_ids_to_events", "pending_messages_per_session"} <= set(parts)
    assert {"pending_event_ids_session", "event_queue_per_concurrency_id"} <= set(parts)
    assert {"session_data", "time_last_used", "lock"} <= set(vars(StateHolder()))
    assert "__wrapped__" in dir(GradioMultiPartParser.parse)
    assert {"state_data", "config_values"} <= set(SessionState.__init__.__code__.co_names)
