"""WCAG AA contrast of every text, control border and focus ring, and axe, in the states that a reader meets."""

import numpy as np
import pytest
from contrast import failures, ratio
from planted_generator import CAPTION, planted
from reports import checked
from scenes import composed, guessed, inside, meadow, shares, uneven
from watched import AXE, drawn, painted, pointed, ready

TALL = 3600
"""A window that holds the whole page."""
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def word(page):
    pointed(chip(page, "frisbee"))


def held(page):
    for text in ("dog", "frisbee", "sky"):
        chip(page, text).click()
    page.mouse.move(0, 0)


def absent(page):
    chip(page, "there").click()


def patch(page):
    """A patch is pointed at: the words that don't look there are dimmed."""
    box = page.locator(".cv-frame").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.66 * box["height"])


def asked_box(page):
    page.locator("text=Draw a box").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")


def sorted_heads(page):
    chip(page, "dog").click()
    page.get_by_label("Sort by").select_option("focused")
    page.locator(".cv-head").nth(1).click()
    page.mouse.move(0, 0)


def queries(page):
    chip(page, "frisbee").click()
    page.click("summary")


def check(name):
    def open_it(page):
        chip(page, "dog").click()
        page.get_by_role("tab", name=name).click()
        page.mouse.move(0, 0)

    return open_it


def stale(page):
    page.evaluate("crossvizView.stale('The picture is of the answer before.')")


def trusted():
    return checked(meadow(), "dog", box=(120.0, 240.0, 312.0, 408.0))


STATES = {
    "word": (meadow, word),
    "held words": (meadow, held),
    "absent word": (lambda: meadow(read=13), absent),
    "patch": (meadow, patch),
    "box": (meadow, asked_box),
    "heads sorted": (uneven, sorted_heads),
    "signed shares": (lambda: shares(3, 4), lambda page: chip(page, "dog").click()),
    "two steps": (composed, queries),
    "hidden word": (guessed, lambda page: None),
    "untrained": (lambda: meadow(trained=False), word),
    "chance": (trusted, check("Beyond chance")),
    "deletion": (trusted, check("Taking it away")),
    "shuffled": (trusted, check("Shuffled weights")),
    "methods": (trusted, check("Other methods")),
    "matter": (trusted, check("Heads that matter")),
    "your box": (trusted, check("Inside your box")),
    "stale": (meadow, stale),
}


