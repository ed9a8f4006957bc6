"""A page of the app that outlasts a test: put in order for the next, or opened anew where that can't be done."""

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Error
from watched import Watched, ready

from crossviz.web.examples import examples

__all__ = ["Lasting"]

_STATE = """() => JSON.stringify({
  shown: document.querySelector("#cv-viewer .cv-viewer")?.getAttribute("data-ready"),
  view: document.querySelector("#cv-viewer .cv-host").crossvizSettings(),
  fields: [...document.querySelectorAll("#cv-caption textarea, #cv-model input, #cv-method input")].map((e) => e.value),
  photos: document.querySelectorAll("#cv-photo img").length,
  errors: [...document.querySelectorAll("[id$=-error-text]")].map((e) => e.textContent).join(""),
  held_up: document.querySelectorAll(".cv-viewer:is([data-busy], [data-stale])").length,
})"""
_SETTLED = f"wanted => ({_STATE})() === wanted"
_PATIENCE = 15_000
"""Milliseconds; a page that is not in order by then is left."""
_UNSAID = """() => {
  for (const told of document.querySelectorAll("[id$=-error-text]")) {
    told.dispatchEvent(new CustomEvent("cv-said", { detail: "" }));
  }
}"""
"""What the page said by itself, which no answer takes back; what the server said is taken back by its answer."""


class Lasting:
    """A page that is handed out again and again.

    Args:
        visit: opens a new one.
    """

    def __init__(self, visit: Callable[[], Watched]) -> None:
        self._visit = visit
        self._watched: Watched | None = None
        self._opened = ""
        self._failed = 0

    def handed_out(self, request: pytest.FixtureRequest) -> Watched:
        """The page as it opens. It is a new one after a test that failed, and for a test that is tried once more."""
        again = getattr(request.node, "execution_count", 1) > 1
        failed, self._failed = self._failed, request.session.testsfailed
        if self._watched is None or again or failed != self._failed or not self._in_order():
            if self._watched is not None:
                self._watched.page.context.close()
            self._watched = self._visit()
            self._opened = self._watched.page.evaluate(_STATE)
        self._watched.page.bring_to_front()
        return self._watched

    def _in_order(self) -> bool:
        """Forget what the last test was told, and put back what it left; whether that could be done."""
        page = self._watched.page
        for kept in (self._watched.errors, self._watched.dialogs, self._watched.hosts):
            kept.clear()
        page.mouse.move(0, 0)
        page.context.clear_permissions()
        if page.evaluate(_STATE) == self._opened:
            return True
        first, view = examples()[0], json.loads(self._opened)["view"]
        asked = {"caption": first.caption, "example": first.name, "model": "crossviz-mini", "view": json.dumps(view)}
        try:
            page.evaluate(_UNSAID)
            page.evaluate("hash => { location.hash = hash; }", urlencode(asked))
            page.wait_for_function(_SETTLED, arg=self._opened, timeout=_PATIENCE)
            page.evaluate("history.replaceState(null, '', location.pathname)")
            ready(page)
        except Error:
            return False
        return True
