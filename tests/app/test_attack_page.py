"""Text and files that would be a page, a script or a header: in a real Chromium, on the page and in what it saves."""

import csv
import dataclasses
import http.server
import io
import json
import re
import threading
from contextlib import nullcontext
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import factories
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Error
from stranger import request, upload
from test_link import shows
from test_open import choose
from test_page import ask, save, take_away
from watched import Watched, arrived, ready

from crossviz.web.examples import examples
from crossviz.web.limits import MAX_JSON_BYTES

EVIL = (
    '<img src=x onerror="window.__pwned=1"> <svg/onload=window.__pwned=2> </script><script>window.__pwned=3</script> '
    "</style></title></textarea>{{7*7}} ${window.__pwned=4} #{5} <%=6%> {0.__class__} %(x)s %s `id` \u2028 \u2029 "
    '" onmouseover=window.__pwned=7 x=" javascript:window.__pwned=8 ]]> <!-- &lt;b&gt; &#60;b&#62; \u202eabc =1+1'
)
SHORT = '<img src=x onerror="window.__pwned=1"> ${window.__pwned=4} {{7*7}} dog'
MADE = """() => [
  window.__pwned,
  document.querySelectorAll("img[src=x], svg[onload], [onmouseover], [onerror]").length,
  [...document.scripts].filter((script) => script.textContent.startsWith("window.__pwned")).length,
  document.title.includes("49") || document.body.innerText.includes("49 dog"),
]"""
UNTOUCHED = [None, 0, 0, False]


def harmless(watched: Watched) -> None:
    """Nothing was run and nothing was made of what a stranger wrote."""
    assert watched.page.evaluate(MADE) == UNTOUCHED
    watched.assert_quiet()


def moved_over(watched: Watched) -> None:
    """Every word, and what is shown of it, was pointed at and held."""
    for chip in watched.page.locator(".cv-chip").all()[:4]:
        chip.hover()
        chip.click()
    watched.page.keyboard.press("Escape")


def evil_photo() -> bytes:
    """A photo whose every text is evil."""
    photo = factories.photo(96, 64).image()
    texts = PngInfo()
    for name in ("Title", "Description", "Comment", "XML:com.adobe.xmp"):
        texts.add_itxt(name, EVIL)
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = exif[0x8298] = EVIL  # ImageDescription, Artist, Copyright
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + EVIL.encode("utf-16")  # UserComment
    file = io.BytesIO()
    photo.save(file, "PNG", pnginfo=texts, exif=exif)
    return file.getvalue()


def evil_answer():
    """An explanation as a bundle may hold one: every name in it is evil."""
    made = factories.explanation(SHORT, name=f"{SHORT}.png")
    about = dataclasses.replace(
        made.provenance,
        model=SHORT,
        crossviz_version=SHORT,
        device=SHORT,
        libraries={SHORT: SHORT},
        notes=(SHORT, EVIL),
        method_title=SHORT,
    )
    return dataclasses.replace(made, provenance=about)


def test_what_is_typed_and_sent_is_text_and_so_is_what_is_saved(app, visit):
    watched = visit(app, permissions=["clipboard-read", "clipboard-write"])
    page = watched.page
    take_away(page)
    name = "<img src=x onerror=window.__pwned=9>.png"
    page.set_input_files(
        "#cv-photo input[type=file]", files=[{"name": name, "mimeType": "image/png", "buffer": evil_photo()}]
    )
    page.wait_for_selector("#cv-photo img", state="attached")
    ask(page, EVIL)
    moved_over(watched)
    harmless(watched)
    assert "<img src=x onerror=" in page.text_content(".cv-words")
    for suffix in (".html", ".svg", ".pdf", ".csv"):
        title, path = save(page, suffix)
        assert re.fullmatch(r"crossviz-[\w-]{1,60}\.\w+", title)
        checked(suffix, path.read_bytes(), visit)
    page.get_by_role("button", name="Copy link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{app}/#") and "<" not in link
    harmless(watched)
    assert page.context.cookies() == []


