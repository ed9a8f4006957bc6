"""Families on the page: what a model is and offers, hidden words, captions that a model writes, models compared."""

import base64
import io
import threading

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from speaker import CAPTION, GUESSES, Absent, Speaker
from test_page import ask, chips, choose, errors, save
from watched import AXE, free_port, painted, pointed, until

import crossviz
from crossviz.explainer import Explainer
from crossviz.models import _families, register
from crossviz.web.app import build
from crossviz.web.page import launch


@pytest.fixture(scope="module")
def families_app():
    """The app beside two more families: one that writes and guesses, and one that can't be loaded."""
    added = [register(Speaker()), register(Absent())]
    page = build()
    yield launch(page, "127.0.0.1", free_port())
    page.close(verbose=False)
    for family in added:
        del _families[family.name]


@pytest.fixture
def speaking(families_app, visit):
    """A visitor who has chosen the model that writes and guesses, and has explained a caption with it."""
    watched = visit(families_app)
    choose(watched.page, "speaker")
    watched.page.wait_for_selector("#cv-write:visible")
    ask(watched.page, "a man and his camera")
    return watched


def test_the_line_under_the_model_says_what_it_is_and_where_its_attention_goes(families_app, visit):
    page = visit(families_app).page
    about = "document.querySelector('#cv-model-about-text').textContent"
    page.wait_for_function(f"{about}.includes('Its attention goes from text tokens to image patches and one null key')")
    assert page.locator("#cv-write:visible").count() == 0
    choose(page, "speaker")
    page.wait_for_function(f"{about}.startsWith('A model of the tests that writes')")
    page.wait_for_selector("#cv-write:visible")
    choose(page, "absent:one")
    page.wait_for_function(f"{about}.includes('pip install crossviz[transformers]')")
    page.wait_for_selector("#cv-write:visible", state="detached")
    choose(page, "coca:somewhere/else")
    page.wait_for_function(f"{about} === 'This server loads only the models on the list.'")


def test_methods_follow_a_model_as_soon_as_it_is_chosen(families_app, visit):
    page = visit(families_app).page
    choose(page, "speaker")
    page.wait_for_selector("#cv-write:visible")
    page.click("#cv-method input")
    # The list of models may still be fading out.
    expect(page.locator("#cv-method li[role=option]")).to_have_count(len(Explainer("speaker").methods))


def test_a_model_that_is_not_loaded_offers_no_methods(families_app, visit):
    page = visit(families_app).page
    expect(page.locator("#cv-method input:visible")).to_have_count(1)
    choose(page, "absent:one")
    page.wait_for_selector("#cv-method input:visible", state="detached")
    expect(page.locator("#cv-method-about-text")).to_have_text("")
    choose(page, "crossviz-mini", other=False)
    page.wait_for_selector("#cv-method input:visible")


def test_another_method_than_that_of_the_picture_is_said(families_app, visit):
    watched = visit(families_app)
    page = watched.page
    for title, told in (("Occlusion", ["This is still the picture of the method before."]), ("Cross-attention", [])):
        page.click("#cv-method input")
        page.click(f"#cv-method li[role=option]:has-text('{title}')")
        page.wait_for_function(
            "([count]) => document.querySelectorAll('.cv-viewer[data-stale]').length === count", arg=[len(told)]
        )
        assert page.locator(".cv-stale:visible").all_inner_texts() == told
    watched.assert_quiet()


def test_a_model_that_cannot_be_loaded_leaves_the_shown_one_usable(families_app, visit):
    watched = visit(families_app)
    page = watched.page
    ask(page, "a man and his camera")
    choose(page, "absent:one")
    ask(page)
    told = errors(page)
    assert list(told) == ["model"]
    assert "pip install crossviz[transformers]" in told["model"]
    assert page.inner_text(".cv-stale") == "This is still the picture of the model before."
    assert page.input_value("#cv-caption textarea") == "a man and his camera"
    assert page.locator("#cv-photo img").count() == 1
    assert chips(page) == ["a", "man", "and", "his", "camera"]
    pointed(page.locator(".cv-chip", has_text="camera"))
    assert page.inner_text(".cv-title") == "camera"
    name, _ = save(page, ".json")
    assert name == "crossviz-a-man-and-his-camera.json"
    choose(page, "crossviz-mini", other=False)
    ask(page, "grey grass")
    assert errors(page) == {}
    assert chips(page) == ["grey", "grass"]
    watched.assert_quiet()


