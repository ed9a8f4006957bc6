"""A page whose console, dialogs and requests are kept, so that a test can say that nothing went wrong unseen."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import axe_core_python
from playwright.sync_api import Locator, Page

__all__ = ["AXE", "PATIENCE", "Watched", "arrived", "drawn", "free_port", "painted", "pointed", "ready", "until"]

PATIENCE = 40_000
"""Milliseconds that a test waits for anything, at most: what takes seconds on two idle cores takes far longer on busy
ones."""

AXE = (
    (Path(axe_core_python.__file__).parent / "axe.min.js").read_text("utf-8")
    + """
;(() => {
  const { run } = axe;
  axe.run = async (context, options = {}) => {
    const { violations } = await run(context, { ...options, resultTypes: ["violations"] });
    return { violations };
  };
})();"""
)
"""axe-core: defines `axe` in a page. `axe.run` runs every rule, and tells of violations only: to describe each part
that passes takes three times as long as to find those that don't."""

_PARTS = (
    ".cv-theme",
    "#cv-photo img",
    "#cv-caption textarea",
    "#cv-explain",
    "#cv-model input",
    ".cv-examples img",
    "#cv-compare > button",
)
_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
_DRAWN = """async () => {
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => undefined)));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


class Watched:
    """A page and what it let slip."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._request(request.url))

    def _dialog(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about", "file"):
            self.hosts.add(parts.hostname or parts.scheme)

    def assert_quiet(self) -> None:
        """No error, no dialog, and no request to anywhere but this computer."""
        assert self.errors == []
        assert self.dialogs == []
        assert self.hosts <= {"127.0.0.1"}


def ready(page: Page) -> None:
    """Until the viewer has drawn, also what it draws in the next frame, and the browser has painted."""
    page.wait_for_selector(".cv-viewer[data-ready]")
    page.wait_for_selector(".cv-heads[aria-busy]", state="detached")
    page.evaluate(_DRAWN)


def drawn(page: Page) -> None:
    """Until a generated picture is looked into, and the browser has painted."""
    page.wait_for_selector(".cv-generations[data-ready]")
    page.evaluate(_DRAWN)


def arrived(page: Page) -> None:
    """Until every part of the app's page is there: Gradio fetches the code of each by itself, in any order."""
    for part in _PARTS:
        page.wait_for_selector(part, state="attached")
    ready(page)


def until(page: Page, true: Callable[[], bool]) -> None:
    """Until something is true of the server, which runs in this process; the page goes on meanwhile."""
    end = time.monotonic() + PATIENCE / 1000
    while not true():
        assert time.monotonic() < end, "It never came true."
        page.wait_for_timeout(50)


def painted(page: Page) -> None:
    """Until what was to be drawn in the next frame is drawn, and the grid of heads, which follows in pieces."""
    page.wait_for_selector("[data-owed]", state="detached")
    page.evaluate(_FRAMES)
    page.wait_for_selector(".cv-heads[aria-busy]", state="detached")
    page.evaluate(_FRAMES)


def pointed(locator: Locator) -> None:
    """Points at something, and waits until all is told of it: the map comes first, its words and figures after."""
    locator.hover()
    locator.page.wait_for_selector("[data-owed]", state="detached")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
