"""The server around the page: what it refuses, what it hands out, how it starts and how it says that it can't."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from stranger import request
from watched import free_port

from crossviz.errors import CrossvizError
from crossviz.web.app import check_port

ROOT = Path(__file__).resolve().parents[2]


def test_no_mcp_server_unless_asked_for(app):
    assert request(app, "POST", "/gradio_api/mcp/", b"{}", {"content-type": "application/json"}).status == 404


def test_a_port_that_is_taken_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CrossvizError, match=rf"Port {port} .*--port {port + 1}"):
            check_port("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70000), ("no.such.host.invalid", 7860)])
def test_addresses_that_cannot_be(host, port):
    with pytest.raises(CrossvizError):
        check_port(host, port)


def test_the_app_starts_says_so_in_one_line_and_answers():
    port = free_port()
    proxies = dict.fromkeys(("HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")  # of a network, for what is outside
    environment = {**os.environ, **proxies, "GRADIO_SERVER_PORT": str(port)}
    for name in ("NO_PROXY", "no_proxy"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert re.fullmatch(rf"crossviz is ready at http://127\.0\.0\.1:{port} \(.* on \w+, warm in [\d.]+ s\)\n", line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert b"crossviz" in answer.read()
        address = f"http://127.0.0.1:{port}"
        assert request(address, "GET", "/health").status == 200
        said = {"content-type": "application/json"}
        assert request(address, "POST", "/gradio_api/run/explain", b'{"data": ["zq7marked"]}', said).status >= 400
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=120)
    assert "Traceback" not in rest
    assert "zq7marked" not in rest and re.search(r" request method=POST .* status=[45]", rest), rest


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GRADIO_SERVER_PORT", "http", "GRADIO_SERVER_PORT is a whole number from 1 to 65535, not 'http'."),
        ("CROSSVIZ_CACHE", "5", "There is no setting CROSSVIZ_CACHE: did you mean CROSSVIZ_CACHE_MB?"),
        ("GRADIO_ALLOWED_PATHS", "/", "GRADIO_ALLOWED_PATHS='/' would hand out files of this computer to everyone"),
    ],
)
def test_a_setting_that_will_not_do_ends_the_start_with_a_sentence(name, value, said):
    environment = {**os.environ, name: value}
    command = [sys.executable, "app.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert done.stderr.startswith(f"crossviz: {said}") and done.stderr.count("\n") == 1
    assert done.stdout == ""