def violations(page):
    """What axe finds, once the page has it: each with the first elements."""
    found = page.evaluate("axe.run('.cv-viewer')")["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found]


_IS_DARK = "(dark) => [document.documentElement, document.body].some((node) => node.matches('.dark')) === dark"
_SETTLE = """async () => {
  for (let left = null; left === null || left.length; ) {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const ends = (one) => one.playState === "running" && one.effect.getComputedTiming().endTime < Infinity;
    left = document.getAnimations().filter(ends);
    left.forEach((one) => one.finish()); // a colour that comes to rest may set off that of what lies inside
  }
}"""


def in_both_schemes(page, wait=ready):
    """The schemes one after the other, in the same page: to open one takes as long as to measure it."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(_IS_DARK, arg=scheme == "dark")
        painted(page)
        page.evaluate(_SETTLE)
        wait(page)
        yield scheme


_AFRESH = """() => {
  const home = document.getElementById("crossviz-viewer");
  if (window.crossvizGeneration) {
    window.crossvizGeneration = CrossvizViewer.mountGenerations(home, crossvizGeneration.generations());
  } else {
    const { payload } = crossvizView.view();
    crossvizView.destroy();
    window.crossvizView = CrossvizViewer.mount(home, payload);
  }
}"""


def narrow_and_afresh(page, scheme, wait=ready):
    """What the page shows, as at first, on a narrow screen: another page would have to be opened and read again."""
    page.set_viewport_size({"width": 390, "height": 900})
    page.mouse.move(0, 0)
    page.emulate_media(color_scheme=scheme)
    page.evaluate(_AFRESH)
    page.evaluate("scrollTo(0, 0)")
    wait(page)


@pytest.mark.parametrize("state", STATES)
def test_contrast_of_the_viewer_and_axe_also_on_a_narrow_screen(show, state):
    """Narrow, each state is in one of the themes: what axe says of colours is measured before that in both."""
    make, do = STATES[state]
    page = show(make(), height=TALL, bypass_csp=True).page
    page.evaluate(AXE)
    do(page)
    inks = set()
    for scheme in in_both_schemes(page):
        found, counts = failures(page, ".cv-viewer")
        assert found == [], scheme
        assert counts["texts"] > 30 and counts["borders"] > 10 and counts["rings"] > 20, counts
        assert violations(page) == [], scheme
        inks.add(page.evaluate("getComputedStyle(document.querySelector('.cv-viewer')).color"))
    assert len(inks) == 2
    scheme = ("light", "dark")[[*STATES].index(state) % 2]
    narrow_and_afresh(page, scheme)
    do(page)
    painted(page)
    assert violations(page) == [], f"narrow, {scheme}"


@SCHEMES
def test_contrast_of_a_cell_and_of_a_failure(serve, scheme):
    explanation = meadow()
    page = serve(explanation, height=TALL, color_scheme=scheme, bypass_csp=True).page
    chip(page, "frisbee").click()
    page.click(".cv-inside > summary")
    page.clock.run_for(400)
    run = page.evaluate("asked.find(({ name }) => name === 'inside').run")
    for message in ({"inside": inside(explanation).as_dict()}, {"error": "This model does not offer it: it has none."}):
        page.evaluate("(message) => crossvizView.inside(message)", {"run": run, **message})
        page.clock.run_for(100)
        found, counts = failures(page, ".cv-inside")
        assert found == []
        assert counts["texts"] > 5


@SCHEMES
@pytest.mark.parametrize("error", [False, True], ids=["page", "error"])
def test_contrast_of_the_page(app, visit, scheme, error):
    """Each in a page of its own: what is measured once takes the focus to the words, which are then checked."""
    page = visit(app, color_scheme=scheme, height=TALL).page
    if error:
        page.fill("#cv-caption textarea", "")
        page.click("#cv-explain")
        page.wait_for_selector("#cv-caption-error-text:visible")
    page.mouse.move(0, 0)
    ready(page)
    found, counts = failures(page, "#cv-header, #cv-page")
    assert found == []
    assert counts["texts"] > 50 and counts["borders"] > 15


def entry(page):
    page.click(".cv-tokens > summary")
    page.locator(".cv-code").nth(30).hover()


def place(page):
    box = page.locator(".cv-frame").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])


DRAWN = {
    "picture": (1, True, lambda page: None),
    "word that wrote": (1, True, lambda page: chip(page, "cube").click()),
    "place": (1, True, place),
    "entry": (1, True, entry),
    "seeds": (2, True, lambda page: page.locator(".cv-segment", has_text="Words ask").click()),
    "untrained picture": (1, False, lambda page: chip(page, "cube").hover()),
}
"""Of generated pictures: how many there are, whether by trained weights, and what is done."""


def pictures(count, trained):
    return [planted(seed=seed, trained=trained) for seed in range(count)]


@pytest.mark.parametrize("state", DRAWN)
def test_contrast_of_generated_pictures_and_axe_also_on_a_narrow_screen(show_drawn, state):
    count, trained, do = DRAWN[state]
    page = show_drawn(*pictures(count, trained), height=TALL, bypass_csp=True).page
    page.evaluate(AXE)
    do(page)
    for scheme in in_both_schemes(page, drawn):
        found, counts = failures(page, ".cv-viewer")
        assert found == [], scheme
        assert counts["texts"] > 20 and counts["borders"] > 10 and counts["rings"] > 15, counts
        assert violations(page) == [], scheme
    scheme = ("light", "dark")[[*DRAWN].index(state) % 2]
    narrow_and_afresh(page, scheme, drawn)
    do(page)
    drawn(page)
    assert violations(page) == [], f"narrow, {scheme}"


def test_contrast_of_the_tab_generate_and_of_an_error_in_it(drawing_app, visit):
    page = visit(drawing_app.url, height=TALL, bypass_csp=True).page
    page.evaluate(AXE)
    page.locator(".cv-halves button", has_text="Generate").click()
    page.locator(".cv-captions button", has_text=CAPTION).click()
    drawn(page)

    def measure():
        page.mouse.move(0, 0)
        for scheme in in_both_schemes(page, drawn):
            found, counts = failures(page, "#cv-header, #cv-generate")
            assert found == [], scheme
            assert counts["texts"] > 40 and counts["borders"] > 15
            assert page.evaluate("axe.run('#cv-generate')")["violations"] == [], scheme

    measure()
    page.fill("#cv-draw-caption textarea", "a giraffe")
    page.click("#cv-draw")
    page.wait_for_selector("#cv-draw-caption-error-text:visible")
    measure()


def test_it_finds_what_is_too_weak(visit):
    page = visit().page
    page.set_content(
        """<style>
        body { background: white } button { font-size: 14px; outline: none; margin: 20px; border: 1px solid black }
        .weak { border-color: rgb(150, 150, 150) } .weak:focus-visible { outline: 2px solid rgb(150, 150, 150) }
        .strong:focus-visible { outline: 2px solid black }
        .grows { display: inline-block; color: white; background: linear-gradient(90deg, black, white) }</style><main>
        <p style="color: rgb(119, 119, 119)">four point four eight</p><p style="color: rgb(118, 118, 118)">enough</p>
        <p style="color: rgb(149, 149, 149); font-size: 24px">large, two point nine nine</p>
        <p style="opacity: 0.4; color: black">half gone</p>
        <p class="grows">on a ground that grows bright</p>
        <button class="weak">weak</button>
        <button class="strong">strong</button><button>without a ring</button></main>"""
    )
    found, counts = failures(page, "main")
    assert [line.partition(":")[0].partition(" of ")[0] for line in found] == [
        "text 'four point four eight'",
        "text 'large, two point nine nine'",
        "text 'half gone'",
        "text 'on a ground that grows bright'",
        "border",
        "ring",
        "ring",
    ]
    assert counts == {"texts": 8, "borders": 3, "rings": 3}
    assert ratio(np.zeros(3), np.full(3, 255)) == 21
    page.evaluate(AXE)
    [told] = [one for one in page.evaluate("axe.run('main')")["violations"] if one["id"] == "color-contrast"]
    assert "four point" in told["nodes"][0]["html"]
