"""Bodies that are too large, too many, too deep, packed, or too slow: each is ended with a sentence, and others are
answered meanwhile."""

import gzip
import json
import logging
import os
import socket
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gradio.utils import get_upload_folder
from stranger import FILE, ask, call, multipart, raw, request, said, upload

from crossviz.web import connections, limits
from crossviz.web.limits import MAX_JSON_BYTES, MAX_LISTS, MAX_PARTS, MAX_TEXTS, MAX_UPLOAD_BYTES
from crossviz.web.own_files import MOST_FILES
from crossviz.web.visits import Visits

JSON = {"content-type": "application/json"}


def head(app: str, path: str, *lines: str) -> bytes:
    host = urlsplit(app).netloc
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]).encode()


def chunked(piece: bytes, count: int):
    for _ in range(count):
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def alive(app: str) -> None:
    assert "No photo was given" in said(ask(app, "answer", [None, "a dog", "crossviz-mini", None]))


def parts_left() -> set[str]:
    """Files of uploads that are not complete."""
    with os.scandir(get_upload_folder()) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def assert_nothing_left(before: set[str]) -> None:
    """It is deleted when the answer was sent."""
    end = time.monotonic() + 10
    while left := parts_left() - before:
        assert time.monotonic() < end, left
        time.sleep(0.01)


# Too large


def test_a_body_that_says_it_is_too_large_is_not_waited_for(app):
    for path, limit in [("/gradio_api/upload", MAX_UPLOAD_BYTES), ("/gradio_api/call/explain", MAX_JSON_BYTES)]:
        came = raw(app, head(app, path, f"Content-Length: {limit + 1}", "Content-Type: multipart/form-data"))
        assert came.startswith(b"HTTP/1.1 413") and b"larger than" in came


@pytest.mark.parametrize("path", ["/gradio_api/run/offer", "/gradio_api/call/v2/explain", "/gradio_api/cancel"])
def test_a_body_of_unknown_length_is_counted(app, path):
    came = raw(
        app,
        head(app, path, "Transfer-Encoding: chunked", "Content-Type: application/json"),
        more=chunked(b"a" * 65536, 17),
    )
    assert came.startswith(b"HTTP/1.1 413") or came == b""


def test_an_upload_of_unknown_length_is_counted(app, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 1 << 20)
    body, headers = multipart([("files", "a.png", b"a" * (2 << 20))])
    lines = ["Transfer-Encoding: chunked", f"Content-Type: {headers['content-type']}"]
    came = raw(app, head(app, "/gradio_api/upload", *lines), more=chunked(body[:65536], 40))
    assert came.startswith(b"HTTP/1.1 413") or came == b""


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -1"],
        ["Content-Length: 1e3"],
        ["Content-Length: 0x10"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5,6"],
        ["Content-Length: " + "9" * 60],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
    ],
)
def test_a_length_that_is_none_is_refused(app, lines):
    came = raw(app, head(app, "/gradio_api/queue/join", *lines) + b"{}   ")
    assert came[9:12] in (b"400", b"413", b"501"), came[:100]


def test_a_request_hidden_in_another_is_not_answered(app):
    # Both a length and chunks: what a proxy takes for one body, a server may take for two requests.
    hidden = f"GET /config HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\n\r\n".encode()
    lines = ["Content-Length: 4", "Transfer-Encoding: chunked", "Content-Type: application/json"]
    came = raw(app, head(app, "/gradio_api/reset", *lines) + b"0\r\n\r\n" + hidden)
    assert b"components" not in came and came.count(b"HTTP/1.1") <= 1


def test_packed_bodies_are_not_unpacked(app):
    huge = b'{"data": ["' + b"a" * (64 << 20) + b'"]}'
    for kind, packed in [("gzip", gzip.compress(huge, 1)), ("deflate", zlib.compress(huge, 1)), ("br", b"1234")]:
        reply = request(app, "POST", "/gradio_api/queue/join", packed, {**JSON, "content-encoding": kind})
        assert reply.status == 415 and b"not compressed" in reply.body


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":['])
def test_json_of_any_depth_is_refused_or_answered(app, opening):
    deep = opening * 50_000
    for body in (deep.encode(), f'{{"data": {deep}'.encode(), f'{{"data": [{"[" * 400}{"]" * 400}]}}'.encode()):
        reply = request(app, "POST", "/gradio_api/call/explain", body, JSON)
        assert reply.status in (200, 400, 413, 422) and len(reply.body) < 2 * len(body)
    alive(app)