def hide(page: Page, word: str) -> None:
    page.locator(".cv-chip", has_text=word).first.click()
    page.click("text=Hide it, let the model guess")
    page.wait_for_selector("text=Show it again")


def test_a_word_is_hidden_guessed_saved_and_shown_again(speaking, tmp_path):
    page = speaking.page
    hide(page, "man")
    chip = page.locator(".cv-chip", has_text="man").first
    assert chip.get_attribute("aria-label") == "man, hidden from the model"
    assert chip.evaluate("e => getComputedStyle(e).borderTopStyle") == "dashed"
    assert page.locator(".cv-chip.cv-hidden").count() == 1
    guesses = page.locator(".cv-hiding li").all_inner_texts()
    assert [text.replace("\n", " ") for text in guesses] == [
        "dog 50\u202f%", "man (as written) 25\u202f%", "camera 13\u202f%", "bird 6\u202f%", "tower 3\u202f%",
    ]  # fmt: skip
    bars = page.locator(".cv-hiding .cv-rank-bar").evaluate_all("es => es.map((e) => e.style.inlineSize)")
    assert bars == [f"{100 * share:g}%" for _, share in GUESSES[:5]]
    assert page.inner_text(".cv-title") == "man"
    assert page.inner_text(".cv-trust").split("\n")[-1].startswith("Maps are checked with every word in its place")
    assert page.locator(".cv-trust button").count() == 0, "no checks while a word is hidden"
    for suffix in (".html", ".npz"):
        name, path = save(page, suffix)
        kept = crossviz.load(path.rename(tmp_path / name))
        assert [kept.words[word].text for word in kept.hidden] == ["man"]
        assert kept.guesses[0].choices == GUESSES
    page.click("text=Show it again")
    page.wait_for_selector("text=Hide it, let the model guess")
    assert page.locator(".cv-chip.cv-hidden").count() == 0
    assert page.inner_text(".cv-title") == "man"
    assert errors(page) == {}
    speaking.assert_quiet()


def test_a_saved_page_shows_the_guesses_without_a_server(speaking, visit, tmp_path):
    hide(speaking.page, "camera")
    _, path = save(speaking.page, ".html")
    alone = visit().page
    alone.set_content(path.read_text("utf-8"))
    alone.wait_for_selector(".cv-viewer[data-ready]")
    assert alone.locator(".cv-chip.cv-hidden").all_inner_texts() == ["camera"]
    assert alone.locator(".cv-hiding li").count() == 5
    assert alone.locator(".cv-hiding .cv-button").count() == 0


def test_hiding_by_keyboard_keeps_the_focus_on_the_button(speaking):
    page = speaking.page
    page.locator(".cv-chip").first.focus()
    page.keyboard.press("End")
    page.focus(".cv-hiding .cv-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Show it again")
    assert page.evaluate("document.activeElement.textContent") == "Show it again"
    assert page.locator(".cv-chip.cv-hidden").all_inner_texts() == ["camera"]
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Hide it")
    assert page.evaluate("document.activeElement.textContent") == "Hide it, let the model guess"


def test_words_side_by_side_are_hidden_together_and_others_not_at_all(speaking):
    page = speaking.page
    for word in ("his", "camera"):
        page.locator(".cv-chip", has_text=word).first.click()
    page.mouse.move(0, 0)
    page.click("text=Hide it, let the model guess")
    page.wait_for_selector("text=Show it again")
    assert page.locator(".cv-chip.cv-hidden").all_inner_texts() == ["his", "camera"]
    assert page.locator(".cv-hiding .cv-label").all_inner_texts() == ["Hidden: his camera", "his", "camera"]
    page.click("text=Show it again")
    page.wait_for_selector("text=Hide it")
    page.locator(".cv-chip").first.click()
    page.locator(".cv-chip").nth(2).click()
    page.mouse.move(0, 0)
    assert page.locator(".cv-hiding .cv-button").is_disabled()


