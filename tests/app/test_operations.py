"""What whoever runs a server sees of it: log lines that hold nothing of a visitor's, health, metrics that add up."""

import ast
import asyncio
import copy
import io
import json
import logging
import re
import threading
import traceback
import urllib.error
import urllib.request
import uuid
import warnings
from pathlib import Path

import gradio.queueing
import pytest
from apart import run_apart
from operated import Operated, logging_to, operated
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import crossviz
from crossviz.explainer import Explainer
from crossviz.web import probe
from crossviz.web.engine import Engine
from crossviz.web.operations import health, logs
from crossviz.web.operations.health import Health
from crossviz.web.operations.metrics import Metrics
from crossviz.web.server_settings import ServerSettings

TOKEN = "zq7marked"
SAYING = r"log(ger|ging\.getLogger\(.*\))?\.(debug|info|warning|error|exception|critical)$"
FORGED = '\n{"level":"error","event":"forged"}\r\x1b[31m'


@pytest.fixture(scope="module")
def server():
    with operated() as running:
        yield running


@pytest.fixture
def photo(tmp_path):
    """A photo with the token in its EXIF and in its name."""
    path = tmp_path / f"{TOKEN}.jpg"
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = TOKEN
    Image.new("RGB", (40, 30), (90, 120, 60)).save(path, exif=exif)
    return path


def ask(url: str, body: bytes | None = None, kind: str = "application/json", method: str | None = None):
    """Status and body, whatever the status."""
    request = urllib.request.Request(url, body, {"content-type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(server: Operated, path: Path) -> str:
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    return json.loads(ask(f"{server.url}/gradio_api/upload", body, f"multipart/form-data; boundary={mark}")[1])[0]


def explain(server: Operated, path: str, caption: str, model: str = "", method: str = "") -> str:
    """What the API's `explain` says: "complete" or "error", and more."""
    asked = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, caption, model, method]}
    _, told = ask(f"{server.url}/gradio_api/call/explain", json.dumps(asked).encode())
    return ask(f"{server.url}/gradio_api/call/explain/{json.loads(told)['event_id']}")[1].decode()


def figures(server: Operated) -> dict[tuple, float]:
    """All metrics: name and labels to the value."""
    text = ask(server.metrics)[1].decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_nothing_of_a_visit_is_written(server, photo, monkeypatch, capfd):
    begun = len(server.written.getvalue())
    path = upload(server, photo)
    assert "complete" in explain(server, path, f"a {TOKEN} cat{FORGED}")
    assert "error" in explain(server, path, "")
    assert "error" in explain(server, f"/tmp/{TOKEN}", "a cat")
    assert "error" in explain(server, path, "a cat", f"open_clip:{TOKEN}")
    assert "error" in explain(server, path, "a cat", "", f"{TOKEN}{FORGED}")

    def broken(self, *_: object) -> None:
        raise RuntimeError(f"{TOKEN} of {path}")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "steps", broken)
        assert "error" in explain(server, path, f"another {TOKEN}")
    base = f"{server.url}/gradio_api"
    assert ask(f"{base}/run/explain", json.dumps({"data": [TOKEN]}).encode())[0] >= 400
    assert ask(f"{base}/queue/join", f'{{"data": ["{TOKEN}"], "fn_index": "{TOKEN}"}}'.encode())[0] >= 400
    for there in (f"file={path}{TOKEN}", f"custom_component/{TOKEN}/client/x/{TOKEN}", f"{TOKEN}?q={TOKEN}"):
        assert ask(f"{base}/{there}")[0] >= 400
    warnings.warn(TOKEN, UserWarning, stacklevel=1)
    logging.getLogger("some.library").error("of %s" % TOKEN)  # noqa: UP031  -- as libraries do it
    logging.getLogger("crossviz.web").warning("Text %s", TOKEN)
    thread = threading.Thread(target=lambda: broken(None))
    thread.start()
    thread.join()

    written = server.written.getvalue()[begun:]
    lines, out = server.lines(begun), "".join(capfd.readouterr())
    assert TOKEN not in written and TOKEN not in out
    assert photo.stem not in written and Path(path).parent.name not in written, "no path, no name, no hash"
    assert not re.search(r"\x1b|forged", written), "a line is a line"
    assert "127.0.0.1" not in written
    questions = [line for line in lines if line["event"] == "question"]
    assert [(line["outcome"], line.get("error")) for line in questions if line["question"] == "explain"] == [
        ("answered", None),
        ("refused", "CaptionError"),
        ("refused", "PhotoError"),
        ("refused", "ModelUnavailableError"),
        ("refused", "UnknownMethodError"),
        ("failed", "RuntimeError"),
    ]
    assert questions[0]["model"] == "crossviz-mini" and questions[0]["method"] == "cross_attention"
    assert questions[0]["waited_ms"] >= 0
    (unknown,) = [line for line in lines if line.get("text", "").startswith("An API call failed")]
    assert unknown["error"] == "RuntimeError"
    assert re.fullmatch(r"app/test_operations\.py:\d+ broken", unknown["came_through"][-1])
    assert {"warning", "library", "uncaught"} <= {line["event"] for line in lines}
    requests = [line for line in lines if line["event"] == "request"]
    assert {"/gradio_api/upload", "/gradio_api/call/{api_name}", "/gradio_api/run/{api_name}"} <= {
        line["route"] for line in requests
    }
    (sent,) = [line for line in requests if line["route"] == "/gradio_api/upload"]
    assert sent["method"] == "POST" and sent["status"] == 200 and sent["bytes_in"] > photo.stat().st_size


