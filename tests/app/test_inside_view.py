"""Inside in the viewer: what is asked for, the sheet of arithmetic, its walk by keyboard, and what goes wrong."""

import json

import pytest
from scenes import inside, meadow
from watched import AXE, ready

import crossviz
from crossviz import Explainer
from crossviz.errors import RenderError
from crossviz.web.examples import examples

OPEN = ".cv-inside > summary"
SHEET = meadow()
CELL = inside(SHEET).as_dict()


def number(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def hold(page, word):
    page.locator(".cv-chip", has_text=word).first.click()
    page.mouse.move(0, 0)


def answer(page, cell=CELL, **more):
    """The server's answer to the question that was asked last."""
    run = page.evaluate("asked.filter(({ name }) => name === 'inside').at(-1).run")
    page.evaluate("(message) => crossvizView.inside(message)", {"run": run, **({"inside": cell} | more)})


def questions(page):
    return page.evaluate("asked.filter(({ name }) => name === 'inside')")


def open_cell(page):
    """In the running app: until the sheet is there. What the app says in its place is told at once."""
    page.click(OPEN)
    page.wait_for_selector(".cv-sheet, .cv-cell-problem:not([hidden])")
    assert page.locator(".cv-cell-problem:not([hidden])").all_inner_texts() == []


@pytest.fixture
def opened(serve):
    def open_sheet(**options):
        page = serve(SHEET, **options).page
        hold(page, "frisbee")
        page.click(OPEN)
        page.mouse.move(0, 0)
        page.clock.run_for(400)
        answer(page)
        return page

    return open_sheet


def test_nothing_is_asked_while_it_is_closed(serve):
    page = serve(SHEET).page
    hold(page, "frisbee")
    page.clock.run_for(2000)
    assert questions(page) == []
    page.click(OPEN)
    page.clock.run_for(400)
    [asked] = questions(page)
    start = SHEET.caption.text.index("frisbee")
    assert {name: asked[name] for name in ("start", "end", "token", "layer", "head", "row", "col")} == {
        "start": start, "end": start + 7, "token": None, "layer": None, "head": None, "row": None, "col": None,
    }  # fmt: skip


def test_the_numbers_on_the_page_are_pythons(opened):
    page = opened()
    shown = page.evaluate(
        """() => [...document.querySelectorAll(".cv-line")].map((line) => ({
          name: line.querySelector(".cv-line-name span:last-child").textContent,
          said: line.querySelector(".cv-line-said").textContent,
          math: line.querySelectorAll("math").length,
          strips: line.querySelectorAll(".cv-numbers").length,
        }))"""
    )
    assert [line["name"] for line in shown] == [step["name"] for step in CELL["steps"]]
    assert [line["said"] for line in shown] == [step["sentence"] for step in CELL["steps"]]
    assert [line["strips"] for line in shown] == [len(step["strips"]) for step in CELL["steps"]]
    assert all(line["math"] == 1 for line in shown)
    for place, step in enumerate(CELL["steps"]):
        values = step["strips"][-1]["values"]
        button = page.locator(".cv-line-name").nth(place)
        button.focus()
        for index in range(min(3, len(values))):
            page.keyboard.press("ArrowRight")
            said = page.inner_text(".cv-live")
            assert number(said.rpartition(": ")[2]) == pytest.approx(values[index], rel=5e-6), step["id"]
    groups = page.locator(".cv-sheet-group").all_inner_texts()
    assert groups == [f"{i + 1}. {name}" for i, name in enumerate(dict.fromkeys(s["group"] for s in CELL["steps"]))]
    assert f"row {CELL['patch'][0] + 1}, column {CELL['patch'][1] + 1}" in page.inner_text(".cv-cell-which")
    told = page.inner_text(".cv-cell-which").rpartition(": ")[2].split(" ")[0]
    assert number(told) == pytest.approx(CELL["prob"], rel=5e-6)


def test_pointing_at_a_strip_shows_its_number(opened):
    page = opened()
    strip = page.locator(".cv-line").nth(1).locator(".cv-numbers").last
    strip.scroll_into_view_if_needed()
    box = strip.locator("canvas").bounding_box()
    values = CELL["steps"][1]["strips"][-1]["values"]
    page.mouse.move(box["x"] + 2.5 / len(values) * box["width"], box["y"] + 5)
    place, _, value = strip.locator(".cv-number").inner_text().partition(": ")
    assert place == "3" and number(value) == pytest.approx(values[2], rel=5e-6)
    page.mouse.move(0, 0)
    assert strip.locator(".cv-number").inner_text().startswith("±")


def test_the_walk_by_keyboard(opened):
    page = opened()
    names = [step["name"] for step in CELL["steps"]]
    page.locator(".cv-line-name").first.focus()
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("End", len(names) - 1), ("ArrowUp", len(names) - 2),
                       ("Home", 0), ("ArrowUp", 0)):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.lastChild.textContent") == names[place]
        said = page.inner_text(".cv-live")
        assert said.startswith(f"Step {place + 1} of {len(names)}, {names[place]}. ")
        assert CELL["steps"][place]["sentence"][:40] in said
        assert page.locator('.cv-line-name[tabindex="0"]').count() == 1
        assert page.locator('.cv-line-name[aria-current="step"]').all_inner_texts()[0].endswith(names[place])
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_inputs_of_a_step_are_lit(opened):
    page = opened()
    ids = [step["id"] for step in CELL["steps"]]
    lit = """(kind) => [...document.querySelectorAll(".cv-line")].flatMap(
      (line, i) => line.classList.contains(kind) ? [i] : [])"""
    for place, step in enumerate(CELL["steps"]):
        page.locator(".cv-line-said").nth(place).hover()
        assert [ids[i] for i in page.evaluate(lit, "cv-lit")] == [name for name in ids if name in step["inputs"]]
        after = [other["id"] for other in CELL["steps"] if step["id"] in other["inputs"]]
        assert [ids[i] for i in page.evaluate(lit, "cv-next")] == after
    page.mouse.move(0, 0)
    assert page.evaluate(lit, "cv-lit") == []


