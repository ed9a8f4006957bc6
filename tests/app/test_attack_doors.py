"""Which addresses answer a stranger: those that somebody decided on, and no others, under the server's own names."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gradio import Blocks
from stranger import ask, raw, request, said, upload
from watched import free_port

from crossviz.web import connections
from crossviz.web.doors import MCP, OPEN, methods_of

CLOSED = {
    # Logging in and signing in: there are no accounts.
    "/login": "POST",
    "/login/": "POST",
    "/logout": "GET",
    "/gradio_api/user": "GET",
    "/gradio_api/user/": "GET",
    "/gradio_api/login_check": "GET",
    "/gradio_api/login_check/": "GET",
    "/gradio_api/token": "GET",
    "/gradio_api/token/": "GET",
    # For who writes an app: reloading, the editor, profiling, watching.
    "/gradio_api/app_id": "GET",
    "/gradio_api/app_id/": "GET",
    "/gradio_api/dev/reload": "GET",
    "/gradio_api/vibe-edit": "POST",
    "/gradio_api/vibe-edit/": "POST",
    "/gradio_api/undo-vibe-edit": "POST",
    "/gradio_api/undo-vibe-edit/": "POST",
    "/gradio_api/vibe-code": "GET POST",
    "/gradio_api/vibe-code/": "GET POST",
    "/gradio_api/vibe-starter-queries": "POST",
    "/gradio_api/vibe-starter-queries/": "POST",
    "/monitoring": "GET",
    "/monitoring/summary": "GET",
    "/monitoring/{key}": "GET",
    # What the page does not have: other pages' code, icons to install, recordings, streams, functions of components.
    "/svelte/{path:path}": "GET",
    "/pwa_icon": "GET",
    "/pwa_icon/{size}": "GET",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}": "GET",
    "/gradio_api/component_server": "POST",
    "/gradio_api/component_server/": "POST",
    "/gradio_api/process_recording": "POST",
    "/gradio_api/stream/{event_id}": "POST",
    "/gradio_api/stream/{event_id}/close": "POST",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8": "GET",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}": "GET",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file": "GET",
    # Kept states and runs of visitors.
    "/gradio_api/deep_link": "GET",
    "/gradio_api/runs": "GET",
    "/gradio_api/runs/": "GET",
    # What asks other servers.
    "/gradio_api/proxy={url_path:path}": "GET HEAD",
    # Older or other names of what is open.
    "/gradio_api/file/{path:path}": "GET",
    "/gradio_api/theme.css": "GET",
    "/gradio_api/api/{api_name}": "POST",
    "/gradio_api/api/{api_name}/": "POST",
    "/gradio_api/run/{api_name}/": "POST",
    "/gradio_api/call/{api_name}/": "POST",
    "/gradio_api/call/v2/{api_name}/": "POST",
    "/gradio_api/reset/": "POST",
}
"""Routes of Gradio's server that nobody needs here. One that is in neither list fails a test: decide where it goes."""

OURS = {"/health", "/live"}
"""No routes: crossviz answers them itself, before Gradio."""


def routes_of(app) -> dict[str, set[str]]:
    """Every route of an app and its methods, also where FastAPI keeps those of a router aside."""
    found: dict[str, set[str]] = {}

    def look(routes, prefix=""):
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:  # its routes have their prefix already
                look(inner.routes)
            else:
                found.setdefault(prefix + route.path, set()).update(getattr(route, "methods", None) or {"MOUNT"})

    look(app.routes)
    return found


@pytest.fixture(scope="module")
def page() -> Iterator[Blocks]:
    from crossviz.web.app import build
    from crossviz.web.page import launch

    page = build()
    launch(page, "127.0.0.1", free_port())
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def app(page) -> str:
    return page.local_url.rstrip("/")


def test_every_route_is_decided_on(page):
    found = routes_of(page.app)
    assert len(found) > 60
    undecided = {
        path: methods
        for path, methods in found.items()
        for decided in [{**CLOSED, **OPEN}.get(path, "").split()]
        if not methods <= {*decided, *({"HEAD"} if "GET" in decided else ())}
    }
    assert undecided == {}
    assert set(OPEN) - OURS <= set(found), "these are open and lead nowhere"
    assert set(CLOSED) <= set(found), "these are gone"


def test_what_is_closed_is_closed_by_every_method(app):
    for route in [*CLOSED, "/docs", "/redoc", "/openapi.json", "/gradio_api/profiling/traces", "/.env", "/gradio_api/"]:
        path = re.sub(r"\{.*?\}", "x", route)
        for method in ("GET", "POST"):
            reply = request(app, method, path, b"" if method == "POST" else None)
            assert (reply.status, reply.body) == (404, b"There is nothing here."), (method, path)


def test_nothing_goes_around_the_queue(page, app):
    queued = [fn.api_name for fn in page.fns.values() if fn.fn is not None and fn.queue]
    assert {"explain", "trust", "export", "answer"} <= set(queued)
    for name in queued:
        reply = request(app, "POST", f"/gradio_api/run/{name}", b'{"data": []}', {"content-type": "application/json"})
        assert reply.status == 404 and b"queue" in reply.body, name


def test_no_expression_of_an_open_address_reaches_a_closed_one():
    doors = methods_of({**OPEN, **MCP})
    for route in CLOSED:
        path = re.sub(r"\{.*?\}", "x", route)
        assert not any(door.fullmatch(path) for door, _ in doors), path