@pytest.mark.parametrize("module", ["queueing", "routes", "route_utils"])
def test_gradio_still_asks_for_the_names_that_are_replaced(module):
    source = (Path(gradio.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    assert re.search(r"^import traceback$", source, re.MULTILINE) and "traceback.print_exc()" in source


def test_without_that_gradio_would_write_what_visitors_send(server, monkeypatch, capfd):
    """An error in a function of the page that nothing of crossviz's catches."""

    def broken(self) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr(Engine, "models", broken)
    (function,) = [each for each in server.page.fns.values() if each.api_name == "models"]
    monkeypatch.setattr(function, "fn", lambda: server.engine.models())
    begun = len(server.written.getvalue())

    def models() -> bytes:
        event = json.loads(ask(f"{server.url}/gradio_api/call/models", b'{"data": []}')[1])["event_id"]
        return ask(f"{server.url}/gradio_api/call/models/{event}")[1]

    assert b"event: error" in models()
    assert TOKEN not in "".join(capfd.readouterr())
    (told,) = [line for line in server.lines(begun) if line["event"] == "gradio"]
    assert told["error"] == "RuntimeError" and told["came_through"][-1].endswith(" broken")
    monkeypatch.setattr(gradio.queueing, "traceback", traceback)
    models()
    assert TOKEN in capfd.readouterr().err


def test_own_messages_are_templates():
    """What is written of crossviz's own messages must not have been filled in before."""
    for path in Path(crossviz.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if re.search(r"\blog(ger|ging)?\.", source) else ():
            if isinstance(node, ast.Call) and re.match(SAYING, ast.unparse(node.func)):
                assert isinstance(node.args[0], ast.Constant), path.name


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ["warning", "info"]),
        ({"log_level": "error"}, []),
        ({"log_level": "debug"}, ["warning", "info", "debug"]),
        ({"log": "json"}, ["warning", "info", "debug"]),
        ({"log": "off"}, []),
    ],
)
def test_lines_are_as_wanted(more, expected):
    stream = io.StringIO()
    with logging_to(stream, ServerSettings(**more)):
        for level in (logging.WARNING, logging.INFO, logging.DEBUG):
            logs.event("asked", level, route="/a b", ms=1.25, none=None)
        logging.getLogger("others").info("never")
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(expected)
    for line, level in zip(lines, expected, strict=True):
        if more.get("log") == "json":
            told = json.loads(line)
            assert told.pop("time").endswith("Z")
            assert told == {"level": level, "event": "asked", "route": "/a b", "ms": 1.25}
        else:
            assert re.fullmatch(rf'\S+Z {level:7} asked route="/a b" ms=1.25', line)