def test_huge_heads_are_refused(app):
    host = f"Host: {urlsplit(app).netloc}\r\nConnection: close\r\n"
    for sent in (
        f"GET /{'a' * 10_000} HTTP/1.1\r\n{host}\r\n",
        f"GET /config?{'a' * 100_000} HTTP/1.1\r\n{host}\r\n",
        f"GET / HTTP/1.1\r\n{host}X-A: {'a' * 100_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}" + "".join(f"X-{i}: {i}\r\n" for i in range(20_000)) + "\r\n",
        f"GET / HTTP/1.1\r\n{host}Bad Header\x00: 1\r\n\r\n",
    ):
        came = raw(app, sent.encode())
        assert came == b"" or (came[9:12] in (b"400", b"414", b"431") and b"nosniff" in came)
    alive(app)


# Too many


def test_an_upload_has_few_parts(app):
    few = [("files", f"{i}.png", b"x") for i in range(MAX_PARTS)]
    assert request(app, "POST", "/gradio_api/upload", *multipart(few)).status == 200
    for many in (
        [("files", f"{i}.png", b"x") for i in range(1000)],
        [("other", f"{i}.png", b"x") for i in range(MAX_PARTS + 1)],
        [(f"field{i}", None, b"x") for i in range(20_000)],
    ):
        reply = request(app, "POST", "/gradio_api/upload", *multipart(many))
        assert (reply.status, reply.body) == (413, f"An upload has {MAX_PARTS} parts at most.".encode())


@pytest.mark.parametrize("boundary", ["b0undary", "-" * 30 + "'()+_,-./:=?", "a b"])
def test_parts_are_counted_wherever_the_body_is_cut(app, boundary):
    body, _ = multipart([("files", "a.png", b"x")] * 40, boundary)
    host = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\nConnection: close\r\n"
    sent = f'{host}Content-Type: multipart/form-data; boundary="{boundary}"\r\nTransfer-Encoding: chunked\r\n\r\n'
    pieces = (body[i : i + 7] for i in range(0, len(body), 7))
    came = raw(app, sent.encode(), more=(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))
    assert came.startswith(b"HTTP/1.1 413"), came[:200]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b0undary--\r\n",
        b"--b0undary\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b0undary--\r\n",
        b"--b0undary\r\n" + b"x: " + b"a" * 9000 + b"\r\n\r\n",
        b"--other\r\n\r\n",
        b'--b0undary\r\ncontent-disposition: form-data; name="files"; filename="a',
        b'--b0undary\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\nx',
        b'--b0undary\r\ncontent-disposition: form-data; name="other"; filename="a.png"\r\n\r\nx\r\n--b0undary--\r\n',
    ],
)
def test_a_broken_upload_is_answered_and_leaves_nothing(app, body):
    before = parts_left()
    headers = {"content-type": "multipart/form-data; boundary=b0undary"}
    assert request(app, "POST", "/gradio_api/upload", body, headers).status in (200, 400, 413)
    assert_nothing_left(before)
    for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded"):
        assert request(app, "POST", "/gradio_api/upload", body, {"content-type": kind}).status in (200, 400)
    assert_nothing_left(before)


LISTS = {
    "/gradio_api/queue/join": {"data": [[] for _ in range(MAX_LISTS)], "fn_index": 2, "session_hash": "lists"},
    "/gradio_api/queue/join?": {"data": [], "event_data": [{}] * MAX_LISTS, "fn_index": 2, "session_hash": "lists"},
    "/gradio_api/call/explain": {"data": [[{"a": []}] * (MAX_LISTS // 2)]},
    "/gradio_api/run/offer": {"data": [[[] for _ in range(MAX_LISTS)]]},
}


@pytest.mark.parametrize("path", LISTS)
def test_a_body_of_many_lists_is_not_gone_through(app, path):
    reply = request(app, "POST", path, json.dumps(LISTS[path]).encode(), JSON)
    assert (reply.status, reply.body) == (413, f"A request has {MAX_LISTS} lists and mappings at most.".encode())


def test_brackets_in_a_text_are_no_lists(app):
    for text in ("[{" * 2000, '\\"[' * 1500, "\\" * 3 + '"' + "[" * 2000):
        body = json.dumps({"data": [None, text, "", ""]}).encode()
        assert request(app, "POST", "/gradio_api/call/explain", body, JSON).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'"' + b'\\"' * 90_000, 422),
        (b'{"data": ["' + b"\\" * 900_000, 422),
        (b'{"data": [' + b'"",' * (MAX_TEXTS + 1) + b'""]}', 413),
        (b'"' * 999_999, 413),
    ],
)
def test_texts_are_few_and_looked_through_once(app, body, status):
    assert request(app, "POST", "/gradio_api/call/explain", body, JSON).status == status
    alive(app)