@pytest.mark.parametrize(
    "path",
    [
        "//gradio_api/app_id",
        "/gradio_api//app_id",
        "/./gradio_api/app_id",
        "/assets/../gradio_api/app_id",
        "/assets/..%2fgradio_api%2fapp_id",
        "/gradio_api%2fapp_id",
        "/gradio_api/app_id%00",
        "/gradio_api/app_id?x=/config",
        "/gradio_api/app_id;/config",
        "/GRADIO_API/app_id",
        "http://127.0.0.1/gradio_api/app_id",
    ],
)
def test_no_spelling_opens_a_closed_address(app, path):
    reply = request(app, "GET", path)
    assert reply.status in (400, 403, 404)
    assert b"app_id" not in reply.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "PROPFIND", "GETT"])
def test_other_methods_are_refused(app, method):
    for path in ("/", "/config", "/gradio_api/upload", "/gradio_api/queue/join"):
        reply = request(app, method, path, headers={"x-echo": "echoed"})
        assert reply.status == 405
        assert b"echoed" not in reply.body


def test_there_are_no_websockets(app):
    host = app.removeprefix("http://")
    head = (
        f"GET /gradio_api/queue/join HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
    )
    came = raw(app, f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    assert came.startswith(b"HTTP/1.1 405")


# Names


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "a@127.0.0.1", "[::"])
def test_another_name_that_leads_here_is_not_answered(app, host):
    reply = request(app, "GET", "/config", headers={"host": host})
    assert reply.status in (400, 421)
    assert b"components" not in reply.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1:1", "[::1]:80"])
def test_the_servers_own_names_are_answered(app, host):
    assert request(app, "GET", "/config", headers={"host": host}).status == 200


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "x-gradio-server", "X-Forwarded-Prefix", "Forwarded", "X-Host"])
def test_no_header_moves_the_pages_own_addresses(app, name):
    evil = "http://evil.example" if "server" in name else 'evil.example"><script>alert(1)</script>'
    for path in ("/", "/config", "/gradio_api/info"):
        assert b"evil.example" not in request(app, "GET", path, headers={name: evil}).body
    # and none is kept for those who ask next
    assert b"evil.example" not in request(app, "GET", "/gradio_api/info").body


def test_the_answer_to_one_name_is_not_kept_for_others(app):
    request(app, "GET", "/gradio_api/info", headers={"host": "localhost:4321"})
    request(app, "GET", "/gradio_api/openapi.json", headers={"host": "localhost:4321"})
    for path in ("/gradio_api/info", "/gradio_api/openapi.json", "/config", "/"):
        assert b"localhost:4321" not in request(app, "GET", path).body


def test_the_api_is_described_as_ever(app):
    described = json.loads(request(app, "GET", "/gradio_api/info").body)
    everything = json.loads(request(app, "GET", "/gradio_api/info?all_endpoints=true").body)
    assert "/explain" in described["named_endpoints"] and "/explain" in everything["named_endpoints"]


# Other people's pages


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_sends_is_refused(app, site):
    headers = {"content-type": "text/plain", "sec-fetch-site": site, "origin": "https://evil.example"}
    for path in ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/explain", "/gradio_api/cancel"):
        assert request(app, "POST", path, b"{}", headers).status == 403
    assert request(app, "GET", "/", headers=headers).status == 200  # a link


@pytest.mark.parametrize(("origin", "refused"), [("http://evil.example", True), ("null", True), ("", False)])
def test_what_another_page_sends_over_plain_http_is_refused(app, origin, refused):
    """Browsers name the origin there, and nothing else."""
    sent = request(app, "POST", "/gradio_api/cancel", b"{}", {"origin": origin or app, "content-type": "text/plain"})
    assert (sent.status == 403) == refused


def test_a_websockets_protocol_never_takes_a_connection():
    """Where one is installed, uvicorn would hand the connection to it, and nobody would watch it any more."""
    seen = []

    class Protocol:
        loop, connections, ws_protocol_class = SimpleNamespace(call_later=lambda *_: None), (), object

        def connection_made(self, transport):
            seen.append(self.ws_protocol_class)

    connections._limited(Protocol)().connection_made(None)
    assert seen == [None]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_no_other_origin_may_read_an_answer(app, origin):
    headers = {"origin": origin, "access-control-request-method": "POST"}
    for method, path in [("GET", "/config"), ("OPTIONS", "/gradio_api/queue/join"), ("GET", "/none")]:
        reply = request(app, method, path, headers=headers)
        assert not [name for name in reply.headers if name.startswith("access-control")]


# Links to kept states


def test_an_uploaded_state_is_no_link(app):
    path = upload(app, b'[{"id": 1, "props": {"value": "kept-state"}}]', "state.json")
    for link in (path.split("/")[-2], f"../{path.split('/')[-2]}", "..%2f" + path.split("/")[-2]):
        for page in ("/?deep_link", "/config?deep_link", "/?a=b&deep%5flink", "/?&d%65ep_link"):
            assert b"kept-state" not in request(app, "GET", f"{page}={link}").body


def test_a_call_that_names_no_event_or_another_ones_is_refused(app):
    # An event of the page answers by its own rules whatever else the body claims.
    done = ask(app, "answer", [None, "a dog", "crossviz-mini", None])
    assert "No photo was given" in said(done)
    headers = {"content-type": "application/json"}
    for body in ({"data": [], "fn_index": 10**9}, {"data": [], "fn_index": -1}, {"data": [], "session_hash": "a"}):
        reply = request(app, "POST", "/gradio_api/queue/join", json.dumps(body).encode(), headers)
        assert reply.status >= 400 and b"Traceback" not in reply.body