def checked(suffix: str, data: bytes, visit) -> None:
    """A saved file is what it says, and nothing in it runs."""
    if suffix in (".html", ".svg"):
        watched = visit()
        watched.page.route("http://saved.example/*", lambda route: route.fulfill(body=data, content_type=kinds[suffix]))
        watched.page.goto("http://saved.example/file")
        if suffix == ".html":
            ready(watched.page)
            moved_over(watched)
            assert "<img src=x onerror=" in watched.page.text_content(".cv-words")
        assert watched.page.evaluate("window.__pwned") is None
        assert watched.dialogs == [] and watched.hosts == {"saved.example"}
        if suffix == ".svg":
            for element in ElementTree.fromstring(data).iter():
                assert element.tag.rpartition("}")[2] not in ("script", "foreignObject", "iframe", "a", "handler")
                assert not any(key.rpartition("}")[2].startswith("on") for key in element.attrib)
    elif suffix == ".pdf":
        assert not re.search(rb"/(JavaScript|JS|OpenAction|Launch|URI|AA)\b", data)
    else:
        lines = [line for line in data.decode().splitlines() if not line.startswith("#")]
        assert not [cell for row in csv.reader(lines) for cell in row if re.match(r"[=@+]|-\D", cell)]


kinds = {".html": "text/html", ".svg": "image/svg+xml"}


def test_names_in_an_opened_file_are_text(app, visit):
    watched = visit(app)
    choose(watched.page, f"{SHORT.replace('/', '')}.npz", evil_answer().to_bytes(".npz"))
    shows(watched.page, SHORT)
    moved_over(watched)
    watched.page.locator("details summary").first.click()
    harmless(watched)
    saved = visit()
    saved.page.set_content(evil_answer().to_bytes(".html").decode())
    ready(saved.page)
    moved_over(saved)
    harmless(saved)
    ElementTree.fromstring(evil_answer().to_bytes(".svg"))


def test_a_shared_link_is_text(app, visit):
    watched = visit()
    watched.page.goto(f"{app}/?{quote(EVIL)}")
    arrived(watched.page)
    for field in ("caption", "model", "method", "example", "view"):
        asked = {"caption": "a dog", "example": examples()[0].name, field: SHORT}
        with watched.page.expect_response("**/queue/data*") if field != "view" else nullcontext():
            watched.page.evaluate("hash => { location.hash = hash; }", urlencode(asked))
        watched.page.wait_for_timeout(200)
        harmless(watched)


# Files that a browser would show as a page


PAGE = b"<!doctype html><script>window.__pwned = 1; document.title = 'pwned'</script><h1>Our own page</h1>"
DRAWING = b"<svg xmlns='http://www.w3.org/2000/svg'><script>document.title = 'pwned'</script></svg>"


@pytest.mark.parametrize(
    "name", ["a.html", "a.htm", "a.xhtml", "a.svg", "a.xml", "a.js", "a.pdf", "a.txt", "a.json", "a"]
)
def test_an_uploaded_page_is_never_shown(app, visit, name):
    watched = visit()
    page = watched.page
    page.goto(f"{app}/robots.txt")  # so that the file would be of our own origin
    address = f"{app}/gradio_api/file={upload(app, DRAWING if 'svg' in name or 'xml' in name else PAGE, name)}"
    with page.expect_download() as saved, pytest.raises(Error, match="Download"):
        page.goto(address)
    assert saved.value.suggested_filename == name
    # Neither in a frame, nor as a script.
    page.evaluate(
        """(src) => new Promise((done) => {
          const script = document.createElement("script");
          script.onerror = script.onload = () => done();
          script.src = src;
          document.documentElement.append(script);
        })""",
        address,
    )
    assert page.evaluate("[window.__pwned, document.title]") == [None, ""]


def test_a_picture_with_a_page_in_it_is_a_picture(app, visit):
    watched = visit()
    address = f"{app}/gradio_api/file={upload(app, PAGE + factories_png(), 'a.png')}"
    watched.page.goto(address)
    assert watched.page.evaluate("[window.__pwned, document.contentType]") == [None, "image/png"]


def factories_png() -> bytes:
    file = io.BytesIO()
    factories.photo().image().save(file, "PNG")
    return file.getvalue()


# Headers

