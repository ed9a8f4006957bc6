"""The embedded models of the other families on the page, as they are: coca-mini writes, vilt-mini guesses."""

import pytest
from playwright.sync_api import expect
from test_families import compared, hide
from test_page import ask, chips, choose, errors

import crossviz
from crossviz.web.examples import examples


def test_coca_mini_writes_a_caption_and_shows_its_two_steps(app, visit):
    watched = visit(app)
    page = watched.page
    choose(page, "coca-mini")
    page.wait_for_selector("#cv-write:visible")
    about = page.locator("#cv-model-about-text")
    expect(about).to_contain_text("Its attention goes from text tokens to image patches")
    page.fill("#cv-caption textarea", "")
    page.click("#cv-write")
    page.wait_for_function(
        "!document.querySelector('.cv-viewer[data-busy]') && document.querySelector('.cv-steps') !== null"
        " && document.querySelector('#cv-caption textarea').value === document.querySelector('.cv-words').textContent"
    )
    explainer = crossviz.Explainer("coca-mini")
    *_, caption = explainer.write(explainer.encode(examples()[0].photo))
    assert page.input_value("#cv-caption textarea") == caption.strip()
    assert len(chips(page)) == len(explainer.explain(examples()[0].photo, caption.strip()).words)
    page.click("summary")
    count = page.locator(".cv-query").count()
    page.locator(".cv-query").nth(count - 1).hover()
    assert page.inner_text(".cv-title") == f"query {count} of {count}"
    assert errors(page) == {}
    watched.assert_quiet()


def test_vilt_mini_guesses_a_hidden_word(app, visit):
    watched = visit(app)
    page = watched.page
    choose(page, "vilt-mini")
    page.wait_for_function("document.querySelector('#cv-model-about-text').textContent.includes('ViLT')")
    ask(page, "a man with a camera")
    hide(page, "camera")
    shown = page.locator(".cv-hiding li .cv-rank-name").all_inner_texts()
    found = crossviz.Explainer("vilt-mini").explain(examples()[0].photo, "a man with a camera", hide="camera")
    assert [text.removesuffix(" (as written)") for text in shown] == [text for text, _ in found.guesses[0].choices[:5]]
    page.click("text=Show it again")
    page.wait_for_selector("text=Hide it, let the model guess")
    assert "Similarity" not in page.inner_text(".cv-notes")
    assert errors(page) == {}
    watched.assert_quiet()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_families_are_compared_on_one_scale(app, visit, width):
    watched = visit(app, width=width)
    page = watched.page
    ask(page, "a man with a camera on the grass")
    compared(page, "crossviz-mini", "coca-mini", "vilt-mini")
    page.wait_for_selector(".cv-picture img:visible")
    assert "crossviz-mini, coca-mini, vilt-mini" in page.get_attribute(".cv-picture img", "alt")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watched.assert_quiet()
