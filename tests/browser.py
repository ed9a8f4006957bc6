"""Finds and starts the Chromium that the browser tests drive; as a program, checks that there is one.

In this order: the environment variable CHROMIUM, Chromium's headless shell or a Chromium or Chrome of this machine,
Playwright's own download. The shell is the same engine without the window around a page, and costs half of the time.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

__all__ = ["chromium_path", "launch"]

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = (
    "--disable-gpu",
    "--in-process-gpu",  # a tenth of the time that a page takes: without a GPU its process only passes pictures on
    "--font-render-hinting=slight",  # letters of the headless shell's otherwise have other widths than Chromium's
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium_path() -> str | None:
    """The browser's executable, or None for the one that Playwright downloads."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [*filter(None, map(shutil.which, NAMES)), *MAC_APPS]
    return next((path for path in found if Path(path).is_file()), None)


def launch(playwright: Playwright, **options) -> Browser:
    """A headless Chromium; `options` go to Playwright's `launch`.

    Raises:
        playwright.sync_api.Error: there is none (scripts/browser sees to one), or it does not start.
    """
    # Chromium's sandbox refuses to start for root, which is what containers and CI machines run as.
    sandbox = () if hasattr(os, "geteuid") and os.geteuid() else ("--no-sandbox",)
    return playwright.chromium.launch(executable_path=chromium_path(), args=[*FLAGS, *sandbox], **options)


def main() -> int:
    """Open a page with some text; exit 1 with the reason if that does not work."""
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page()
            page.set_content("<p>ready</p>")
            text = page.inner_text("p")
            browser.close()
    except Exception as error:
        print(str(error).strip().splitlines()[0], file=sys.stderr)
        return 1
    return 0 if text == "ready" else 1


if __name__ == "__main__":
    sys.exit(main())
