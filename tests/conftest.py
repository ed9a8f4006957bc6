"""Settings for every test, and the one Chromium that all browser tests share."""

import os
from collections.abc import Iterator

import browser as chromium
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

# Processes side by side share the cores: torch, first imported after this, would take all of them in each.
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _processes > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _processes)))

# What these modules assert is told as what a test asserts is.
pytest.register_assert_rewrite("watched", "screens")

# Needs packages that the set-up for the tests does not install: `make test-reference` names the folder itself.
collect_ignore = ["reference"]

# No deadline: a shared machine's first call can take a second. In CI the same examples every time.
settings.register_profile("local", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A running Chromium; one for all, since Playwright's event loop stays in the thread that started it."""
    with sync_playwright() as playwright:
        running = chromium.launch(playwright)
        yield running
        running.close()