def test_a_model_without_guesses_offers_no_hiding(families_app, visit):
    page = visit(families_app).page
    ask(page, "a man and his camera")
    assert page.locator(".cv-hiding").count() == 0


def test_the_model_writes_a_caption_that_is_explained(speaking, monkeypatch, go_on):
    page, write = speaking.page, Explainer.write

    def held(self, image, longest=30):
        for text in write(self, image, longest):
            yield text
            if text == "a man":
                go_on.wait()

    monkeypatch.setattr(Explainer, "write", held)
    page.evaluate(
        """() => {
          window.seen = { texts: [], chips: [] };
          const note = (list, text) => text && list.at(-1) !== text && list.push(text);
          new MutationObserver(() => {
            note(seen.chips, document.querySelector(".cv-words")?.textContent);
            note(seen.texts, document.querySelector(".cv-busy-text")?.textContent);
          }).observe(document.querySelector("#cv-viewer"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    page.click("#cv-write")
    # Of messages that come together the page may see the last one only: this one comes alone.
    page.wait_for_selector(".cv-busy-text:text('writing: a man')")
    go_on.set()
    page.wait_for_function(
        "([text]) => document.querySelector('.cv-words').textContent === text"
        " && !document.querySelector('.cv-viewer[data-busy]')",
        arg=[CAPTION],
    )
    assert page.input_value("#cv-caption textarea") == CAPTION
    assert chips(page) == CAPTION.split()
    seen = page.evaluate("seen")
    assert all(CAPTION.startswith(text) for text in seen["chips"][1:]), seen
    assert any(0 < len(text) < len(CAPTION) for text in seen["chips"][1:]), "explained while it grew"
    assert any(text.startswith("writing: a man") for text in seen["texts"])
    name, _ = save(page, ".json")
    assert name == "crossviz-a-man-with-a-camera-on-the-grass.json"
    assert errors(page) == {}
    speaking.assert_quiet()


def test_writing_is_cancelled(speaking, monkeypatch, go_on):
    page, ended = speaking.page, threading.Event()

    def slowly(self, image, longest=30):
        try:
            yield "a man"
            yield "a man with"
            while not go_on.wait(0.05):
                yield "a man with"
            yield "a man with a"
        finally:
            ended.set()

    monkeypatch.setattr(Explainer, "write", slowly)
    page.click("#cv-write")
    page.wait_for_selector(".cv-busy-text:text('writing: a man with')")
    page.click(".cv-over .cv-link")
    page.wait_for_selector(".cv-stale:visible")
    until(page, ended.is_set)
    assert page.input_value("#cv-caption textarea") == "a man with"
    assert page.locator(".cv-viewer[data-busy]").count() == 0
    page.click("#cv-explain")
    # An explanation of fewer words may have been on its way: it is shown, and the note that it is old with it.
    expect(page.locator(".cv-viewer:not([data-busy], [data-stale]) .cv-chip")).to_have_text(["a", "man", "with"])
    speaking.assert_quiet()


def test_a_model_that_writes_nothing_says_so(speaking, monkeypatch):
    page = speaking.page
    monkeypatch.setattr(Explainer, "write", lambda self, image, longest=30: iter(["", " ."]))
    page.click("#cv-write")
    page.wait_for_function("document.querySelector('#cv-caption-error-text').textContent !== ''")
    assert "wrote no words" in errors(page)["caption"]
    assert chips(page) == ["a", "man", "and", "his", "camera"]
    speaking.assert_quiet()


def compared(page: Page, *models: str) -> None:
    if page.locator("#cv-compare-go:visible").count() == 0:
        page.click("#cv-compare > button")
    page.wait_for_selector("#cv-compare-go:visible")
    page.wait_for_selector("#cv-compare-models label")  # fetched by itself when the section opens
    for box in page.locator("#cv-compare-models label").all():
        box.locator("input").set_checked(box.inner_text().strip() in models)
    page.click("#cv-compare-go")


def test_models_are_compared_in_one_picture(speaking):
    page = speaking.page
    compared(page, "crossviz-mini", "speaker")
    page.wait_for_selector(".cv-picture img:visible")
    said = page.get_attribute(".cv-picture img", "alt")
    assert "crossviz-mini, speaker" in said and "a man and his camera" in said
    source = page.get_attribute(".cv-picture img", "src")
    picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert picture.size == tuple(int(page.get_attribute(".cv-picture img", side)) for side in ("width", "height"))
    with page.expect_download() as waiting:
        page.click("text=Save this picture")
    assert waiting.value.suggested_filename == "crossviz-comparison.png"
    speaking.assert_quiet()


def test_the_figure_scrolls_in_its_own_frame_and_says_so(families_app, visit):
    page = visit(families_app, width=390).page
    compared(page, "crossviz-mini", "speaker")
    page.wait_for_selector(".cv-picture img:visible")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.locator(".cv-figure-hint:visible")).to_have_count(int(width == 390))
        frame, image = (page.locator(f".cv-picture {part}").bounding_box() for part in (".cv-figure-frame", "img"))
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= width
        assert (image["width"] > frame["width"] + 1) == (width == 390)
        scrolled = "e => { e.scrollLeft = 1e4; return e.scrollLeft + e.clientWidth - e.scrollWidth; }"
        assert abs(page.locator(".cv-figure-frame").evaluate(scrolled)) <= 1, width


def test_nothing_of_the_controls_is_cut_off(families_app, visit):
    page = visit(families_app).page
    save = page.locator(".cv-saving .cv-select")
    room = """e => {
      const pen = document.createElement("canvas").getContext("2d");
      const style = getComputedStyle(e);
      pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
      const widest = pen.measureText("numbers, JSON").width;
      return e.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - widest;
    }"""
    assert save.evaluate(room) >= 0
    choose(page, "absent:one")
    model = page.locator("#cv-model input")
    assert model.evaluate("e => parseFloat(getComputedStyle(e).paddingInlineEnd)") >= 20, "room for the arrow"


def test_too_few_models_are_refused_in_a_sentence(speaking):
    page = speaking.page
    compared(page, "speaker")
    page.wait_for_function("document.querySelector('#cv-compare-error-text').textContent !== ''")
    assert page.inner_text("#cv-compare-error-text") == "Choose 2 to 4 models to compare; 1 are chosen."
    assert page.locator(".cv-picture img:visible").count() == 0


def test_one_model_that_fails_does_not_lose_the_others(speaking, families_app, visit, monkeypatch):
    explain = Explainer.explain

    def broken(self, image, caption, *rest, **options):
        if self.info.name == "speaker":
            raise crossviz.ModelError("It has lost its voice.")
        return explain(self, image, caption, *rest, **options)

    page = speaking.page
    monkeypatch.setattr(Explainer, "explain", broken)
    compared(page, "crossviz-mini", "speaker")
    page.wait_for_selector(".cv-picture img:visible")
    assert "crossviz-mini, speaker" in page.get_attribute(".cv-picture img", "alt")
    speaking.assert_quiet()
    other = visit(families_app)  # on a page a second click counts only once the first is answered to the end
    monkeypatch.setattr(Explainer, "explain", lambda *_, **__: broken(Explainer("speaker"), None, ""))
    compared(other.page, "crossviz-mini", "speaker")
    other.page.wait_for_function("document.querySelector('#cv-compare-error-text').textContent !== ''")
    assert "It has lost its voice." in other.page.inner_text("#cv-compare-error-text")
    other.assert_quiet()


def test_axe_finds_nothing_in_what_families_add(families_app, visit):
    page = visit(families_app, color_scheme="light", bypass_csp=True).page
    choose(page, "speaker")
    page.wait_for_selector("#cv-write:visible")
    ask(page, "a man and his camera")
    compared(page, "crossviz-mini", "speaker")
    page.wait_for_selector(".cv-picture img:visible")
    hide(page, "man")
    page.evaluate(AXE)
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("(dark) => document.body.matches('.dark') === dark", arg=scheme == "dark")
        painted(page)
        # A control's colour may still be on its way from one scheme to the other.
        page.evaluate("document.getAnimations().forEach((one) => one.playState === 'running' && one.finish())")
        found = page.evaluate("axe.run({ include: ['#cv-page', '#cv-header'] })")["violations"]
        found = [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found]
        assert found == [], (width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