# Names


@pytest.fixture
def looked_up(monkeypatch) -> list[str]:
    """The long paths whose parts are looked up one by one."""
    found, real = [], os.path.realpath

    def noted(path, *args, **options):
        if len(str(path)) > 2000:
            found.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os.path, "realpath", noted)
    return found


@pytest.mark.parametrize("start", ["", "http://x/gradio_api/file=", "FOLDER"])
def test_a_long_path_is_not_looked_up(app, start, looked_up):
    photo = {"path": start.replace("FOLDER", get_upload_folder()) + "/a" * 20_000, **FILE}
    told = said(ask(app, "answer", [photo, "a dog", "crossviz-mini", None]))
    assert "There is no such uploaded photo" in told or "was not found" in told
    assert "There is no such uploaded photo" in call(app, "explain", [photo, "a dog", "", ""])
    assert looked_up == []


def test_a_question_names_few_files(app, monkeypatch):
    kept, keep = [], Visits.keep
    monkeypatch.setattr(Visits, "keep", lambda self, name, visit: (kept.append(name), keep(self, name, visit)))
    names = [f"{get_upload_folder()}/{number:x}" for number in range(10_000)]
    ask(app, "answer", [None, "a dog", "crossviz-mini", None], names)
    assert len(kept) <= MOST_FILES
    many = [{"path": f"{get_upload_folder()}/a", **FILE}] * (MOST_FILES + 1)
    assert f"names {MOST_FILES} files at most" in call(app, "explain", [many, "a dog", "", ""])


@pytest.mark.parametrize(
    "name",
    [
        "../../../../tmp/crossviz-escaped.png",
        "/tmp/crossviz-escaped.png",
        "..\\..\\crossviz-escaped.png",
        "C:\\crossviz-escaped.png",
        "a\0b.png",
        "%00.png",
        "%2e%2e%2fa.png",
        "a" * 4096 + ".png",
        "\u202egnp.exe",
        "CON",
        "nul.png",
        ".",
        "..",
        "...",
        " ",
        ".htaccess",
        "<img src=x onerror=alert(1)>.png",
        "a;b&c|d$(id)`id`.png",
        "\U0001f600.png",
        "a/../b.png",
        "-rf",
        "~root",
    ],
)
def test_no_name_of_a_file_leaves_its_folder_or_spoils_an_answer(app, name):
    before = parts_left()
    body, headers = multipart([("files", name, b"content of " + name.encode())])
    reply = request(app, "POST", "/gradio_api/upload", body, headers)
    assert_nothing_left(before)
    assert not os.path.exists("/tmp/crossviz-escaped.png")
    if reply.status != 200:
        assert reply.status == 400 and len(reply.body) < 5000
        return
    (path,) = json.loads(reply.body)
    home = Path(get_upload_folder()).resolve()
    assert home in Path(path).resolve().parents and Path(path).resolve().parent != home
    shown = said(ask(app, "answer", [{"path": path, "meta": {"_type": "gradio.FileData"}}, "a", "crossviz-mini", None]))
    assert str(home) not in shown and len(shown) < 2000


# Too slow


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "PAUSE_SECONDS", 0.4)
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.4)


def begun(app: str, data: bytes) -> socket.socket:
    parts = urlsplit(app)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    connection.sendall(data)
    return connection


def ended(connection: socket.socket) -> bytes:
    came = b""
    try:
        while part := connection.recv(65536):
            came += part
    except ConnectionError:
        pass
    connection.close()
    return came


