"""Finds and starts the Chromium that the browser tests drive; as a program, checks that there is one.

In this order: the environment variable CHROMIUM, a Chromium or Chrome of this machine, Playwright's own download.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

__all__ = ["chromium_path", "launch"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = (
    "--disable-gpu",
    "--in-process-gpu",  # a tenth of the time that a page takes: without a GPU its process only passes pictures on
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium_path(playwright: Playwright) -> str:
    """The browser's executable.

    Raises:
        FileNotFoundError: there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [*filter(None, map(shutil.which, NAMES)), *MAC_APPS]
    found.append(playwright.chromium.executable_path)
    for path in found:
        if Path(path).is_file():
            return path
    raise FileNotFoundError("No Chromium found: run scripts/browser, or name one in the variable CHROMIUM.")


def launch(playwright: Playwright, **options) -> Browser:
    """A headless Chromium; `options` go to Playwright's `launch`."""
    # Chromium's sandbox refuses to start for root, which is what containers and CI machines run as.
    sandbox = () if hasattr(os, "geteuid") and os.geteuid() else ("--no-sandbox",)
    return playwright.chromium.launch(executable_path=chromium_path(playwright), args=[*FLAGS, *sandbox], **options)


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
