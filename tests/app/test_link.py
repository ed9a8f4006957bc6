"""A link that asks again and shows the same view; what hostile ones do; and the clipboard."""

import io
import json
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from scenes import meadow
from test_page import errors, picture, upload
from watched import Watched, ready

from crossviz.web.examples import examples

SETTINGS = "document.querySelector('#cv-viewer .cv-host').crossvizSettings()"
CLIPBOARD = "navigator.clipboard.readText()"
TITLE = "Image to text"
NO_PHOTO = "The link carries no photo: add it and press Explain."
PICTURE = """async () => {
  const [item] = await navigator.clipboard.read();
  const blob = await item.getType("image/png");
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return [...bytes];
}"""
COMPOSED = """async () => {
  const blob = await new Promise((done) => CrossvizViewer.compose(crossvizView.view()).toBlob(done, "image/png"));
  return [...new Uint8Array(await blob.arrayBuffer())];
}"""
ALLOWED = {"permissions": ["clipboard-read", "clipboard-write"]}


def opened(visit, link: str) -> Watched:
    """A new visitor's page that opens with a link; it may end up without a photo."""
    watched = visit()
    watched.page.goto(link)
    for part in ("#cv-caption textarea", "#cv-model input", ".cv-examples img", "#cv-compare > button"):
        watched.page.wait_for_selector(part, state="attached")
    ready(watched.page)
    return watched


def shows(page: Page, caption: str) -> None:
    """Until the viewer shows the answer to a caption."""
    page.wait_for_function(
        """(caption) => {
          const words = document.querySelector(".cv-viewer[data-ready]:not([data-busy]) .cv-words");
          return words && words.textContent === caption;
        }""",
        arg=caption,
    )


def said(page: Page, text: str) -> None:
    expect(page.locator("#cv-general-error-text")).to_have_text(text)


def test_a_copied_link_shows_the_same_view_again(app, lasting, visit):
    page = lasting.page
    page.context.grant_permissions(ALLOWED["permissions"])
    page.locator(".cv-examples button").nth(1).click()
    caption = examples()[1].caption
    shows(page, caption)
    page.locator(".cv-chip").nth(1).click()
    page.locator(".cv-chip").nth(2).click()
    page.locator(".cv-head").nth(2).click()
    page.mouse.move(0, 0)
    page.locator(".cv-segment", has_text="Patches").click()
    wanted = page.evaluate(SETTINGS)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".cv-taken")).to_have_text(
        "The link is copied. It holds the caption, the view and the example's name."
    )
    link = page.evaluate(CLIPBOARD)
    parts = parse_qs(urlsplit(link).fragment)
    assert link.startswith(f"{app}/#") and urlsplit(link).query == ""
    assert parts["caption"] == [caption] and parts["example"] == [examples()[1].name]
    assert json.loads(parts["view"][0]) == wanted
    watched = visit(link)
    shows(watched.page, caption)
    assert watched.page.evaluate(SETTINGS) == wanted
    assert watched.page.input_value("#cv-caption textarea") == caption
    assert errors(watched.page) == {}
    watched.assert_quiet()


def test_a_link_without_a_known_photo_asks_for_it_and_keeps_the_view_for_the_answer(app, visit):
    view = {"held": [[2, 5]], "smooth": False, "cmap": "cividis"}
    link = f"{app}/#{urlencode({'caption': 'a red ball', 'model': 'crossviz-mini', 'view': json.dumps(view)})}"
    page = opened(visit, link).page
    said(page, NO_PHOTO)
    expect(page.locator("#cv-caption textarea")).to_have_value("a red ball")
    expect(page.locator("#cv-photo img")).to_have_count(0)
    upload(page, "ball.png", picture("PNG"))
    page.click("#cv-explain")
    shows(page, "a red ball")
    seen = page.evaluate(SETTINGS)
    assert {key: seen[key] for key in view} == view
    assert errors(page) == {}
    page.fill("#cv-caption textarea", "a blue ball")
    page.click("#cv-explain")
    shows(page, "a blue ball")
    assert page.evaluate(SETTINGS)["held"] == []


def test_a_link_names_model_and_method(app, visit):
    link = {"caption": "a cat asleep", "model": "vilt-mini", "method": "image_to_text", "example": "cat"}
    page = visit(f"{app}/#{urlencode(link)}").page
    shows(page, "a cat asleep")
    assert "vilt-mini" in page.inner_text(".cv-notes") and TITLE in page.inner_text(".cv-notes")
    expect(page.locator("#cv-method input")).to_have_value(TITLE)


def test_the_methods_of_a_model_that_is_there_stay_to_be_chosen(app, visit):
    link = {"caption": "a cat asleep", "model": "crossviz-mini", "method": "occlusion", "example": "cat"}
    page = visit(f"{app}/#{urlencode(link)}").page
    shows(page, "a cat asleep")
    expect(page.locator("#cv-method input")).to_have_value("Occlusion")
    page.locator("#cv-method input").click()
    assert page.locator("#cv-method li").count() > 2


