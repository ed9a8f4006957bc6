"""The screens, compared with stored pictures (see screens.py). What they show does not depend on any weights.

After a change that is meant: look at tests/app/report/index.html, then record with `make screenshots`.
"""

import pytest
from planted_generator import CAPTION, planted
from reports import checked
from scenes import DOG, FRISBEE, SKY, composed, guessed, inside, meadow, moved_meadow, shares, uneven
from watched import drawn, free_port, painted, ready

from crossviz.web.app import build
from crossviz.web.page import launch

LONG = (
    "A black dog runs across a wide green meadow under a pale blue sky and jumps as high as it can to catch the red "
    "frisbee that somebody whom we do not see has thrown, while a zebra and two cats are nowhere in the picture at all."
)


def hold(page, *words):
    for word in words:
        page.locator(".cv-chip", has_text=word).first.click()
    page.mouse.move(0, 0)


@pytest.mark.parametrize(
    ("name", "explanation", "words", "point", "options"),
    [
        ("word-1000-light", meadow(), ["frisbee"], None, {"width": 1000, "color_scheme": "light"}),
        ("absent-1000-dark", meadow(), ["zebra"], None, {"width": 1000, "color_scheme": "dark"}),
        ("three-words-768-dark", meadow(), ["dog", "frisbee", "sky"], DOG, {"width": 768, "color_scheme": "dark"}),
        (
            "forty-words-portrait-390-light",
            meadow(LONG, {"dog": DOG, "frisbee": FRISBEE, "sky": SKY}, size_wh=(480, 720)),
            ["frisbee"],
            None,
            {"width": 390, "color_scheme": "light"},
        ),
        (
            "right-to-left-crop-untrained-1280-light",
            meadow("كلب يقفز ليمسك القرص", {"كلب": DOG, "القرص": FRISBEE}, crop=True, trained=False),
            ["كلب"],
            None,
            {"width": 1280, "color_scheme": "light"},
        ),
        ("panorama-cut-1280-dark", meadow(size_wh=(1200, 260), read=7), ["dog"], None, {"color_scheme": "dark"}),
        ("signed-heads-1280-light", shares(12, 12), ["dog"], None, {"color_scheme": "light"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_viewer(show, album, name, explanation, words, point, options):
    page = show(explanation, **options).page
    hold(page, *words)
    if point:
        box = page.locator(".cv-frame").bounding_box()
        page.mouse.move(box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"])
    ready(page)
    album.check(page, name)


@pytest.mark.parametrize(
    ("name", "explanation", "options"),
    [
        ("hidden-1280-light", guessed(), {"color_scheme": "light"}),
        ("hidden-390-dark", guessed(), {"width": 390, "color_scheme": "dark"}),
        ("steps-1280-dark", composed(), {"color_scheme": "dark"}),
        ("steps-390-light", composed(), {"width": 390, "color_scheme": "light"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_families_add(show, album, name, explanation, options):
    page = show(explanation, **options).page
    if explanation.parts:
        hold(page, "frisbee")
        page.click("summary")
        page.locator(".cv-query").nth(27).hover()
    ready(page)
    album.check(page, name)


def phrase(page):
    hold(page, "dog", "red")
    page.locator(".cv-chip", has_text="frisbee").click(modifiers=["Shift"])


def saw(page):
    hold(page, "frisbee")
    page.locator(".cv-segment", has_text="80").click()
    page.get_by_label("What the model saw").check()
    page.locator("text=Draw a box").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")


def heads(page):
    hold(page, "dog")
    page.get_by_label("Sort by").select_option("focused")
    painted(page)
    for index in (0, 2, 5):
        page.locator(".cv-head").nth(index).click()


@pytest.mark.parametrize(
    ("name", "explanation", "do", "options"),
    [
        ("phrase-1280-light", meadow(), phrase, {"color_scheme": "light"}),
        ("phrase-390-dark", meadow(), phrase, {"width": 390, "color_scheme": "dark"}),
        ("saw-box-1280-dark", meadow(crop=True), saw, {"color_scheme": "dark"}),
        ("saw-box-390-light", meadow(), saw, {"width": 390, "color_scheme": "light"}),
        ("heads-sorted-1280-light", uneven(), heads, {"color_scheme": "light"}),
        ("heads-sorted-390-dark", uneven(), heads, {"width": 390, "color_scheme": "dark"}),
        ("heads-sorted-768-light", shares(12, 12), heads, {"width": 768, "color_scheme": "light"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_exploring(show, album, name, explanation, do, options):
    page = show(explanation, **options).page
    do(page)
    # Where the page has been scrolled to decides how Chromium rounds a canvas's edges.
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    ready(page)
    album.check(page, name)


@pytest.mark.parametrize(
    ("name", "other", "options"),
    [
        ("compare-1280-light", meadow(), {"color_scheme": "light"}),
        ("compare-390-dark", meadow(), {"width": 390, "color_scheme": "dark"}),
        ("compare-crop-900-dark", meadow(crop=True), {"width": 900, "color_scheme": "dark"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_comparing(side_by_side, album, name, other, options):
    page = side_by_side(moved_meadow(), other, **options).page
    album.check(page, name)


BOX = (120.0, 240.0, 312.0, 408.0)


@pytest.mark.parametrize(
    ("name", "word", "check", "options"),
    [
        ("trust-chance-darkened-1000-dark", "frisbee", "Beyond chance", {"width": 1000, "color_scheme": "dark"}),
        ("trust-deletion-1280-light", "frisbee", "Taking it away", {"color_scheme": "light"}),
        ("trust-deletion-390-dark", "frisbee", "Taking it away", {"width": 390, "color_scheme": "dark"}),
        ("trust-randomisation-768-light", "dog", "Shuffled weights", {"width": 768, "color_scheme": "light"}),
        ("trust-agreement-390-light", "dog", "Other methods", {"width": 390, "color_scheme": "light"}),
        ("trust-heads-1280-dark", "frisbee", "Heads that matter", {"color_scheme": "dark"}),
        ("trust-box-1280-light", "dog", "Inside your box", {"color_scheme": "light"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trust(show, album, name, word, check, options):
    page = show(checked(checked(meadow(), "frisbee"), "dog", box=BOX), **options).page
    hold(page, word)
    page.get_by_role("tab", name=check).click()
    if check == "Beyond chance":
        page.get_by_label("Darken").check()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    ready(page)
    album.check(page, name)


@pytest.mark.parametrize("state", ["running-1280-light", "failed-390-dark", "marking-1280-dark"])
def test_trust_with_a_server(serve, album, state):
    name, width, scheme = state.split("-")
    page = serve(meadow(), width=int(width), color_scheme=scheme).page
    hold(page, "dog")
    page.clock.run_for(1000)
    run = page.evaluate("asked.find(({ name }) => name === 'trust').run")
    said = {
        "running": {"done": 0.4, "label": "deleting patches"},
        "failed": {"error": "This map has no match to lower."},
    }
    if name in said:
        page.evaluate("(message) => crossvizView.trust(message)", {"run": run, **said[name]})
    else:
        page.get_by_role("tab", name="Inside your box").click()
        page.locator("text=Mark the thing").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+ArrowRight")
    page.mouse.move(0, 0)
    page.clock.run_for(100)
    album.check(page, f"trust-{state}")


@pytest.mark.parametrize("state", ["sheet-1280-light", "sheet-390-dark", "failed-768-dark"])
def test_inside(serve, album, state):
    name, width, scheme = state.split("-")
    explanation = meadow()
    page = serve(explanation, width=int(width), height=1400, color_scheme=scheme).page
    hold(page, "frisbee")
    page.click(".cv-inside > summary")
    page.mouse.move(0, 0)
    page.clock.run_for(400)
    run = page.evaluate("asked.find(({ name }) => name === 'inside').run")
    cell = inside(explanation).as_dict()
    said = {"sheet": {"inside": cell}, "failed": {"error": "This model does not offer a cross-attention: it has none."}}
    page.evaluate("(message) => crossvizView.inside(message)", {"run": run, **said[name]})
    if name == "sheet":
        page.locator(".cv-line-name").nth(4).focus()
    page.evaluate("document.querySelector('.cv-inside').scrollIntoView()")  # what is above has screens of its own
    page.clock.run_for(100)
    album.check(page, f"inside-{state}", full_page=False)


def wrote(page):
    page.locator(".cv-chip", has_text="cube").click()
    page.mouse.move(0, 0)


def entries(page):
    page.click(".cv-tokens > summary")
    page.locator(".cv-code").nth(40).focus()
    page.keyboard.press("ArrowRight")


def halfway(page):
    wrote(page)
    page.get_by_label("Time").focus()
    for _ in range(18):
        page.keyboard.press("ArrowLeft")
    page.evaluate("document.activeElement.blur()")


@pytest.mark.parametrize(
    ("name", "generations", "do", "options"),
    [
        ("drawn-word-1280-light", [planted()], wrote, {"color_scheme": "light"}),
        ("drawn-entries-390-dark", [planted()], entries, {"width": 390, "color_scheme": "dark"}),
        (
            "drawn-seeds-halfway-768-light",
            [planted(), planted(seed=7)],
            halfway,
            {"width": 768, "color_scheme": "light"},
        ),
        ("drawn-untrained-1280-dark", [planted(trained=False)], wrote, {"color_scheme": "dark"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_generated_pictures(show_drawn, album, name, generations, do, options):
    page = show_drawn(*generations, **options).page
    do(page)
    page.evaluate("scrollTo(0, 0)")
    album.check(page, name)


def turned_to(page, width, scheme, wait=ready):
    """The page that is open, at another width and in another scheme: to open the app's once more takes far longer."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    dark = "(dark) => [document.documentElement, document.body].some((node) => node.matches('.dark')) === dark"
    page.wait_for_function(dark, arg=scheme == "dark")
    painted(page)
    wait(page)


def test_the_tab_generate(drawing_app, visit, album):
    page = visit(drawing_app.url, color_scheme="light").page
    page.locator(".cv-halves button", has_text="Generate").click()
    page.locator(".cv-captions button", has_text=CAPTION).click()
    drawn(page)
    page.wait_for_selector("#cv-draw-stop[disabled]")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    album.check(page, "generate-1280-light")
    turned_to(page, 390, "dark", drawn)
    album.check(page, "generate-390-dark")


@pytest.fixture(scope="module")
def meadow_app():
    """The app, opened with a drawn explanation instead of the first example."""
    page = build(opening=meadow())
    yield launch(page, "127.0.0.1", free_port())
    page.close(verbose=False)


@pytest.mark.parametrize(
    "looks",
    [[(390, "dark"), (390, "light")], [(768, "light")], [(1280, "light"), (1280, "dark"), (1600, "light")]],
    ids=["opened narrow and dark", "opened at 768", "opened wide and light"],
)
def test_page(meadow_app, visit, album, looks):
    """Each look is compared, also where one before it has changed. Gradio keeps a field as high as it was: what is
    narrower than it was opened has another height."""
    (width, scheme), *others = looks
    watched = visit(meadow_app, width=width, color_scheme=scheme)
    wrong = []
    for look in looks:
        if look in others:
            turned_to(watched.page, *look)
        try:
            album.check(watched.page, "page-{}-{}".format(*look))
        except AssertionError as error:
            wrong.append(str(error))
    assert wrong == []
    watched.assert_quiet()


def test_page_with_an_error(meadow_app, visit, album):
    page = visit(meadow_app, color_scheme="light").page
    page.fill("#cv-caption textarea", "")
    page.click("#cv-explain")
    page.wait_for_selector(".cv-stale:visible")
    page.wait_for_selector("#cv-caption-error-text:visible")
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    album.check(page, "page-error-1280-light")
