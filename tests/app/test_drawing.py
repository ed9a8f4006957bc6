"""While pictures are drawn: they are seen growing, one is stopped, others are chosen or opened, somebody else waits."""

import threading

import pytest
from drawing import chip, draw, enter, saved
from planted_generator import CAPTION, planted
from playwright.sync_api import expect
from watched import drawn, until

import crossviz
from crossviz.errors import CrossvizError
from crossviz.web.drawings import GONE, Drawings

NOTE = ".cv-growing .cv-note"


@pytest.fixture
def gate(drawing_app):
    """Holds every picture up halfway until it is set."""
    drawing_app.model.gate = threading.Event()
    yield drawing_app.model.gate
    drawing_app.model.gate.set()
    drawing_app.model.gate = None


class After:
    """A gate that lets so many pass before it is one."""

    def __init__(self, free: int) -> None:
        self.free, self.event = free, threading.Event()

    def wait(self, seconds: float) -> None:
        self.free -= 1
        if self.free < 0:
            self.event.wait(seconds)

    def set(self) -> None:
        self.event.set()


def test_the_picture_is_seen_growing(drawing_app, visit, gate):
    page = enter(visit, drawing_app).page
    page.fill("#cv-draw-caption textarea", CAPTION)
    page.press("#cv-draw-caption textarea", "Enter")
    page.wait_for_selector(".cv-growing-picture[src]")
    expect(page.locator(".cv-growing .cv-note")).to_contain_text("Seed 0: step")
    size = page.locator(".cv-growing-picture").evaluate("node => [node.naturalWidth, node.naturalHeight]")
    assert size == [96, 96]
    before = page.locator(".cv-growing-stage").bounding_box()
    gate.set()
    drawn(page)
    assert page.locator(".cv-growing").is_hidden()
    after = page.locator(".cv-generations .cv-stage").bounding_box()
    assert before["width"] == after["width"] == 480


def test_stop_ends_the_drawing_and_keeps_the_fields(drawing_app, visit, gate):
    page = enter(visit, drawing_app).page
    closed = drawing_app.model.closed
    page.fill("#cv-draw-caption textarea", CAPTION)
    page.click("#cv-draw")
    page.wait_for_selector(".cv-growing-picture[src]")
    page.click("#cv-draw-stop")
    expect(page.locator(".cv-growing .cv-note")).to_contain_text("Stopped at step")
    expect(page.locator("#cv-draw-stop")).to_be_disabled()
    gate.set()
    until(page, lambda: drawing_app.model.closed > closed)  # the model itself was stopped
    assert page.input_value("#cv-draw-caption textarea") == CAPTION
    assert page.locator(".cv-generations[data-ready]").count() == 0
    page.click("#cv-draw")  # and it draws again
    drawn(page)


def test_pictures_that_are_finished_are_there_while_the_next_is_drawn(drawing_app, visit, gate):
    page = enter(visit, drawing_app).page
    drawing_app.model.gate = After(2)
    page.locator("#cv-draw-count label", has_text="4").click()
    page.fill("#cv-draw-caption textarea", CAPTION)
    page.click("#cv-draw")
    expect(page.locator(NOTE)).to_contain_text("Picture 3 of 4, seed 2: step")
    assert "Drawing picture 3 of 4." in page.inner_text(".cv-generations .cv-live")
    cards = page.locator(".cv-seed")
    expect(cards).to_have_count(2)
    cards.nth(1).click()  # looked into, while the others are on their way
    drawn(page)
    expect(page.locator(".cv-told-settings")).to_contain_text("seed 1")
    page.click("#cv-draw-stop")
    expect(page.locator(".cv-generations .cv-live")).to_have_text("Stopped: 2 of 4 pictures are drawn.")
    expect(page.locator(".cv-told-settings")).to_contain_text("seed 1")
    name, _ = saved(page, "numbers, NPZ")
    assert name.endswith(".npz")
    drawing_app.model.gate.set()


