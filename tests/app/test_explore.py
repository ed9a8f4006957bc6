"""The line at a chosen mass, what the model saw, and which words look into a box that is drawn."""

import re

import numpy as np
import pytest
from reports import checked
from scenes import DOG, FRISBEE, meadow, shares
from test_pixels import sent
from watched import AXE, pointed

from crossviz.render.contour import half_mass, half_mass_outlines

INK = """() => {
  const canvas = document.querySelector(".cv-ink");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
  return count;
}"""
"""How many pixels of the drawing over the heat are not clear."""
NUMBERS = """() => {
  window.written = [];
  const own = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    written.push([text, x / this.canvas.width, y / this.canvas.height]);
    return own.call(this, text, x, y);
  };
}"""


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def index_of(explanation, text):
    return next(word.index for word in explanation.words if word.text == text)


def said(page):
    return page.inner_text(".cv-live")


# The line


@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "patches"])
def test_the_region_of_a_share_is_that_of_python(show, smooth):
    explanation = meadow()
    page = show(explanation).page
    for text in ("dog", "catches"):
        word = index_of(explanation, text)
        values = sent(explanation, None, None)[word]
        wanted = half_mass(values, smooth=smooth, share=0.8)
        seen = page.evaluate("([w, s]) => crossvizView.view().field.stats(w, null, null, s, 0.8).half", [word, smooth])
        assert seen["level"] == pytest.approx(wanted.level, rel=1e-9)
        assert seen["area"] == pytest.approx(wanted.area, abs=1e-9)
        assert seen["mass"] == pytest.approx(wanted.mass, rel=1e-9)
    if not smooth:
        return
    word = index_of(explanation, "dog")
    segments = page.evaluate("w => crossvizView.view().field.outline(w, null, null, true, 0.8)", word)
    points = np.array(segments).reshape(-1, 2)
    lines = np.concatenate(half_mass_outlines(sent(explanation, None, None)[word], share=0.8))
    apart = np.abs(points[:, None] - lines).max(axis=-1)
    assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) < 1e-6


def test_the_line_follows_the_chosen_mass_and_the_readout_with_it(show):
    explanation = meadow()
    page = show(explanation).page
    values = sent(explanation, None, None)[index_of(explanation, "dog")]
    chip(page, "dog").click()
    drawn = []
    for choice, share, term in (("50", 0.5, "half of it lies in"), ("80", 0.8, "80\u202f% of it lies in")):
        page.locator(".cv-segment", has_text=choice).click()
        row = page.locator(".cv-row").first
        assert row.locator("dt > span").first.inner_text() == term
        assert row.locator(".cv-figure").inner_text() == f"{round(100 * half_mass(values, share=share).area)}\u202f%"
        drawn.append(page.evaluate(INK))
    assert drawn[1] > 1.2 * drawn[0] > 100
    pointed(chip(page, "dog"))
    page.mouse.move(0, 0)
    pointed(chip(page, "dog"))
    assert explanation.sentence("dog", share=0.8) in said(page)
    page.mouse.move(0, 0)
    page.locator(".cv-segment", has_text="Off").click()
    assert page.evaluate(INK) == 0
    assert page.locator(".cv-row dt > span").first.inner_text() == "half of it lies in"


# What the model saw


