"""A real Chromium, the real app in this process, and pages that note every error and every request.

CROSSVIZ_RECORD=1     store the screens that are seen as the new baselines (`make screenshots`)
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from lasting import Lasting
from planted_generator import PlantedGenerator, Registry
from playwright.sync_api import Browser, expect
from screens import Album
from watched import PATIENCE, Watched, arrived, drawn, free_port, ready

from crossviz.explanation import Explanation
from crossviz.generation import Generation
from crossviz.render.generation_page import generation_page
from crossviz.render.generation_payload import generation_payload
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach a hub; read when huggingface_hub is imported
_cache = tempfile.TemporaryDirectory(prefix="crossviz-tests-")
tempfile.tempdir = _cache.name  # Gradio's Python client makes a folder for each call, and leaves it
os.environ["XDG_CACHE_HOME"] = _cache.name  # nothing is left in the user's home, and nothing is taken from it

expect.set_options(timeout=PATIENCE)

CONTEXT = {
    "reduced_motion": "reduce",
    "locale": "en-GB",
    "timezone_id": "UTC",
    "device_scale_factor": 1,
}


_SERVE = """() => {
  window.asked = [];
  const log = (name) => (what) => asked.push({ name, ...what });
  const { payload } = crossvizView.view();
  const home = document.getElementById("crossviz-viewer");
  crossvizView.destroy();
  const options = { onTrust: log("trust"), onTrustStop: log("stop"), onBox: log("box"),
    onInside: log("inside"), onSave() {}, formats: [] };
  window.crossvizView = CrossvizViewer.mount(home, payload, options);
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a page that fails is tried once more, and named in the summary: in long runs a page has waited in vain
    for an answer of the running app, for a reason that is not found yet. What is wrong fails twice."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "visit" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@contextmanager
def _visiting(browser: Browser) -> Iterator[Callable[..., Watched]]:
    contexts = []

    def open_page(url: str | None = None, *, width: int = 1280, height: int = 900, **options) -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, **{**CONTEXT, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watched = Watched(context.new_page())
        if url is not None:
            watched.page.goto(url)
            arrived(watched.page)
        return watched

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """`visit(url, **context options)`: a new visitor's page of the app, complete and watched."""
    with _visiting(browser) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def lasting_page(browser: Browser, app: str) -> Iterator[Lasting]:
    """For `lasting`."""
    with _visiting(browser) as open_page:
        yield Lasting(lambda: open_page(app))


@pytest.fixture
def lasting(lasting_page: Lasting, visit: Callable[..., Watched], request: pytest.FixtureRequest) -> Watched:
    """The page of the app that all tests of a file share which leave it as usable as it was: as it opens. To open one
    takes longer than to put it back. With `visit`: a test which fails is tried once more, on a page that is new."""
    return lasting_page.handed_out(request)


@pytest.fixture
def show(visit):
    """`show(explanation, **context options)`: its standalone page, as `save("x.html")` writes it."""

    def open_view(explanation: Explanation, **options) -> Watched:
        watched = visit(**options)
        watched.page.set_content(standalone_page(viewer_payload(explanation)).decode())
        ready(watched.page)
        return watched

    return open_view


@pytest.fixture
def side_by_side(visit):
    """`side_by_side(first, second, **context options)`: the page that compares them, open."""

    def open_page(first, second, **options):
        watched = visit(**options)
        twin = viewer_payload(second) | {"id": "f" * 32}  # equal answers would be one answer of the visit
        watched.page.set_content(standalone_page(viewer_payload(first), earlier=[twin]).decode())
        ready(watched.page)
        expect(watched.page.locator(".cv-comparing-sides")).to_be_visible()
        return watched

    return open_page


@pytest.fixture
def serve(visit):
    """`serve(explanation, **context options)`: the viewer as it is in the app, with a server that only notes in
    `window.asked` what it is asked, and a clock that stands."""

    def open_view(explanation: Explanation, **options) -> Watched:
        watched = visit(**options)
        page = watched.page
        page.clock.install(time=0)
        page.set_content(standalone_page(viewer_payload(explanation)).decode())
        ready(page)
        page.evaluate(_SERVE)
        ready(page)
        page.clock.pause_at(3_600_000)
        return watched

    return open_view


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """Lets go what a test holds up on the server: when the test says so, at the latest when it ends."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of the running app, started as `crossviz serve` starts it; for each file of tests its own, so that
    what visitors left unfinished in one holds up nothing in the next."""
    from crossviz.web.app import build
    from crossviz.web.page import launch

    page = build()
    yield launch(page, "127.0.0.1", free_port())
    page.close(verbose=False)


@dataclass(frozen=True)
class Drawing:
    """An app whose model draws planted rectangles."""

    url: str
    model: PlantedGenerator


@pytest.fixture(scope="session")
def drawing_app() -> Iterator[Drawing]:
    """The app with the planted generator in the place of those of crossviz."""
    from crossviz.web.app import build
    from crossviz.web.page import launch
    from crossviz.web.studio import Studio

    model = PlantedGenerator()
    page = build(studio=Studio(Registry(model)))
    yield Drawing(launch(page, "127.0.0.1", free_port()), model)
    page.close(verbose=False)


@pytest.fixture
def show_drawn(visit):
    """`show_drawn(*generations, **context options)`: their standalone page, as `save("x.html")` writes it."""

    def open_view(*generations: Generation, **options) -> Watched:
        watched = visit(**options)
        watched.page.set_content(generation_page([generation_payload(one) for one in generations]).decode())
        drawn(watched.page)
        return watched

    return open_view


@pytest.fixture(scope="session")
def album() -> Iterator[Album]:
    """Where screens are compared with their baselines; writes one report of them all at the end."""
    book = Album(Path(__file__).parent, record=bool(os.environ.get("CROSSVIZ_RECORD")))
    yield book
    book.write_report()