def test_bodies_of_which_nothing_comes_end_and_hold_up_nobody(app, impatient, monkeypatch):
    monkeypatch.setattr(limits, "PAUSE_SECONDS", 2.0)
    before = parts_left()
    body, headers = multipart([("files", "a.png", b"a" * 4000)])
    lines = ["Content-Length: 5000", f"Content-Type: {headers['content-type']}"]
    slow = [begun(app, head(app, "/gradio_api/upload", *lines) + body[:200]) for _ in range(40)]
    slow += [begun(app, head(app, "/gradio_api/queue/join", "Content-Length: 500") + b'{"data"') for _ in range(40)]
    alive(app)
    upload(app, b"x")
    for connection in slow:
        came = ended(connection)
        assert came.startswith(b"HTTP/1.1 408") and b"Nothing came for 2 seconds" in came
    assert_nothing_left(before)


def test_a_body_that_trickles_ends(app, impatient):
    before = parts_left()
    body, headers = multipart([("files", "a.png", b"a" * 4000)])
    connection = begun(
        app, head(app, "/gradio_api/upload", "Content-Length: 4000", f"Content-Type: {headers['content-type']}")
    )
    came = b""
    try:
        for byte in body[:60]:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    except ConnectionError:
        pass
    came = ended(connection)
    assert came.startswith(b"HTTP/1.1 408") and b"bytes a second" in came
    assert_nothing_left(before)


@pytest.mark.parametrize("path", ["upload", "queue/join", "call/explain", "cancel"])
def test_who_leaves_before_all_is_sent_leaves_nothing_and_is_no_error(app, caplog, path):
    caplog.set_level(logging.INFO)
    before = parts_left()
    body, headers = multipart([("files", "a.png", b"a" * 4000)])
    lines = f"Content-Length: {len(body) + 1000}", f"Content-Type: {headers['content-type']}"
    connection = begun(app, head(app, f"/gradio_api/{path}", *lines) + body)
    end = time.monotonic() + 10
    while path == "upload" and parts_left() == before:
        assert time.monotonic() < end, "nothing of the upload was written"
        time.sleep(0.01)
    connection.close()
    alive(app)
    assert_nothing_left(before)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_head_that_does_not_come_ends(app, impatient):
    silent, half = begun(app, b""), begun(app, b"GET / HTTP/1.1\r\nHost: ")
    assert ended(silent) == b""
    assert ended(half).startswith(b"HTTP/1.1 408")
    served = begun(app, f"GET /robots.txt HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\n\r\n".encode())
    served.recv(65536)
    served.sendall(b"GET / HTTP/1.1\r\n")  # the next one on the same connection
    assert b"HTTP/1.1 408" in ended(served)


def test_who_takes_nothing_of_an_answer_is_left(app, impatient):
    asked = f"GET /config HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\n\r\n".encode() * 40
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    parts = urlsplit(app)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(asked)
    time.sleep(2)
    assert len(ended(connection)) < 8 << 20  # what was on the way already, of more than 30 MB
    alive(app)


def test_who_takes_an_answer_slowly_gets_it_whole(app, impatient):
    asked = f"GET /config HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\n\r\n".encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    parts = urlsplit(app)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(asked * 20 + asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    came, until = 0, time.monotonic() + 3
    while part := connection.recv(20_000 if time.monotonic() < until else 1 << 20):
        came += len(part)
        if time.monotonic() < until:
            time.sleep(0.05)
    assert came > 21 * len(request(app, "GET", "/config").body)
    connection.close()


def test_a_long_answer_that_is_waited_for_is_not_cut(app, impatient):
    connection = begun(app, f"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: {urlsplit(app).netloc}\r\n\r\n".encode())
    connection.settimeout(2)
    came = b""
    with pytest.raises(TimeoutError):
        while True:
            part = connection.recv(65536)
            assert part, "The stream was ended."
            came += part
    assert b"ALIVE" in came
    connection.close()


def test_there_are_so_many_connections_and_no_more(app, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    held = [begun(app, b"") for _ in range(30)]
    refused = [came for came in map(ended, held[-8:]) if came]
    assert refused and all(came.startswith(b"HTTP/1.1 503") and b"nosniff" in came for came in refused)
    for connection in held:
        connection.close()
    time.sleep(0.1)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 800)
    alive(app)
