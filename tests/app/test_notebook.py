"""An explanation as a notebook's output: the viewer works in its frame, offline, and what a user wrote does nothing."""

import base64
import html.parser
import io

import factories
from PIL import Image
from playwright.sync_api import expect

from crossviz.render import notebook

EVIL = """dog'</iframe><script>alert(1)</script>"<img src=x onerror=alert(2)> &quot; &#39; zebra"""


def show(visit, explanation):
    """The output inside a page that allows everything, as a notebook's does."""
    watched = visit()
    watched.page.set_content(f"<!doctype html><h1>notebook</h1>{explanation._repr_mimebundle_()['text/html']}")
    frame = watched.page.frame_locator(".crossviz-output iframe")
    frame.locator(".cv-viewer[data-ready]").wait_for()
    return watched, frame


def test_the_viewer_works_in_the_frame(visit):
    watched, frame = show(visit, factories.explanation("a dog and a zebra"))
    chip = frame.locator(".cv-chip").nth(4)
    chip.hover()
    expect(frame.locator(".cv-title")).to_have_text("zebra")
    assert watched.page.locator(".crossviz-still").is_hidden()
    inside = watched.page.frames[1]
    assert inside.evaluate("self.origin") == "null"
    watched.assert_quiet()
    assert watched.hosts == set()


def test_what_a_user_wrote_stays_text(visit):
    watched, frame = show(visit, factories.explanation(EVIL))
    said = frame.locator(".cv-words").inner_text()
    assert "</iframe><script>alert(1)</script>" in said.replace("\n", "").replace(" ", "")
    assert watched.page.locator("script").count() == 0 and watched.page.locator("img").count() == 1
    assert watched.page.locator("h1").inner_text() == "notebook"
    watched.assert_quiet()


def test_the_picture_opens_and_there_is_text():
    bundle = factories.explanation()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        picture.load()
        assert picture.width == notebook.STILL_WIDTH
    assert "Explanation of" in bundle["text/plain"]
    assert bundle["image/png"] in bundle["text/html"] == factories.explanation()._repr_html_()


def test_without_frames_and_styles_the_picture_stays():
    """As GitHub shows it, which takes both out."""

    kept = []

    class Cleaner(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("style", "iframe"):
                kept.append((tag, dict(attrs)))

    Cleaner().feed(factories.explanation(EVIL)._repr_html_())
    assert [tag for tag, _ in kept] == ["div", "img"]
    picture = kept[1][1]
    assert picture["src"].startswith("data:image/png;base64,") and EVIL.split("<")[0] in picture["alt"]
    assert "style" not in picture and "hidden" not in picture


def test_what_would_be_too_large_leaves_out_layers_and_heads_and_says_so(visit, monkeypatch):
    monkeypatch.setattr(notebook, "MAX_PAGE_BYTES", 100)
    watched, frame = show(visit, factories.explanation())
    assert "save an .html" in frame.locator(".cv-viewer").inner_text()
    watched.assert_quiet()
