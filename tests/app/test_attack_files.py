"""Files that a stranger names, and photos that are none: nothing is read, fetched or unpacked beyond what was sent."""

import base64
import os
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder
from stranger import FILE, ask, call, canary, request, said, upload

import crossviz
from crossviz.web.examples import examples

ROOT = Path(crossviz.__file__).resolve().parents[1]
SECRET = ROOT / "docs" / "picture.png"  # a picture of the server's that no visitor uploaded
MODEL = "crossviz-mini"


def quoted(path: str) -> str:
    return "".join(f"%{byte:02x}" for byte in path.encode())


# By the address of a file


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//etc/passwd",
        quoted("/etc/passwd"),
        quoted("%2fetc%2fpasswd"),
        "/etc/passwd%00.png",
        "\\etc\\passwd",
        "C:/windows/win.ini",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "data:text/html,<script>alert(1)</script>",
        "http://127.0.0.1:1/a.png",
        "HTTP:/127.0.0.1:1/a.png",
        "https://example.org/a.png",
        "//example.org/a.png",
        "ftp://example.org/a.png",
        "gopher://127.0.0.1:25/_HELO",
        "javascript:alert(1)",
        "hf://models",
        "{home}/../../etc/passwd",
        "{home}/%2e%2e/%2e%2e/etc/passwd",
        "{home}/..%2f..%2fetc%2fpasswd",
        "{home}/%252e%252e/%252e%252e/etc/passwd",
        "{home}/x/../../../etc/passwd",
        "{home}",
        "{home}/",
        "{home}/.",
        "{home}evil",
        "/proc/self/environ",
        "/proc/self/cwd/pyproject.toml",
        "/dev/zero",
        "/dev/stdin",
        ".",
        "pyproject.toml",
        str(ROOT / "pyproject.toml"),
        str(Path(crossviz.__file__)),
        str(ROOT / ".git" / "config"),
        "~/.bashrc",
        "*",
        "",
    ],
)
def test_only_files_of_visitors_are_handed_out(app, name):
    path = name.replace("{home}", get_upload_folder())
    for way in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/"):
        for method in ("GET", "HEAD"):
            reply = request(app, method, way + path)
            assert reply.status in (400, 403, 404, 405), (way, method)
            assert b"root:" not in reply.body and b"[project]" not in reply.body


def test_a_link_in_the_folder_leads_nowhere(app):
    folder = Path(upload(app, b"a folder of its own")).parent
    for name, target in [("passwd.txt", "/etc/passwd"), ("deeper", "/etc"), ("picture.png", SECRET)]:
        (folder / name).symlink_to(target)
    try:
        for name in ("passwd.txt", "deeper/passwd", "picture.png"):
            assert request(app, "GET", f"/gradio_api/file={folder / name}").status == 403
        done = ask(app, "answer", [{"path": str(folder / "picture.png"), **FILE}, "a dog", MODEL, None])
        assert '\\"payload\\"' not in said(done)
    finally:
        for name in ("passwd.txt", "deeper", "picture.png"):
            (folder / name).unlink()


@pytest.mark.parametrize(
    "part", ["bytes=0-9", "bytes=5-2", "bytes=-1", "bytes=0-" + "9" * 30, "bytes=" + "0-,1-" * 999]
)
def test_parts_of_files_are_not_made(app, part):
    path = upload(app, b"0123456789" * 10, "a.txt")
    headers = {"range": part, "x-evil": "echoed", "set-cookie": "a=echoed", "content-type": "text/html"}
    reply = request(app, "GET", f"/gradio_api/file={path}", headers=headers)
    assert (reply.status, len(reply.body)) == (200, 100)
    assert "echoed" not in str(reply.all_headers) and "text/html" not in str(reply.all_headers)


# By what an event is given


