"""The app in a process of its own, under a sub-path behind a proxy: a whole visit that asks nobody else, bombs that
cost nothing, and a log that nobody else writes in."""

import base64
import json
import re
from collections.abc import Iterator

import pytest
from bombs import BOMBS
from proxied import App, proxy, started
from stranger import FILE, ask, call, request, said, upload
from test_page import picture
from whole_visit import whole_visit

PREFIX = "/tools/crossviz"
BLOG = "http://blog.example"


@pytest.fixture(scope="module")
def own() -> Iterator[App]:
    """An app that lies under a sub-path."""
    settings = {"CROSSVIZ_FRAME_ANCESTORS": BLOG, "CROSSVIZ_ALLOW_ORIGINS": BLOG}
    with started(GRADIO_ROOT_PATH=PREFIX, **settings) as app:
        yield app


def test_a_whole_visit_under_a_sub_path_asks_its_own_server_only(own, visit):
    with proxy(own.port, PREFIX, X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="http") as address:
        whole_visit(visit, address)
    assert own.elsewhere() == []


def test_the_address_is_the_proxys_whatever_a_stranger_says(own):
    for headers in ({}, {"x-forwarded-host": "evil.example"}, {"x-forwarded-prefix": "//evil.example"}):
        config = json.loads(request(own.url, "GET", "/config", headers={**headers, "host": "127.0.0.1:81"}).body)
        assert config["root"] == f"http://127.0.0.1:81{PREFIX}"
    secure = request(own.url, "GET", "/config", headers={"x-forwarded-proto": "https", "host": "localhost"})
    assert json.loads(secure.body)["root"] == f"https://localhost{PREFIX}"
    several = request(own.url, "GET", "/config", headers={"x-forwarded-proto": "https,http", "host": "localhost"})
    assert json.loads(several.body)["root"] == f"https://localhost{PREFIX}"
    odd = request(own.url, "GET", "/config", headers={"x-forwarded-proto": "javascript", "host": "localhost"})
    assert json.loads(odd.body)["root"] == f"http://localhost{PREFIX}"


@pytest.mark.parametrize("path", ["/gradio_api/app_id", "/monitoring", "/gradio_api/file=/etc/passwd"])
def test_a_sub_path_opens_no_door(own, path):
    for under in (path, PREFIX + path, PREFIX + PREFIX + path, PREFIX + "/" + path, PREFIX + "/." + path):
        assert request(own.url, "GET", under).status in (403, 404)
    assert request(own.url, "GET", PREFIX + "/config").status == 200  # of a proxy that leaves the prefix
    bare = request(own.url, "GET", PREFIX + "?a=b")
    assert (bare.status, bare.headers["location"]) == (307, PREFIX + "/?a=b")


def test_pages_that_are_named_may_show_it_and_ask_it(own):
    policy = request(own.url, "GET", "/").headers["content-security-policy"]
    assert policy.endswith(f"frame-ancestors 'self' {BLOG}")
    asks = {"origin": BLOG, "sec-fetch-site": "cross-site", "content-type": "application/json"}
    reply = request(own.url, "POST", "/gradio_api/call/models", b'{"data": []}', asks)
    assert reply.status == 200 and "access-control-allow-credentials" not in reply.headers
    assert "frame-ancestors" in reply.headers["content-security-policy"]


# Bombs


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_a_sentence(own, name):
    data = BOMBS[name]
    assert len(data) < 100_000
    photo = {"path": upload(own.url, data, name), **FILE}
    ask(own.url, "answer", [None, "a dog", "crossviz-mini", None])
    before = own.peak()
    answers = [said(ask(own.url, "answer", [photo, "a dog", "crossviz-mini", None]))]
    answers.append(call(own.url, "explain", [photo, "a dog", "", ""]))
    inline = {"url": "data:image/png;base64," + base64.b64encode(data).decode(), **FILE}
    answers.append(said(ask(own.url, "answer", [inline, "a dog", "crossviz-mini", None])))
    for answer in answers:
        assert "payload" not in answer and "event: complete" not in answer and "Traceback" not in answer
        assert re.search("megapixels|pixels|damaged|broken", answer), answer
    assert own.peak() - before < 64 << 20


# The log


def test_nobody_else_writes_in_the_log(own):
    forged = "\r\nERROR: forged\n\x1b[31mERROR: forged\x1b[0m\u2028ERROR: forged\x85ERROR: forged"
    photo = {"path": upload(own.url, picture("PNG"), "a%0AERROR: forged.png"), **FILE}
    ask(own.url, "answer", [photo, forged, forged, forged])
    ask(own.url, "answer", [photo, forged, "crossviz-mini", "cross_attention"])
    call(own.url, "explain", [photo, forged, forged, forged])
    call(own.url, "explain", [{"path": forged, **FILE}, forged, "", ""])
    ask(own.url, "_opened", [], {"path": forged})
    ask(own.url, "save", [None], {"format": forged, "id": forged})
    for path in ("/%0d%0aERROR:%20forged", "/gradio_api/file=%0aERROR: forged".replace(" ", "%20")):
        request(own.url, "GET", path)
    lines = own.log().splitlines()
    assert not [line for line in lines if re.match(r"(\x1b\[\d*m)?ERROR: forged", line)]
    assert "\x1b[31m" not in own.log()


def test_nothing_was_asked_of_anyone_to_the_end(own):
    assert own.elsewhere() == []