def test_what_is_typed_while_a_chosen_caption_is_drawn_stays(drawing_app, visit, gate):
    page = enter(visit, drawing_app).page
    page.locator(".cv-captions button").nth(1).click()
    page.wait_for_selector(".cv-growing-picture[src]")
    assert page.input_value("#cv-draw-caption textarea") == "a yellow ring"
    page.fill("#cv-draw-caption textarea", "a blue cube")
    gate.set()
    drawn(page)
    assert page.input_value("#cv-draw-caption textarea") == "a blue cube"


def test_who_waits_for_somebody_elses_picture_is_told_and_may_leave(drawing_app, visit, gate):
    other, page = enter(visit, drawing_app).page, enter(visit, drawing_app).page
    other.click(".cv-captions button >> nth=0")
    other.wait_for_selector(".cv-growing-picture[src]")
    page.fill("#cv-draw-caption textarea", "a yellow ring")
    page.click("#cv-draw")
    expect(page.locator(NOTE)).to_have_text("The model is made ready, or draws for somebody else.")
    page.click("#cv-draw-stop")
    expect(page.locator(NOTE)).to_have_text("Stopped before it began.")
    expect(page.locator("#cv-draw-stop")).to_be_disabled()
    gate.set()
    drawn(other)
    page.click("#cv-draw")
    drawn(page)
    assert chip(page, "ring").is_visible()


def test_a_picture_that_is_opened_ends_the_drawing(drawing_app, visit, gate, tmp_path):
    path = tmp_path / "drawn.png"
    planted("a yellow ring", 3).save(path)
    page = enter(visit, drawing_app).page
    closed = drawing_app.model.closed
    page.click(".cv-captions button >> nth=0")
    page.wait_for_selector(".cv-growing-picture[src]")
    page.set_input_files("#cv-open input[type=file]", path)
    drawn(page)
    gate.set()
    until(page, lambda: drawing_app.model.closed > closed)
    expect(page.locator(".cv-told-settings")).to_contain_text("seed 3")
    assert page.locator(".cv-seed:visible").count() == 0
    name, data = saved(page, "numbers, NPZ")
    (tmp_path / name).write_bytes(data)
    assert crossviz.load(tmp_path / name) == crossviz.load(path)


@pytest.mark.parametrize("seed", ["-1", "1.5", "99999999999"])
def test_a_seed_that_is_none_is_answered_beside_its_field(drawing_app, visit, seed):
    page = enter(visit, drawing_app).page
    page.fill("#cv-draw-seed input", seed)
    page.fill("#cv-draw-caption textarea", CAPTION)
    page.click("#cv-draw")
    said = page.locator("#cv-draw-settings-error-text")
    expect(said).to_contain_text(f"The seed must be a whole number from 0 to 2147483647, not {seed}")
    assert page.input_value("#cv-draw-seed input") == seed
    page.fill("#cv-draw-seed input", "2")
    page.click("#cv-draw")
    drawn(page)
    expect(said).to_be_hidden()
    expect(page.locator(".cv-told-settings")).to_contain_text("seed 2")


def test_a_picture_that_is_gone_is_neither_saved_nor_explained(drawing_app, visit, monkeypatch):
    page = enter(visit, drawing_app).page
    draw(page)
    saved(page, "numbers, NPZ")  # the file that must not come again

    def gone(self, key):
        raise CrossvizError(GONE)

    monkeypatch.setattr(Drawings, "of", gone)
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    page.locator(".cv-generations").get_by_role("button", name="Save", exact=True).click()
    said = page.locator("#cv-draw-general-error-text")
    expect(said).to_have_text(GONE)
    page.get_by_role("button", name="Explain this picture").click()
    expect(page.locator("#cv-page")).to_be_hidden()
    expect(said).to_be_visible()
    assert downloads == []


def test_what_drawings_hold_is_counted_once():
    one = planted()
    alone = sum(Drawings({"a": one}).weight.values())
    twice = sum(Drawings({"a": one}).with_one("b", one).weight.values())
    assert one.frames.nbytes < alone <= twice < alone + 1000