def payloads(path: str) -> list:
    """Every way to name a file in what an event or an endpoint is given."""
    url = "data:image/png;base64,"
    return [
        {"path": path},
        {"path": path, **FILE},
        {"path": path, "url": path, **FILE},
        {"path": path, "url": None, "orig_name": "a.png", "size": 1, "mime_type": "image/png", "is_stream": False},
        {"path": path, "is_stream": True, **FILE},
        {"path": path, "meta": {"_type": "gradio.FileData", "x": 1}},
        {"path": path, "meta": {"_type": "other"}},
        {"path": path, "meta": None},
        {"path": path, "url": url, **FILE},
        {"path": path, "url": f"file://{path}"},
        path,
        [path],
        {"url": path, **FILE},
        {"path": None, "url": path, "orig_name": path, **FILE},
        {"path": "", "url": path},
        {"path": {"path": path}},
        {"image": {"path": path, **FILE}},
        {"__type__": "update", "value": {"path": path, **FILE}},
    ]


@pytest.mark.parametrize(
    "path",
    [
        str(SECRET),
        f"{{home}}/../../../../../../../{SECRET}",
        f"file://{SECRET}",
        f"/gradio_api/file={SECRET}",
        f"{{app}}/gradio_api/file={SECRET}",
        f"{{app}}/gradio_api/file=%2f{quoted(str(SECRET)[1:])}",
    ],
)
def test_no_event_reads_a_file_that_was_not_sent(app, path):
    path = path.format(home=get_upload_folder(), app=app)
    for payload in payloads(path):
        done = ask(app, "answer", [payload, "a dog", MODEL, None])
        assert '\\"payload\\"' not in said(done), payload  # there is no explanation
        assert str(SECRET.parent) not in said(done), payload
        assert "event: error" in call(app, "explain", [payload, "a dog", MODEL, ""]), payload
    assert '\\"payload\\"' not in said(ask(app, "_opened", [], {"path": path}))


def test_no_other_field_takes_a_file(app):
    path = str(SECRET)
    for place in range(4):
        data = [None, "a dog", MODEL, None]
        data[place] = {"path": path, **FILE}
        answer = said(ask(app, "answer", data))
        assert '\\"payload\\"' not in answer and str(SECRET.parent) not in answer


def test_nothing_is_fetched(app):
    with canary() as (elsewhere, asked):
        port = elsewhere.rpartition(":")[2]
        named = [
            f"{elsewhere}/{end}" for end in ("redirect", "a.png?x=/gradio_api/file=", "gradio_api/file=/etc/passwd")
        ]
        named += [f"HTTP://localhost:{port}/a.png", f"http://2130706433:{port}/", f"//127.0.0.1:{port}/a.png"]
        for address in named:
            for payload in (*payloads(address)[:3], payloads(address)[4]):
                assert '\\"payload\\"' not in said(ask(app, "answer", [payload, "a dog", MODEL, None])), payload
            assert "event: error" in call(app, "explain", [{"path": address, **FILE}, "a dog", MODEL, ""])
            for event, data in [("answer", [None, {"path": address, **FILE}, MODEL, None]), ("_opened", [])]:
                ask(app, event, data, {"path": address})
            for method, way in [("GET", "file"), ("HEAD", "file"), ("GET", "proxy")]:
                assert request(app, method, f"/gradio_api/{way}={address}").status in (403, 404)
        assert asked == []


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.google.internal/",
        "gopher://127.0.0.1:11211/_stats",
        "dict://127.0.0.1:11211/stats",
        "data:text/html,<script>alert(1)</script>",
        "data:,",
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
        "blob:https://example.org/1",
        "data:image/png;base64,!!!!",
        "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
    ],
)
def test_addresses_of_every_kind_end_in_a_sentence(app, address, monkeypatch):
    import socket

    looked_up = []
    own = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **how: looked_up.append(host) or own(host, *more, **how)
    )
    for payload in ({"url": address, **FILE}, {"path": address, "url": address, **FILE}):
        text = said(ask(app, "answer", [payload, "a dog", MODEL, None]))
        assert '\\"payload\\"' not in text and "Traceback" not in text and len(text) < 3000
    assert set(looked_up) <= {"127.0.0.1"}


# By the name of a model


