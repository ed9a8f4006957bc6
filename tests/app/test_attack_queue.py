"""Questions without end, and answers that nobody reads: the line goes on, and memory stays within its bounds."""

import asyncio
import http.client
import json
from urllib.parse import urlsplit

import pytest
from gradio.queueing import Queue
from queueing import JSON, PATIENCE_S, answers, join, nothing, open_pages, question, read, wait_for
from stranger import Reply, answer_of, call, request
from watched import free_port

from crossviz.explainer import Explainer
from crossviz.web import messages


@pytest.fixture(scope="module")
def served():
    """The app's blocks, one question at a time; its address as `url`."""
    from crossviz.web.app import build
    from crossviz.web.page import launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSVIZ_AT_ONCE", "1")
        page = build()
    page.url = launch(page, "127.0.0.1", free_port())
    yield page
    page.close(verbose=False)


@pytest.fixture
def held(monkeypatch, go_on):
    """Explanations wait until `go_on`."""
    encode = Explainer.encode_many

    def waiting(self, prepared):
        assert go_on.wait(PATIENCE_S)
        return encode(self, prepared)

    monkeypatch.setattr(Explainer, "encode_many", waiting)


@pytest.fixture
def open_page(served):
    """`open_page(visit)`: a page's line, open until the test ends."""
    with open_pages(served.url) as opened:
        yield opened


def explain(served, visit: str) -> Reply:
    """A question with a long answer."""
    return join(served.url, visit, "explain", question(served.url))


def explain_by_api(served) -> Reply:
    """The same, as programs ask it, which have no number."""
    body = json.dumps({"data": question(served.url)}).encode()
    return request(served.url, "POST", "/gradio_api/call/explain", body, JSON)


def idle(served) -> bool:
    return not served._queue.event_ids_to_events


def goes_on(served) -> bool:
    """Whether the next visitor is answered."""
    told = answer_of(call(served.url, "explain", question(served.url)))
    return not served._queue.stopped and told["caption"] == "a dog and a cat"


def test_visits_without_end_displace_one_that_waits_and_stop_nothing(served, monkeypatch, held, go_on):
    monkeypatch.setattr(messages, "MOST_QUEUES", 8)
    for _ in range(4):
        assert explain(served, "waits").status == 200
    for number in range(16):
        assert nothing(served, f"tiny{number}").status == 200
    assert "waits" not in served._queue.pending_messages_per_session
    waiting = [event for event in served._queue.event_ids_to_events.values() if event.session_hash == "waits"]
    assert len(waiting) == 4 and not any(event.alive for event in waiting), "nobody would hear the answers"
    go_on.set()
    wait_for(lambda: idle(served))
    assert goes_on(served)
    assert read(served.url, "waits")[-1]["session_not_found"]


def test_a_visit_without_a_number_stops_nothing(served, held, go_on):
    assert explain(served, "before").status == 200
    for _ in range(3):
        explain(served, "")
    go_on.set()
    assert answers(served.url, "before") == [True]
    wait_for(lambda: idle(served))
    assert goes_on(served)


def test_an_open_page_and_an_open_stream_keep_their_place(served, monkeypatch, held, go_on, open_page):
    monkeypatch.setattr(messages, "MOST_QUEUES", 8)
    open_page("page")
    assert explain(served, "page").status == 200
    event = json.loads(explain_by_api(served).body)["event_id"]
    stream = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
    stream.request("GET", f"/gradio_api/call/explain/{event}")
    wait_for(lambda: served._queue.pending_messages_per_session[event].readers)
    for number in range(16):
        assert nothing(served, f"tiny{number}").status == 200
    go_on.set()
    assert "event: complete" in stream.getresponse().read().decode()
    assert answers(served.url, "page") == [True]


def test_who_reads_nothing_is_refused(served, monkeypatch):
    monkeypatch.setattr(messages, "MOST_UNREAD", 3)
    for _ in range(3):
        assert nothing(served, "deaf").status == 200
    wait_for(lambda: idle(served))
    refused = [nothing(served, "deaf")]
    asked = json.dumps({"data": [None, "", "", ""], "session_hash": "deaf"}).encode()
    refused.append(request(served.url, "POST", "/gradio_api/call/explain", asked, JSON))
    assert [(reply.status, json.loads(reply.body)["detail"]) for reply in refused] == [
        (429, messages.UNREAD.format(3))
    ] * 2
    assert answers(served.url, "deaf") == [False] * 3
    assert nothing(served, "deaf").status == 200


def test_what_nobody_reads_keeps_to_its_bound(served, monkeypatch, open_page):
    said = served._queue.pending_messages_per_session
    before = said.held
    assert explain(served, "first").status == 200
    wait_for(lambda: idle(served))
    one = said.held - before
    monkeypatch.setattr(messages, "MOST_UNREAD_BYTES", 9 * one // 2)
    open_page("page")
    assert explain(served, "page").status == 200
    for number in range(6):
        asked = explain(served, f"unread{number}") if number % 2 else explain_by_api(served)
        assert asked.status == 200
        wait_for(lambda: idle(served))
        assert 0 < said.held <= messages.MOST_UNREAD_BYTES
    assert said.held == sum(queue.held for queue in said.values())
    assert "first" not in said and "unread1" not in said
    assert answers(served.url, "unread5") == answers(served.url, "page") == [True]
    assert said.held == sum(queue.held for queue in said.values())


def test_an_answer_to_a_question_that_was_given_up_ends_its_stream(served):
    said = served._queue.pending_messages_per_session
    said["alone"] = asyncio.Queue()
    said["alone"].put_nowait(messages.ProcessCompletedMessage(output={}, success=True, event_id="given up"))
    assert [told["msg"] for told in read(served.url, "alone")] == ["process_completed", "close_stream"]


def test_a_text_is_counted_as_it_lies_in_memory():
    told = {"data": ["a" * 1_000_000, {"value": [{"b": "c" * 1_000_000}]}, 1.5, None], "is_generating": False}
    message = messages.ProcessCompletedMessage(output=told, success=True)
    assert 2_000_000 < messages.size_of(message) < 2_010_000


def test_a_number_of_a_megabyte_is_no_visits(served):
    reply = nothing(served, "a" * 900_000)
    assert (reply.status, json.loads(reply.body)["detail"]) == (422, messages.TOO_LONG)
    assert not [visit for visit in served._queue.pending_messages_per_session if len(visit) > messages.MOST_NAME]


def test_what_is_used_of_gradios_own_is_there():
    """Private parts: a Gradio without them needs another way."""
    parts = vars(Queue(True, 1, 1.0, 1, None, 1))
    assert {"pending_messages_per_session", "pending_event_ids_session", "event_ids_to_events", "stopped"} <= set(parts)
    assert {"push", "send_message"} <= set(dir(Queue))