def test_metrics_are_what_was_asked(server, photo):
    path = upload(server, photo)
    assert "complete" in explain(server, path, "a cat")
    before = figures(server)
    for caption in ("a dog", "a bird", ""):
        explain(server, path, caption)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photo)
    explain(server, upload(server, photo), "a dog")
    for number in range(20):
        ask(f"{server.url}/gradio_api/none/{number}/of/these")
    after = figures(server)

    def more(name: str, **labels: str) -> float:
        key = (name, *sorted(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    def requests(route: str, method: str, status: str) -> float:
        return more("crossviz_http_requests_total", route=route, method=method, status=status)

    answered = {"question": "explain", "model": "crossviz-mini", "method": "cross_attention", "outcome": "answered"}
    assert more("crossviz_questions_total", **answered) == 3
    refused = {**answered, "outcome": "refused", "model": "none", "method": "none"}
    assert more("crossviz_questions_total", **refused) == 1
    assert more("crossviz_errors_total", where="question", error="CaptionError") == 1
    assert more("crossviz_queue_wait_seconds_count", question="explain") == 4
    assert more("crossviz_question_seconds_count", question="explain") == 4
    assert more("crossviz_pass_photos_count") == more("crossviz_pass_photos_sum") == 1
    assert more("crossviz_photo_cache_lookups_total", found="yes") == 2
    assert more("crossviz_photo_cache_lookups_total", found="no") == 1
    assert requests("/gradio_api/call/{api_name}", "POST", "200") == 4
    assert requests("/gradio_api/upload", "POST", "200") == 1
    assert requests("(none)", "GET", "404") == 20
    assert more("crossviz_http_request_seconds_count", route="(none)") == 20
    assert after["crossviz_photo_cache_bytes",] == server.engine.photos.total > before["crossviz_photo_cache_bytes",]
    assert after["crossviz_models_loaded",] == 1
    assert after["process_resident_memory_bytes",] > 1e8
    routes = {dict(key[1:]).get("route") for key in after if key[0] == "crossviz_http_requests_total"}
    assert not any(route and "these" in route for route in routes) and len(routes) < 30


def test_metrics_are_not_on_the_pages_port(server):
    assert ask(f"{server.url}/metrics")[0] == 404


def test_a_healthy_server_says_so_and_keeps_nothing(server):
    kept, calls = server.engine.photos.total, figures(server)
    status, body = ask(f"{server.url}/health")
    told = json.loads(body)
    assert status == 200
    assert told.pop("seconds") > 0
    assert told == {"status": "ok", "model": "crossviz-mini", "device": "cpu", "version": crossviz.__version__}
    assert ask(f"{server.url}/live") == (200, b'{"status": "ok"}')
    assert ask(f"{server.url}/health", b"{}")[0] == 405
    assert ask(f"{server.url}/health", method="HEAD") == (200, b"")
    assert server.engine.photos.total == kept
    assert figures(server)["crossviz_pass_photos_count",] == calls["crossviz_pass_photos_count",] + 1, "once for all"


def results(checked: Health, count: int = 1) -> list[tuple[int, dict]]:
    async def all_of_them():
        return await asyncio.gather(*(checked.result() for _ in range(count)))

    return run_apart(all_of_them())


def test_a_hundred_calls_make_one_explanation(server):
    made = []
    checked = Health(lambda: made.append(server.engine.probe()), server.engine.about, 300)
    assert {status for status, _ in results(checked, 100)} == {200}
    assert len(made) == 1
    assert made[0].caption.text == probe.CAPTION


def test_a_model_that_fails_is_unhealthy_until_it_is_well(server, monkeypatch):
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    checked = Health(server.engine.probe, server.engine.about, 300)

    def broken(self, photos):
        raise RuntimeError(TOKEN)

    with monkeypatch.context() as patch:
        patch.setattr(Explainer, "encode_many", broken)
        begun = len(server.written.getvalue())
        ((status, told),) = results(checked)
    assert (status, told["status"], told["reason"]) == (503, "failed", "RuntimeError")
    assert TOKEN not in server.written.getvalue() and "unhealthy" in server.written.getvalue()[begun:]
    assert results(checked)[0][0] == 200


def test_a_queue_that_has_stopped_is_unhealthy(server, monkeypatch):
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    stopped = copy.copy(server.page._queue)
    stopped.close()
    with monkeypatch.context() as patch:
        patch.setattr(server.page, "_queue", stopped)
        status, body = ask(f"{server.url}/health")
    assert (status, json.loads(body)["reason"]) == (503, "StoppedError")
    assert ask(f"{server.url}/health")[0] == 200


def test_a_line_that_does_not_move_is_unhealthy_until_it_does(server, monkeypatch, go_on):
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    encode = Explainer.encode_many

    def held_up(self, photos):
        go_on.wait(120)
        return encode(self, photos)

    monkeypatch.setattr(Explainer, "encode_many", held_up)
    checked = Health(server.engine.probe, server.engine.about, 0.05)
    assert [(status, told["reason"]) for status, told in results(checked, 3)] == [(503, "timeout")] * 3
    assert results(checked)[0][0] == 503, "and makes no second one meanwhile"
    assert sum(thread.name == "crossviz-health" for thread in threading.enumerate()) == 1
    go_on.set()
    checked._limit = 300
    assert results(checked)[0][0] in (200, 503)  # the one that took too long ends
    assert results(checked)[0][0] == 200


def test_health_behind_a_prefix_that_a_proxy_leaves():
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["path"])

    async def run(path: str) -> list[dict]:
        sent: list[dict] = []

        async def send(message):
            sent.append(message)

        routes = health.HealthRoutes(app, Health(lambda: None, dict, 5), "/crossviz")
        await routes({"type": "http", "path": path, "method": "GET"}, None, send)
        return sent

    for path in ("/health", "/crossviz/health", "/live", "/crossviz/live"):
        assert run_apart(run(path))[0]["status"] == 200
    for path in ("/healthy", "/other/health", "/crossviz"):
        assert run_apart(run(path)) == []
    assert asked == ["/healthy", "/other/health", "/crossviz"]


def test_metrics_of_a_thousand_paths_are_one(server):
    metrics = Metrics(server.engine, gradio.Blocks())
    from crossviz.web.operations.requests import Watch

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body", "body": b"no"})

    async def run() -> None:
        watch = Watch(app, [metrics.request])

        async def send(message):
            pass

        for number in range(1000):
            await watch({"type": "http", "path": f"/{number}", "method": f"M{number}"}, None, send)

    run_apart(run())
    (family,) = [each for each in metrics.registry.collect() if each.name == "crossviz_http_requests"]
    (sample,) = [each for each in family.samples if each.name.endswith("_total")]
    assert sample.value == 1000 and sample.labels == {"method": "other", "route": "(none)", "status": "404"}


def test_what_is_refused_before_it_comes_to_a_route_is_told_apart(server):
    before = figures(server)
    assert ask(f"{server.url}/gradio_api/file=https://example.org/{TOKEN}")[0] in (400, 403)
    key = ("crossviz_http_requests_total", ("method", "GET"), ("route", "(refused)"))
    refused = {each: value for each, value in figures(server).items() if each[:3] == key}
    assert sum(refused.values()) == sum(before.get(each, 0) for each in refused) + 1


def test_without_a_thread_to_be_had_health_fails_and_comes_back(monkeypatch):
    checked = Health(lambda: None, dict, 5)

    async def twice():
        with monkeypatch.context() as patch:
            patch.setattr(health.threading, "Thread", none_left)
            first = await checked.result()
        return first[0], (await checked.result())[0]

    def none_left(**_):
        raise RuntimeError("can't start new thread")

    assert run_apart(twice()) == (503, 200)