@pytest.mark.parametrize(
    "model",
    [
        "../../etc",
        "/etc",
        str(ROOT / "assets" / "models"),
        "file:///etc/passwd",
        "http://127.0.0.1:1/model",
        "hf-hub:../../x",
        "hf-hub:evil/model",
        "local-dir:/etc",
        "open_clip:ViT-B-32/../../etc/passwd",
        "open_clip:local-dir:/etc",
        "open_clip:/etc/passwd",
        "open_clip:hf-hub:evil/model",
        "coca:../..",
        "blip:/etc",
        "vilt:\0",
        "crossviz-mini/../crossviz-mini",
        "CROSSVIZ-MINI",
        "a" * 5000,
        "__class__",
        "{0.__class__}",
        "%s%n",
    ],
)
def test_no_name_of_a_model_is_a_path_or_an_address(app, model):
    photo = {"path": upload(app, examples()[0].photo.read_bytes(), "a.jpg"), **FILE}
    came = call(app, "explain", [photo, "a dog", model, ""])
    assert "event: error" in came and "Traceback" not in came and len(came) < 2000
    assert "root:" not in came
    came = call(app, "methods", [model])
    assert "event: error" in came and len(came) < 2000


# Photos that are none


OTHERS = {
    "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "psd.png": b"8BPS\x00\x01" + bytes(30),
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print",
    "ico.png": b"\x00\x00\x01\x00\x01\x00" + bytes(40),
    "pdf.png": b"%PDF-1.7\n1 0 obj",
    "heic.png": b"\x00\x00\x00\x18ftypheic" + bytes(30),
    "avif.jpg": b"\x00\x00\x00\x18ftypavif" + bytes(30),
    "mp4.gif": b"\x00\x00\x00\x18ftypisom" + bytes(30),
    "pcx.png": b"\x0a\x05\x01\x08" + bytes(130),
    "ppm.png": b"P6\n2 2\n255\n" + bytes(12),
    "dds.png": b"DDS " + bytes(130),
    "jp2.png": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40),
    "html.png": b"<!doctype html><script>alert(1)</script>",
    "xml.png": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    "zip.png": b"PK\x03\x04" + bytes(40),
    "empty.png": b"",
    "exe.png": b"MZ" + bytes(80),
}


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_format_is_opened_whatever_its_name(app, name):
    data = OTHERS[name]
    path = upload(app, data, name)
    (sentence,) = [
        text
        for text in ask(app, "answer", [{"path": path, **FILE}, "a dog", MODEL, None])["output"]["data"]
        if isinstance(text, str) and name.partition(".")[0] in text
    ]
    assert "\n" not in sentence and len(sentence) < 200 and "/" not in sentence
    assert "event: error" in call(app, "explain", [{"path": path, **FILE}, "a dog", MODEL, ""])
    inline = {"url": "data:image/png;base64," + base64.b64encode(data).decode(), **FILE}
    assert '\\"payload\\"' not in said(ask(app, "answer", [inline, "a dog", MODEL, None]))


def test_a_photo_that_is_also_something_else_is_a_photo_and_saved_as_one(app):
    data = examples()[0].photo.read_bytes() + b"<script>window.__pwned = 1</script>"
    for name in ("both.jpg", "both.html", "both.svg", "both.js", "both.xhtml", "both"):
        path = upload(app, data, name)
        reply = request(app, "GET", f"/gradio_api/file={path}")
        shown = reply.headers["content-disposition"].partition(";")[0], reply.headers["content-type"]
        assert shown == (("inline", "image/jpeg") if name == "both.jpg" else ("attachment", "application/octet-stream"))
        assert (
            reply.headers["x-content-type-options"] == "nosniff"
            and "sandbox" in reply.headers["content-security-policy"]
        )


def test_another_visitors_file_is_found_only_by_who_has_its_content(app):
    path = Path(upload(app, os.urandom(64), "mine.png"))
    assert len(path.parent.name) == 64 and int(path.parent.name, 16)  # SHA-256 of the content
    for guess in (
        path.parent,
        path.parent.parent,
        path.with_name("other.png"),
        path.parent.parent / ("0" * 64) / "mine.png",
    ):
        assert request(app, "GET", f"/gradio_api/file={guess}").status == 403
