"""What tests of the tab Generate do on its page."""

from pathlib import Path

from planted_generator import CAPTION
from playwright.sync_api import Locator, Page, expect
from watched import drawn

__all__ = ["chip", "draw", "enter", "saved"]


def chip(page: Page, text: str, nth: int = 0) -> Locator:
    """A word of the picture that is looked into."""
    return page.locator(".cv-generations .cv-chip", has_text=text).nth(nth)


def enter(visit, app, **options):
    """A new visitor, in the tab."""
    watched = visit(app.url, **options)
    watched.page.locator(".cv-halves button", has_text="Generate").click()
    expect(watched.page.locator(".cv-captions button").first).to_be_visible()
    return watched


def draw(page: Page, caption: str = CAPTION) -> None:
    """Draw a caption, and wait for the picture."""
    page.fill("#cv-draw-caption textarea", caption)
    page.click("#cv-draw")
    drawn(page)


def saved(page: Page, label: str) -> tuple[str, bytes]:
    """The name and the content of what is saved in that format."""
    page.locator(".cv-generations").get_by_label("Save", exact=True).select_option(label=label)
    with page.expect_download() as download:
        page.locator(".cv-generations").get_by_role("button", name="Save", exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()