@pytest.mark.parametrize(
    ("explanation", "width", "step"),
    [(meadow(crop=True), 1280, 1), (meadow(), 390, 24)],
    ids=["every patch", "one of each row where there is no room"],
)
def test_patches_are_outlined_and_numbered_row_by_row(show, explanation, width, step):
    page = show(explanation, width=width).page
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")  # the plain photo
    hatched = page.evaluate(INK)
    page.evaluate(NUMBERS)
    page.get_by_label("What the model saw").check()
    assert page.evaluate(INK) > hatched + 2000
    grid, view = explanation.grid, explanation.view
    written = page.evaluate("written")
    assert [int(text) for text, *_ in written] == list(range(1, grid.num_patches + 1, step))
    x0, y0, x1, y1 = view.crop_xyxy
    for text, x, y in written:
        row, column = divmod(int(text) - 1, grid.width)
        across = x0 + (x1 - x0) * (column + (0.5 if step == 1 else 0)) / grid.width
        down = y0 + (y1 - y0) * (row + 0.5) / grid.height
        assert x * view.source_wh[0] == pytest.approx(across, abs=0.5 if step == 1 else 10)
        assert y * view.source_wh[1] == pytest.approx(down, abs=0.5)
    assert f"as {grid.height} rows of {grid.width} patches, numbered row by row from 1 to {grid.num_patches}" in said(
        page
    )
    assert ("480 × 480 of the photo's 720 × 480 pixels" in said(page)) == (step == 1)
    assert said(page) in page.inner_text(".cv-notes").replace("\n", " ")
    page.get_by_label("What the model saw").uncheck()
    assert page.evaluate(INK) == hatched


# The box


def place(page, x, y):
    frame = page.locator(".cv-frame").bounding_box()
    return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]


def draw(page, x0, y0, x1, y1):
    """A box by pointer, in shares of the photo."""
    page.click("text=Draw a box")
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(*place(page, x0, y0))
    page.mouse.down()
    page.mouse.move(*place(page, x1, y1), steps=3)
    page.mouse.up()
    page.mouse.move(0, 0)


def inside(explanation, word, box):
    """From the map in pixels: how much of it lies in a box of whole pixels. Patches are of 30 x 30 pixels here."""
    heat = np.maximum(explanation.heatmap(word=word, smooth=False).astype(np.float64), 0)
    x0, y0, x1, y1 = box
    total = 900 if explanation.unit == "probability" else heat.sum()
    return heat[y0:y1, x0:x1].sum() / total


@pytest.mark.parametrize(
    ("explanation", "area"),
    [(meadow(), 171 * 133 / (720 * 480)), (meadow(crop=True), 151 * 133 / 480**2), (shares(1, 2), 171 * 133 / 345600)],
    ids=["probabilities", "partly cut off", "signed"],
)
def test_a_box_holds_what_the_pixels_in_it_hold(show, explanation, area):
    page = show(explanation).page
    box = [100, 250, 271, 383]
    for word in explanation.words:
        seen = page.evaluate(
            """([word, box]) => {
              const { payload, field } = crossvizView.view();
              return CrossvizViewer.insideBox(payload, field, field.values(word), box);
            }""",
            [word.index, box],
        )
        assert seen["share"] == pytest.approx(inside(explanation, word.index, box), abs=0.003)
        assert seen["area"] == pytest.approx(area, rel=1e-9)


def test_the_words_that_look_into_a_box_are_ranked(show):
    explanation = meadow()
    page = show(explanation).page
    draw(page, 0.15, 0.5, 0.45, 0.85)
    pixels = page.evaluate("""() => ["left", "top", "width", "height"].map(
        (side) => parseFloat(document.querySelector(".cv-ask").style[side]) / 100)""")
    assert pixels == pytest.approx([0.15, 0.5, 0.3, 0.35], abs=0.01)
    box = [round(v) for v in (108, 240, 324, 408)]
    held = {word.text: inside(explanation, word.index, box) for word in explanation.words}
    wanted = sorted((text for text in held if held[text] > 0.105), key=held.get, reverse=True)
    assert wanted[:2] == ["black", "dog"]
    rows = page.locator(".cv-ranks li:visible")
    assert rows.locator("bdi").all_inner_texts() == wanted[:5]
    share, times = re.fullmatch(
        r"(\d+)\u202f%, ([\d.]+)\u202f×", rows.first.locator(".cv-figure").inner_text()
    ).groups()
    assert int(share) == pytest.approx(100 * held["dog"], abs=2)
    assert float(times) == pytest.approx(held["dog"] / 0.105, rel=0.05)
    assert re.match("In the box: 1[01]\u202f% of the picture", page.inner_text(".cv-patch .cv-label"))
    assert said(page).startswith("In the box: ") and "dog" in said(page)
    level = "e => Number(getComputedStyle(e.querySelector('.cv-level')).opacity)"
    bright = {text: chip(page, text).evaluate(level) for text in ("dog", "zebra")}
    assert bright["dog"] > 0.99 > 0.3 > bright["zebra"]
    # A patch that is pointed at goes first, and the box comes back.
    page.mouse.move(*place(page, FRISBEE[0], FRISBEE[1]))
    assert page.inner_text(".cv-patch .cv-label").startswith("Row ")
    page.mouse.move(0, 0)
    assert page.inner_text(".cv-patch .cv-label").startswith("In the box")
    page.evaluate("crossvizView.update(crossvizView.view().payload)")  # the box stays with its photo
    page.wait_for_selector("[data-ready]")
    assert rows.locator("bdi").all_inner_texts() == wanted[:5]
    page.click("text=Clear the box")
    assert rows.count() == 0
    assert said(page) == "The box is gone."
    assert chip(page, "zebra").evaluate(level) == 1


