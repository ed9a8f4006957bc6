"""Connections that break off between a page and the running app: the visit goes on as long as someone waits, the page
opens its line again by itself, and what is lost is said without a new page."""

import io
import socket
import time
from contextlib import suppress
from functools import partial
from importlib.resources import files
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from proxied import proxy
from watched import PATIENCE, until

from crossviz.explainer import Explainer
from crossviz.web.visits import GRACE_S, the_visits

GONE = "The server can't be reached: try again in a moment. Your photo and caption are kept."
LINES, ANSWERS = "**/gradio_api/heartbeat/*", "**/gradio_api/queue/data*"


@pytest.fixture
def held(monkeypatch, go_on):
    """Photos' passes wait until `go_on`; which were begun."""
    encode, begun = Explainer.encode_many, []

    def waiting(self, prepared):
        begun.append(len(prepared))
        assert go_on.wait(PATIENCE / 1000)
        return encode(self, prepared)

    monkeypatch.setattr(Explainer, "encode_many", waiting)
    return begun


def ask(page, caption: str, seed: int) -> None:
    """A photo that no other test sends, and a caption."""
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)).save(png, "PNG")
    page.locator("#cv-photo .icon-button-wrapper button").last.click()
    page.wait_for_selector("#cv-photo img", state="detached")
    content = {"name": "p.png", "mimeType": "image/png", "buffer": png.getvalue()}
    page.set_input_files("#cv-photo input[type=file]", content)
    page.wait_for_selector("#cv-photo img")
    page.fill("#cv-caption textarea", caption)
    page.click("#cv-explain")


def visit_of(page):
    """The number of a page's visit, and what is known of it."""
    number = page.evaluate("window.__gradio_session_hash__")
    return number, the_visits()._visits[number]


def test_who_waits_for_an_answer_is_here_without_a_line_which_the_page_opens_again(
    app, visit, held, go_on, monkeypatch
):
    passing, visits, swept = [], the_visits(), []
    sweep = visits.sweep
    monkeypatch.setattr(visits, "sweep", lambda: swept.append(None) or sweep())
    with proxy(urlsplit(app).port, "", passing) as url:
        page = visit(url).page
        page.evaluate("window.same = true")
        number, known = visit_of(page)
        ask(page, "a horse", 50)
        until(page, lambda: held and known.streams == 1)
        page.route(LINES, lambda route: route.abort())
        for path, connection in passing:
            if "/heartbeat/" in path:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        until(page, lambda: known.lines == 0)
        monkeypatch.setattr(visits, "_clock", lambda: time.monotonic() + 2 * GRACE_S)
        looks = len(swept)
        until(page, lambda: len(swept) > looks + 1)
        assert visits.here(number)
        page.unroute(LINES)
        until(page, lambda: known.lines == 1)  # nothing was asked meanwhile
        go_on.set()
        expect(page.locator(".cv-words")).to_have_text("a horse")
        assert page.evaluate("window.same")
        page.context.close()


def test_who_closes_the_page_while_a_question_is_answered_is_gone(app, visit, held, go_on):
    watcher, page = visit().page, visit(app).page
    number, known = visit_of(page)
    ask(page, "a horse", 51)
    until(page, lambda: held and known.streams == 1)
    page.close()
    until(watcher, lambda: not the_visits().here(number))
    assert (known.lines, known.streams) == (0, 0)


def test_answers_that_break_off_are_said_on_the_same_page(app, visit):
    page = visit(app).page
    page.evaluate("window.same = true")
    said, kind = page.locator("#cv-general-error-text"), "text/event-stream"

    def broken(answer, route):
        route.fulfill(**answer)

    for answer in (
        {"status": 502, "body": "<h1>Bad Gateway</h1>"},
        {"content_type": kind, "body": 'data: {"msg":"unexpected_error","message":"No.","session_not_found":true}\n\n'},
        {"content_type": kind, "body": 'data: {"msg":"process_completed","output":{"da'},
    ):
        page.route(ANSWERS, partial(broken, answer))
        page.fill("#cv-caption textarea", "a bird")
        page.click("#cv-explain")
        expect(said).to_have_text(GONE)
        expect(page.locator(".cv-busy-text")).to_be_hidden()
        page.unroute(ANSWERS)
        page.fill("#cv-caption textarea", "a cow")
        page.click("#cv-explain")
        expect(page.locator(".cv-words")).to_have_text("a cow")
        expect(said).to_be_hidden()
    assert page.evaluate("window.same")
    assert page.locator(".toast-body").count() == 0


_ALONE = """([script]) => {
  document.body.innerHTML = '<p id="cv-general-error-text"></p>';
  window.gradio_config = { root: "http://x", dependencies: [{ id: 0, outputs: [1] }],
    components: [{ id: 1, props: { elem_id: "cv-general-error" } }] };
  window.said = [];
  document.querySelector("p").addEventListener("cv-said", ({ detail }) => said.push(detail));
  window.fetch = async (path) => path.endsWith("join") ? new Response(JSON.stringify({ event_id: window.next })) :
    new Response(new ReadableStream({ start: (stream) => { window.stream = stream; } }));
  new Function(script)();
  const read = async (answer) => { window.got = await answer.text(); };
  window.open_stream = async () => { window.reading = fetch("http://x/queue/data").then(read); };
  window.join = async (event) => {
    window.next = event;
    await fetch("http://x/queue/join", { method: "POST", body: '{"fn_index":0,"data":[]}' });
  };
  window.complete = async (event) => {
    const message = { msg: "process_completed", event_id: event, output: {} };
    stream.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(message)}\\n\\n`));
    await new Promise((done) => setTimeout(done));
  };
  window.end = async () => {
    stream.close();
    await reading;
    return [said.filter(Boolean), [...got.matchAll(/"event_id":"(\\w+)"/g)].map(([, event]) => event)];
  };
}"""


def test_an_answer_that_comes_before_its_number_is_no_lost_one(visit):
    page = visit().page
    page.evaluate(_ALONE, [(files("crossviz.web") / "reach.js").read_text("utf-8")])
    early = "open_stream().then(() => complete('first')).then(() => join('first')).then(end)"
    assert page.evaluate(early) == [[], ["first"]]
    late = "open_stream().then(() => join('second')).then(() => complete('another')).then(end)"
    assert page.evaluate(late) == [[GONE], ["another", "second"]]
