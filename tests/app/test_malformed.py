"""Requests that are none, to the running app: each is refused with a sentence, and the next right one is answered."""

import json

import pytest
from stranger import ask

from crossviz.web import malformed
from fuzz.client import Client
from fuzz.live import fault_of, file_of
from fuzz.photo_seeds import photo_seeds
from fuzz.requests_made import make_requests, send_request


@pytest.fixture(scope="module")
def client(app):
    client = Client(int(app.rpartition(":")[2]))
    yield client
    client.close()


@pytest.fixture(scope="module")
def photo(client):
    return file_of(client.upload(photo_seeds()["png rgb"], "a.png"))


def sentence(client, name, data):
    answer = client.call(name, data)
    assert fault_of(answer) == "" and answer.error
    return answer.error


def test_too_few_values_and_files_from_elsewhere(client, photo, capfd):
    assert sentence(client, "heatmap", [photo]) == malformed.WRONG_VALUES
    elsewhere = {**photo, "path": "/etc/passwd"}
    assert "upload it (again)" in sentence(client, "explain", [elsewhere, "a dog", "", ""])
    assert sentence(client, "explain", [photo, {**photo, "path": "a\0b"}, "", ""])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("queue/join", b'{"data": [], "session_hash": NaN}', 422),
        ("queue/join", b'{"data": [], "session_hash": ["\\ud800"]}', 422),
        ("queue/join", b'{"data": [], "fn_index": 99999}', 400),
        ("call/v2/explain", b'{"session_hash": "a", "x": 1}', 400),
        ("call/nothing", b'{"data": []}', 400),
        ("call/explain", b"{", 422),
        ("call/explain", b'{"data": [' + b"[" * 800 + b"]" * 800 + b"]}", None),
        ("call/explain", b'{"data": [' + b"[" * 5000 + b"]" * 5000 + b"]}", 413),
        ("call/explain", b'{"data": [' + b"\xff[" * 800 + b"]}", 400),
        ("call/explain", '{"data": []}'.encode("utf-16"), 415),
    ],
)
def test_bodies_that_are_none(client, path, body, status):
    answer = client.post(f"/gradio_api/{path}", body)
    assert "Traceback" not in answer.body
    assert answer.status == status or (status is None and answer.status < 500)


@pytest.mark.parametrize("model", [5, {"a": 1}, ["x"]])
def test_a_model_that_is_no_text(client, app, model):
    assert ask(app, "answer", [None, "a dog", model, None])["output"]["error"] == malformed.WRONG_VALUES


def test_an_event_that_is_the_pages_own_has_nothing_to_run(client):
    events = json.loads(client.send("GET", "/config").body)["dependencies"]
    only_js = next(event for event in events if not event["backend_fn"])
    body = {"fn_index": only_js["id"], "data": [None] * len(only_js["inputs"]), "session_hash": "x"}
    answer = client.post("/gradio_api/run/predict", body)
    assert (answer.status, json.loads(answer.body)["error"]) == (422, malformed.NOT_FROM_HERE)


@pytest.mark.parametrize("sent", [None, {}, [], "run", 5, {"run": "x", "id": [], "index": {}, "format": [], "path": 7}])
def test_events_without_what_belongs_to_them(app, client, sent, capfd):
    events = json.loads(client.send("GET", "/config").body)["dependencies"]
    with_parts = [event for event in events if event["collects_event_data"] and event["backend_fn"]]
    assert len(with_parts) > 8
    for event in with_parts:
        done = ask(app, event["api_name"], [None] * len(event["inputs"]), sent)
        assert done["success"] or done["output"]["error"], event["api_name"]
    assert "Traceback" not in capfd.readouterr().err


def test_odd_requests_of_every_kind_leave_the_server_as_it_was(client, photo, capfd):
    ask = [photo, "a woman in a suit", "", ""]
    before = client.call("explain", ask).result
    make = make_requests(client)
    requests = [request for request in map(make, range(250)) if request.call is None]
    assert len(requests) > 60
    for request in requests:
        assert fault_of(send_request(client, request)) == "", request
    assert "Traceback" not in capfd.readouterr().err
    assert client.call("explain", ask).result == before