def test_a_box_of_keys_asks_too(show):
    page = show(meadow()).page
    button = page.locator("text=Draw a box")
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "cv-ask"
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowUp")
    label = page.locator(".cv-ask").get_attribute("aria-label")
    numbers = [int(number) for number in re.findall(r"(\d+) %", label)]
    assert label.startswith("Which words look here? Box from ")
    assert numbers == pytest.approx([61.5, 13.5, 86.5, 38.5], abs=0.51)
    assert set(page.locator(".cv-ranks li:visible bdi").all_inner_texts()[:2]) == {"red", "frisbee"}
    assert "frisbee" in said(page)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Draw a box"
    assert page.locator(".cv-ask:visible").count() == 1
    assert page.inner_text(".cv-readout .cv-title") != "The plain photo"


def test_a_box_where_the_model_did_not_look_says_so(show):
    page = show(meadow(crop=True)).page
    draw(page, 0.01, 0.2, 0.12, 0.6)
    assert page.inner_text(".cv-patch .cv-label") == "The model did not see this part"
    assert page.locator(".cv-ranks li:visible").count() == 0


def test_only_one_box_is_drawn_at_a_time(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.click("text=Draw a box")
    page.get_by_role("tab", name="Inside your box").click()
    page.click("text=Mark the thing")
    assert page.get_by_role("button", name="Draw a box").get_attribute("aria-pressed") == "false"
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(*place(page, 0.2, 0.4))
    page.mouse.down()
    page.mouse.move(*place(page, 0.5, 0.8), steps=3)
    page.mouse.up()
    assert page.locator(".cv-box:visible").count() == 1
    assert page.locator(".cv-ask:visible").count() == 0


def test_choices_outlive_the_next_explanation(show):
    page = show(meadow()).page
    page.locator(".cv-segment", has_text="80").click()
    page.get_by_label("What the model saw").check()
    page.get_by_label("Sort by").select_option("high")
    page.evaluate("crossvizView.update(crossvizView.view().payload)")
    page.wait_for_selector("[data-ready]")
    assert page.locator(".cv-segment", has_text="80").locator("input").is_checked()
    assert page.get_by_label("What the model saw").is_checked()
    assert page.get_by_label("Sort by").input_value() == "high"
    state = page.evaluate("(({ contour, saw }) => ({ contour, saw }))(crossvizView.view().state)")
    assert state == {"contour": 0.8, "saw": True}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_nothing_overflows(show, scheme, width):
    page = show(checked(meadow(layers=2), "dog"), color_scheme=scheme, width=width, bypass_csp=True).page
    chip(page, "dog").click()
    page.get_by_label("What the model saw").check()
    page.get_by_label("Sort by").select_option("focused")
    draw(page, DOG[0] - 0.1, DOG[1] - 0.1, DOG[0] + 0.1, DOG[1] + 0.1)
    assert page.locator(".cv-ask:visible").count() == 1
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document.querySelector('.cv-viewer'))")["violations"]
    assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