def test_another_patch_by_click_by_keyboard_and_by_number(opened):
    page = opened()
    grid, frame = SHEET.grid, page.locator(".cv-frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    page.mouse.click(box["x"] + 3.5 / grid.width * box["width"], box["y"] + 5.5 / grid.height * box["height"])
    page.mouse.move(0, 0)
    page.clock.run_for(400)
    assert [questions(page)[-1][name] for name in ("row", "col")] == [5, 3]
    page.get_by_label("Column", exact=True).fill("20")
    page.keyboard.press("Enter")
    page.clock.run_for(400)
    assert [questions(page)[-1][name] for name in ("row", "col")] == [5, 19]
    page.get_by_label("Row", exact=True).fill("99")
    page.keyboard.press("Enter")
    assert page.inner_text(".cv-cell-problem") == f"Rows go from 1 to {grid.height}, columns from 1 to {grid.width}."
    page.locator(".cv-frame").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.clock.run_for(400)
    asked = [questions(page)[-1][name] for name in ("row", "col")]
    assert asked == [grid.height // 2, grid.width // 2 + 1]
    count = len(questions(page))
    page.click(".cv-cell-choice .cv-button")
    page.clock.run_for(400)
    assert len(questions(page)) == count, "it was answered when the sheet was opened"
    assert f"row {CELL['patch'][0] + 1}, column {CELL['patch'][1] + 1}" in page.inner_text(".cv-cell-which")
    assert page.locator(".cv-cell-problem:visible").count() == 0


def test_the_head_that_is_chosen_is_asked_for(opened):
    page = opened()
    page.select_option(".cv-controls select >> nth=0", "2")
    page.clock.run_for(400)
    assert questions(page)[-1]["head"] == 2
    count = len(questions(page))
    page.select_option(".cv-controls select >> nth=0", "all")
    page.clock.run_for(400)
    assert len(questions(page)) == count, "what was answered is not asked again"
    assert page.locator(".cv-line").count() == len(CELL["steps"])


def test_an_error_is_a_sentence_and_late_answers_are_dropped(opened):
    page = opened()
    hold(page, "frisbee")
    hold(page, "dog")
    page.clock.run_for(400)
    answer(page, error="This model can't be opened.", inside=None)
    assert page.inner_text(".cv-cell-problem") == "This model can't be opened."
    assert page.locator(".cv-line").count() == 0
    page.click(".cv-inside >> text=Try again")
    page.clock.run_for(400)
    page.evaluate("(message) => crossvizView.inside(message)", {"run": -1, "inside": CELL})
    assert page.locator(".cv-line").count() == 0
    page.clock.run_for(61_000)
    assert "not answered" in page.inner_text(".cv-cell-problem")


def test_what_a_user_wrote_is_only_text(opened):
    page = opened()
    evil = json.loads(json.dumps(CELL).replace("frisbee", "<img src=x onerror=alert(1)>"))
    hold(page, "frisbee")
    hold(page, "sky")
    page.clock.run_for(400)
    answer(page, evil)
    assert page.locator(".cv-inside img").count() == 0
    assert "<img src=x" in page.inner_text(".cv-cell-which")


def test_a_saved_page_says_that_it_needs_the_app(show):
    watched = show(SHEET)
    page = watched.page
    page.click(OPEN)
    assert "a saved page has no model" in page.inner_text(".cv-inside .cv-note")
    assert page.locator(".cv-inside input, .cv-inside button").count() == 0
    watched.assert_quiet()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(opened, width, scheme):
    page = opened(width=width, color_scheme=scheme, bypass_csp=True)
    page.locator(".cv-line-name").nth(4).focus()
    page.evaluate(AXE)
    page.clock.resume()
    found = page.evaluate("axe.run('#crossviz-viewer')")["violations"]
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_running_app_shows_what_python_computes(app, visit):
    watched = visit(app)
    page = watched.page
    open_cell(page)
    first, word = examples()[0], page.inner_text(".cv-title")
    explainer = Explainer()
    found = explainer.inside(str(first.photo), first.caption, word).as_dict()
    assert page.locator(".cv-line-said").all_inner_texts() == [step["sentence"] for step in found["steps"]]
    shown = page.locator(".cv-single .cv-number").all_inner_texts()
    single = [strip["values"][0] for step in found["steps"] for strip in step["strips"] if len(strip["values"]) == 1]
    assert [number(text) for text in shown] == pytest.approx(single, rel=1e-5)
    row, col = found["patch"]
    page.get_by_label("Column", exact=True).fill(str(1 if col else 2))
    page.keyboard.press("Enter")
    page.wait_for_function("text => !document.querySelector('.cv-cell-which').textContent.includes(text)",
                           arg=f"row {row + 1}, column {col + 1},")  # fmt: skip
    other = explainer.inside(str(first.photo), first.caption, word, patch=(row, 0 if col else 1))
    assert page.locator(".cv-line-said").all_inner_texts() == [step.sentence for step in other.steps]
    watched.assert_quiet()


def test_a_saved_page_shows_the_cells_it_was_saved_with(visit, tmp_path):
    cells = [inside(SHEET), inside(SHEET, "dog", head=1, patch=(3, 4))]
    path = tmp_path / "two.html"
    SHEET.save(path, cells=cells)
    assert crossviz.load(path) == SHEET
    watched = visit()
    page = watched.page
    page.goto(path.as_uri())
    ready(page)
    names = "[...document.querySelectorAll('.cv-line-said')].map((line) => line.textContent)"
    assert page.evaluate(names) == [step["sentence"] for step in CELL["steps"]]
    page.get_by_label("Cell", exact=True).select_option("1")
    assert page.evaluate(names) == [step["sentence"] for step in cells[1].as_dict()["steps"]]
    assert page.inner_text(".cv-cell-which").startswith("\u201cdog\u201d at row 4, column 5")
    page.evaluate(AXE)
    assert page.evaluate("async () => (await axe.run('.cv-inside')).violations.map((one) => one.id)") == []
    watched.assert_quiet()
    with pytest.raises(RenderError, match=r"\.png file does not show them"):
        SHEET.to_bytes(".png", cells=cells)


def test_the_app_saves_the_cell_that_is_open(visit, app, tmp_path):
    page = visit(app).page
    open_cell(page)
    said = page.inner_text(".cv-cell-which")
    page.select_option(".cv-save select", ".html")
    with page.expect_download() as download:
        page.click(".cv-saving button:has-text('Save')")
    download.value.save_as(tmp_path / "open.html")
    other = visit().page
    other.goto((tmp_path / "open.html").as_uri())
    ready(other)
    assert other.inner_text(".cv-cell-which") == said
