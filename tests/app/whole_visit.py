"""One visitor who uses all that leaves the page: photo, answer, checks, saved file, link, example."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from playwright.sync_api import expect
from test_link import shows
from test_page import picture, save, take_away
from watched import Watched, arrived, ready

__all__ = ["CAPTION", "explained", "whole_visit"]

CAPTION = "a red ball on the grass"


def explained(watched: Watched, caption: str) -> None:
    """A photo of the visitor's own, and the answer to a caption."""
    page = watched.page
    take_away(page)
    page.set_input_files(
        "#cv-photo input[type=file]",
        files=[{"name": "own photo.png", "mimeType": "image/png", "buffer": picture("PNG")}],
    )
    page.wait_for_function("document.querySelector('#cv-photo img')?.naturalWidth === 300")
    page.fill("#cv-caption textarea", caption)
    page.click("#cv-explain")
    shows(page, caption)


def whole_visit(visit: Callable[..., Watched], address: str) -> None:
    """Visit the app at an address without a slash at its end; nothing may go wrong, and no other address be asked."""
    watched = visit(permissions=["clipboard-read", "clipboard-write"])
    page, asked, bad = watched.page, [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda answer: answer.status >= 400 and bad.append((answer.status, answer.url)))
    page.goto(f"{address}/")
    arrived(page)
    explained(watched, CAPTION)
    page.locator(".cv-chip").nth(2).hover()
    page.locator(".cv-chip").nth(2).click()
    expect(page.locator(".cv-trust")).to_contain_text(re.compile("chance|beyond|Check"))
    title, path = save(page, ".html")
    assert title.endswith(".html") and CAPTION.encode() in path.read_bytes()
    page.get_by_role("button", name="Copy link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{address}/#")
    page.locator(".cv-examples button").nth(1).click()
    page.wait_for_function("!document.querySelector('.cv-words').textContent.includes('ball')")
    ready(page)
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#cv-caption textarea")).to_have_value(CAPTION)
    assert page.context.cookies() == []
    parts = urlsplit(address)
    own = (f"{address}/", "data:", f"blob:{parts.scheme}://{parts.netloc}/", "about:blank")
    assert [url for url in asked if not url.startswith(own)] == []
    assert bad == [] and watched.errors == [] and watched.dialogs == []