def test_a_link_in_the_same_tab_is_followed_too(lasting):
    page = lasting.page
    page.evaluate("link => { location.hash = link; }", urlencode({"caption": "a cup", "example": "coffee"}))
    shows(page, "a cup")


HOSTILE = [
    (urlencode({"caption": "<img src=x onerror=alert(1)>${alert(1)}"}), NO_PHOTO),
    (urlencode({"caption": "javascript:alert(1)", "example": "../../etc/passwd"}), NO_PHOTO),
    (
        urlencode({"caption": "a dog", "view": '{"opacity": NaN, "held": [[1e999, null]], "__proto__": 1}'}),
        NO_PHOTO,
    ),
    (urlencode({"caption": "a dog", "view": "[" * 4000}), NO_PHOTO),
    ("caption=%ED%A0%80%FF&view=%", NO_PHOTO),
    (urlencode({"caption": "x" * 10_000}), NO_PHOTO),
    (urlencode({"caption": "x" * 17_000}), "This link is too long to be one of crossviz's: copy it again."),
    (urlencode({"caption": " ", "view": "{}"}), "This link holds no caption: copy it again."),
    (
        urlencode({"caption": "a dog", "model": "/etc", "example": "cat"}),
        "The link names the model '/etc', which is not loaded here: press Explain to ask for it.",
    ),
    (
        urlencode({"caption": "a dog", "model": "open_clip:<b>", "example": "cat"}),
        "The link names the model 'open_clip:<b>', which is not loaded here: press Explain to ask for it.",
    ),
]


@pytest.mark.parametrize(
    ("fragment", "sentence"),
    HOSTILE,
    ids=["markup", "javascript", "NaN", "deep", "bytes", "10 kB", "17 kB", "blank", "folder", "model"],
)
def test_a_hostile_link_says_a_sentence_and_no_more(lasting, fragment, sentence):
    """Followed in a page that is open, by what follows it in one that opens."""
    lasting.page.evaluate("link => { location.hash = link; }", fragment)
    said(lasting.page, sentence)
    assert lasting.page.locator(".cv-words").count() == 1
    lasting.assert_quiet()


def test_a_page_that_opens_with_a_hostile_link_says_a_sentence_and_no_more(app, visit):
    watched = opened(visit, f"{app}/#{HOSTILE[0][0]}")
    said(watched.page, NO_PHOTO)
    assert watched.page.locator(".cv-words").count() == 1
    watched.assert_quiet()


def test_a_method_that_there_is_not_is_said_under_its_field(lasting):
    page = lasting.page
    link = urlencode({"caption": "a cat", "method": "magic", "example": "cat"})
    page.evaluate("link => { location.hash = link; }", link)
    page.wait_for_function("document.querySelector('#cv-method-error-text').textContent !== ''")
    assert "magic" in errors(page)["method"]


def test_other_fragments_are_none_of_ours(app, visit):
    watched = visit(f"{app}/#top")
    assert errors(watched.page) == {}
    assert watched.page.input_value("#cv-caption textarea") == examples()[0].caption


# The clipboard


@pytest.fixture
def local(visit, tmp_path):
    """The viewer in a page of its own, at an address that may use the clipboard."""
    import http.server
    import threading

    from crossviz.render.html import standalone_page
    from crossviz.render.payload import viewer_payload

    data = standalone_page(viewer_payload(meadow()))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_the_copied_picture_is_that_of_the_download(visit, local):
    watched = visit(**ALLOWED)
    page = watched.page
    page.goto(local)
    ready(page)
    page.locator(".cv-chip", has_text="frisbee").click()
    page.get_by_role("button", name="Copy picture").click()
    expect(page.locator(".cv-taken")).to_have_text("The picture is copied.")
    copied, composed = (
        np.asarray(Image.open(io.BytesIO(bytes(page.evaluate(script)))).convert("RGB"))
        for script in (PICTURE, COMPOSED)
    )
    np.testing.assert_array_equal(copied, composed)


def test_without_a_clipboard_a_sentence_says_what_to_do(show):
    page = show(meadow()).page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy picture").click()
    expect(page.locator(".cv-taken")).to_have_text(
        "This browser lets no page copy a picture here: save it as PNG instead."
    )
    assert page.get_by_role("button", name="Copy link").count() == 0  # a saved page has no address to link to


def test_a_link_that_can_not_be_copied_stands_there_to_be_copied(lasting):
    page = lasting.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".cv-taken")).to_have_text("This browser lets no page copy here: copy the link yourself.")
    field = page.get_by_label("Link", exact=True)
    expect(field).to_be_focused()
    assert quote(examples()[0].caption.split()[0]) in field.input_value()
    assert page.evaluate("document.activeElement.selectionEnd") == len(field.input_value())
    page.evaluate("() => { delete navigator.clipboard; }")  # the browser's own again