DUE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def test_every_answer_has_every_header_once_and_no_cookie(app, monkeypatch):
    import gradio.routes

    async def broken(*args):
        raise RuntimeError("for the test")

    monkeypatch.setattr(gradio.routes, "cancel_tasks", broken)
    text, json_ = upload(app, b"text", "a.txt"), {"content-type": "application/json"}
    call = request(app, "POST", "/gradio_api/call/models", b'{"data": []}', json_).body
    event = json.loads(call)["event_id"]
    cancel = b'{"session_hash": "a", "fn_index": 1, "event_id": "b"}'
    for status, method, path, *more in [
        (200, "GET", "/"),
        (200, "HEAD", "/"),
        (200, "GET", "/config"),
        (200, "GET", "/theme.css"),
        (200, "GET", "/favicon.ico"),
        (200, "GET", f"/gradio_api/file={text}"),
        (200, "HEAD", f"/gradio_api/file={text}"),
        (200, "GET", f"/gradio_api/call/models/{event}"),
        (400, "POST", "/gradio_api/upload", b"", {}),
        (403, "GET", "/gradio_api/file=/etc/passwd"),
        (403, "POST", "/gradio_api/reset", b"{}", {"sec-fetch-site": "cross-site"}),
        (404, "GET", "/none"),
        (404, "GET", "/assets/none.js"),
        (404, "GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        (405, "PUT", "/"),
        (413, "POST", "/gradio_api/reset", b"", {"content-length": str(MAX_JSON_BYTES + 1)}),
        (414, "GET", f"/config?{'a' * 9000}"),
        (415, "POST", "/gradio_api/reset", b"{}", {"content-encoding": "gzip"}),
        (421, "GET", "/", None, {"host": "evil.example"}),
        (422, "POST", "/gradio_api/reset", b"{}", json_),
        (431, "GET", "/", None, {"x-a": "a" * 40_000}),
        (500, "POST", "/gradio_api/cancel", cancel, json_),
    ]:
        reply = request(app, method, path, *more)
        assert reply.status == status, (path, reply.status)
        names = [name for name, _ in reply.all_headers]
        for name, value in DUE.items():
            assert (names.count(name), reply.headers[name]) == (1, value), path
        assert names.count("content-security-policy") == names.count("permissions-policy") == 1, path
        assert "camera=(self)" in reply.headers["permissions-policy"]
        assert "frame-ancestors" in reply.headers["content-security-policy"]
        assert path.startswith("/assets/") or reply.headers["cache-control"] == "no-store", path
        assert "set-cookie" not in names and "location" not in names, path
        assert b"Traceback" not in reply.body and b"for the test" not in reply.body
    assert "sandbox" in request(app, "GET", f"/gradio_api/file={text}").headers["content-security-policy"]
    assert "x-accel-buffering" in request(app, "GET", "/gradio_api/heartbeat/none-such", timeout=0.5).headers


@pytest.mark.parametrize(
    "name", ["a\r\nset-cookie: x=1.txt", "a%0d%0aset-cookie: x=1.txt", 'a";b="\n.txt', "ä\u2028.txt"]
)
def test_no_name_makes_a_header(app, name):
    path = upload(app, b"text of " + name.encode(), name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22"))
    reply = request(app, "GET", f"/gradio_api/file={quote(path)}")
    assert reply.status == 200 and "set-cookie" not in reply.headers
    assert re.fullmatch(r"attachment; filename(=\"[^\"\r\n]*\"|\*=[\w'%.!~-]+)", reply.headers["content-disposition"])


def test_another_sites_page_can_neither_show_nor_ask_nor_read_ours(app, visit):
    page_of_theirs = f"""<!doctype html><title>theirs</title><iframe src="{app}/"></iframe><script>
      const body = new FormData();
      body.append("files", new File(["x"], "theirs.txt"));
      window.told = Promise.allSettled([
        fetch("{app}/config").then((answer) => answer.text()),
        fetch("{app}/config", {{ credentials: "include" }}).then((answer) => answer.text()),
        fetch("{app}/gradio_api/upload", {{ method: "POST", body }}).then((answer) => answer.text()),
        fetch("{app}/gradio_api/upload", {{ method: "POST", body, mode: "no-cors" }}).then((answer) => answer.type),
        new Promise((done, failed) => {{
          const image = new Image();
          image.onload = () => done("loaded");
          image.onerror = () => failed("not loaded");
          image.src = "{app}/favicon.ico";
        }}),
      ]).then((all) => all.map((one) => one.status === "fulfilled" ? one.value : "refused"));
    </script>""".encode()

    class Theirs(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page_of_theirs)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Theirs)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = visit().page
        page.goto(f"http://localhost:{server.server_port}/")
        told = page.evaluate("window.told")
        assert told[:3] == ["refused"] * 3 and told[3] in ("refused", "opaque") and told[4] == "refused"
        page.wait_for_function("frames.length === 1")
        page.wait_for_timeout(500)
        assert page.frames[1].url == "chrome-error://chromewebdata/"
    finally:
        server.shutdown()
        server.server_close()
