"""deploy/nginx.conf, the very file, before two replicas: `make test-proxy`. Needs nginx (apt-get install nginx).

Not part of `make test`: it starts two apps and a server that the tests do not install.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from proxied import App, started
from stranger import raw, request
from test_attack_bodies import head
from test_link import shows
from watched import arrived, free_port
from whole_visit import explained, whole_visit

from crossviz.web.guard import MAX_ADDRESS_BYTES
from crossviz.web.limits import MAX_JSON_BYTES, MAX_UPLOAD_BYTES, PAUSE_SECONDS

pytestmark = pytest.mark.skipif(
    not os.environ.get("PROXY_TESTS"), reason="starts nginx and two apps: run `make test-proxy`"
)
CONF = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
MAIN = """
{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/default.conf;
}}
"""


@contextmanager
def nginx(folder: Path, path: str, ports: list[int]) -> Iterator[str]:
    """The address of nginx with the project's configuration, filled in as the official image does it."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert binary, "nginx is not here: apt-get install nginx"
    port = free_port()
    values = {"CROSSVIZ_LISTEN": f"127.0.0.1:{port}", "CROSSVIZ_PATH": path}
    values |= {f"CROSSVIZ_REPLICA_{i}": f"127.0.0.1:{own}" for i, own in enumerate(ports, 1)}
    filled = re.sub(r"\$\{(CROSSVIZ_\w+)\}", lambda found: values[found[1]], CONF.read_text("utf-8"))
    (folder / "default.conf").write_text(filled, "utf-8")
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="" if os.geteuid() else "user root;"), "utf-8")
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    try:
        for _ in range(100):
            time.sleep(0.05)
            try:
                request(f"http://127.0.0.1:{port}", "GET", "/")
                break
            except ConnectionError:
                continue
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module", params=["", "/tools/crossviz"], ids=["root", "sub-path"])
def behind(request, tmp_path_factory) -> Iterator[tuple[str, list[App]]]:
    """nginx's address and the replicas."""
    with ExitStack() as stack:
        names = {"GRADIO_ROOT_PATH": request.param, "CROSSVIZ_HOSTS": "crossviz.example.org"}
        apps = []
        for i in (1, 2):  # each has a folder for uploads to itself, as in a container
            uploads = tmp_path_factory.mktemp(f"uploads{i}")
            apps.append(stack.enter_context(started(**names, GRADIO_TEMP_DIR=str(uploads))))
        folder = tmp_path_factory.mktemp("nginx")
        yield stack.enter_context(nginx(folder, request.param, [app.port for app in apps])), apps


def split(address: str) -> tuple[str, str]:
    """Server and path."""
    server, path = re.fullmatch(r"(http://[^/]+)(.*)", address).groups()
    return server, path


def test_a_whole_visit(behind, visit):
    address, apps = behind
    whole_visit(visit, address)
    assert [app.elsewhere() for app in apps] == [[], []]


def test_limits_are_kept_before_the_app(behind):
    server, path = split(behind[0])
    for way, size in [("queue/join", MAX_JSON_BYTES), ("upload", MAX_UPLOAD_BYTES)]:
        came = raw(server, head(server, f"{path}/gradio_api/{way}", f"Content-Length: {size + 1}"))
        assert came.startswith(b"HTTP/1.1 413"), came[:80]
    long = request(server, "GET", f"{path}/config?{'a' * MAX_ADDRESS_BYTES}")
    assert long.status == 414
    begun = time.monotonic()
    came = raw(server, head(server, f"{path}/gradio_api/queue/join", "Content-Length: 100") + b"{")
    assert came.startswith(b"HTTP/1.1 408") or came == b""
    assert PAUSE_SECONDS - 1 < time.monotonic() - begun < PAUSE_SECONDS + 10


def test_what_a_stranger_says_of_the_address_is_not_believed(behind):
    server, path = split(behind[0])
    for headers in ({"x-forwarded-host": "evil.example"}, {"forwarded": "host=evil.example"}):
        assert b"evil.example" not in request(server, "GET", f"{path}/config", headers=headers).body
    assert request(server, "GET", f"{path}/config", headers={"host": "evil.example"}).status == 421
    own = request(
        server, "GET", f"{path}/config", headers={"host": "crossviz.example.org", "x-forwarded-proto": "https"}
    )
    assert f'"root":"https://crossviz.example.org{path}"'.encode() in own.body
    reply = request(server, "GET", f"{path}/")
    assert reply.status == 200 and "frame-ancestors" in reply.headers["content-security-policy"]
    if path:
        moved = request(server, "GET", path)
        assert (moved.status, moved.headers["location"]) == (301, f"{path}/")


def test_one_visitors_requests_reach_one_replica(behind):
    server, path = split(behind[0])
    seen = {request(server, "GET", f"{path}/config").body.partition(b'"app_id":')[2][:20] for _ in range(8)}
    assert len(seen) == 1 and seen != {b""}


def test_when_a_replica_is_killed_its_visitors_go_on_with_the_other(behind, visit):
    address, apps = behind
    watched = visit(address + "/")
    page = watched.page
    explained(watched, "a cat and a hat")
    server, path = split(address)
    own_id = request(server, "GET", f"{path}/config").body.partition(b'"app_id":')[2][:20]
    (mine,) = [app for app in apps if own_id in request(app.url, "GET", "/config").body]
    mine.process.kill()
    mine.process.wait()
    # What is on the page still works there, and the examples ask the other replica at once.
    page.locator(".cv-chip").nth(1).hover()
    page.locator(".cv-examples button").nth(1).click()
    page.wait_for_function("!document.querySelector('.cv-words').textContent.includes('hat')")
    # A new visitor notices nothing.
    page = visit(address + "/").page
    arrived(page)
    page.fill("#cv-caption textarea", "a man in a coat")
    page.click("#cv-explain")
    shows(page, "a man in a coat")
