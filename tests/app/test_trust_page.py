"""The checks in the running app: asked for by resting on a word, ended, kept, saved, and each visitor's own."""

import functools
import logging
import threading

import pytest
from playwright.sync_api import Page
from test_page import ask, save
from watched import pointed, until

import crossviz
from crossviz.web.engine import Engine
from crossviz.web.examples import examples

PATIENCE = 60_000
"""Milliseconds: all checks of a first word take seconds on two idle cores, and far longer on busy ones."""


def chip(page: Page, text: str):
    return page.locator(".cv-chip", has_text=text).first


def wait_for(page: Page, name: str) -> None:
    """Until a check's line in the list holds a figure."""
    page.wait_for_function(
        "([name]) => [...document.querySelectorAll('.cv-tab')].some("
        "(tab) => tab.firstChild.textContent === name && /[0-9]/.test(tab.lastChild.textContent))",
        arg=[name],
        timeout=PATIENCE,
    )


@pytest.fixture
def quick(monkeypatch):
    """Real checks, but only the quickest of them."""
    steps = crossviz.Explainer.trust_steps
    monkeypatch.setattr(crossviz.Explainer, "trust_steps", functools.partialmethod(steps, checks=["head_effect"]))


@pytest.fixture
def slow(monkeypatch):
    """A check that is not done before it is let go; `ended` notes the words whose check was closed."""

    class Slow:
        def __init__(self) -> None:
            self.go_on = threading.Event()
            self.began: list[str] = []
            self.ended: list[str] = []

    held = Slow()

    def steps(self, explanation, model, span):
        text = explanation.caption.phrase(span=span).text
        held.began.append(text)
        try:
            while not held.go_on.wait(0.05):
                yield 0.5, f"looking long at {text}"
        finally:
            held.ended.append(text)
        return crossviz.trust.TrustReport(span, text, explanation.method, 1.0, 0)

    monkeypatch.setattr(Engine, "trust_steps", steps)
    yield held
    held.go_on.set()


def test_resting_on_a_word_checks_its_map_and_saving_keeps_the_figures(app, visit, tmp_path):
    """Every check, for real."""
    watched = visit(app)
    page = watched.page
    word = next(word for word in examples()[0].caption.split() if len(word) > 4)
    pointed(chip(page, word))
    page.wait_for_selector(".cv-progress:visible")
    wait_for(page, "Beyond chance")
    said = page.inner_text(".cv-trust-said")
    briefs = dict(text.split("\n") for text in page.get_by_role("tab").all_inner_texts() if "\n" in text)
    assert set(briefs) >= {"Beyond chance", "Taking it away", "Shuffled weights", "Other methods", "Heads that matter"}
    for name in briefs:
        page.get_by_role("tab", name=name).click()
        assert page.locator(".cv-check-panel > *").count() > 1
    chip(page, word).click()
    for suffix in (".npz", ".html"):
        name, path = save(page, suffix)
        loaded = crossviz.load(path.rename(tmp_path / name))
        [report] = loaded.trust.values()
        assert report.text == word.strip(",.")
        assert report.sentence == said
        assert len(report.made) == 5
    alone = visit().page
    alone.set_content((tmp_path / name).read_text("utf-8"))
    alone.wait_for_selector(".cv-viewer[data-ready]")
    chip(alone, word).click()
    assert alone.inner_text(".cv-trust-said") == said
    watched.assert_quiet()


def test_another_word_ends_the_check_on_the_server(app, visit, slow):
    watched = visit(app)
    page = watched.page
    ask(page, "a man and his camera")
    pointed(chip(page, "man"))
    page.wait_for_selector(".cv-doing:text('looking long at man')")
    pointed(chip(page, "camera"))
    page.wait_for_selector(".cv-doing:text('looking long at camera')")
    assert slow.ended == ["man"]
    page.click("text=Stop")
    until(page, lambda: slow.ended == ["man", "camera"])
    assert slow.began == ["man", "camera"]
    watched.assert_quiet()


def test_a_check_holds_up_no_explanation(app, visit, slow):
    """Also not that of another visitor; and its answer never lands on another explanation."""
    one, other = visit(app).page, visit(app).page
    ask(one, "a man and his camera")
    pointed(chip(one, "man"))
    one.wait_for_selector(".cv-doing:text('looking long at man')")
    ask(other, "grey grass")
    assert other.locator(".cv-chip").all_inner_texts() == ["grey", "grass"]
    pointed(chip(other, "grass"))
    other.wait_for_selector(".cv-doing:text('waiting for the server')")  # one at a time
    ask(one, "a tower")  # ends the check that it had
    other.wait_for_selector(".cv-doing:text('looking long at grass')")
    assert slow.ended == ["man"]
    assert one.inner_text(".cv-trust-said").startswith("The map of")


def test_a_visitor_who_leaves_ends_the_check(app, visit, slow):
    page = visit(app).page
    ask(page, "a man and his camera")
    pointed(chip(page, "man"))
    page.wait_for_selector(".cv-doing:text('looking long at man')")
    page.goto("about:blank")
    until(page, lambda: slow.ended == ["man"])


def test_a_box_is_each_visitors_own(app, visit, quick):
    one, other = visit(app).page, visit(app).page
    first = examples()[0].caption.split()
    word = next(word for word in first if len(word) > 4)
    for page in (one, other):
        chip(page, word).click()
    one.get_by_role("tab", name="Inside your box").click()
    one.click("text=Mark the thing")
    one.locator(".cv-frame").scroll_into_view_if_needed()
    frame = one.locator(".cv-frame").bounding_box()
    one.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.1 * frame["height"])
    one.mouse.down()
    one.mouse.move(frame["x"] + 0.7 * frame["width"], frame["y"] + 0.9 * frame["height"], steps=3)
    one.mouse.up()
    wait_for(one, "Inside your box")
    wait_for(one, "Heads that matter")
    assert "inside" in one.get_by_role("tab", name="Inside your box").inner_text()
    assert "of the map lies in the box" in one.inner_text(".cv-trust-said")
    for page, boxes in ((one, 1), (other, 0)):
        wait_for(page, "Heads that matter")
        page.mouse.move(0, 0)
        _, path = save(page, ".json")
        trust = crossviz.load(path.rename(path.with_suffix(".json"))).trust
        assert sum(report.localisation is not None for report in trust.values()) == boxes
        assert all("head_effect" in report.made for report in trust.values())
    found = [report.localisation for report in trust.values()]
    assert found == [None]
    one.click("text=Remove the box")
    one.wait_for_function("() => !document.querySelector('.cv-trust-said').textContent.includes('box')")
    _, path = save(one, ".json")
    [report] = crossviz.load(path.rename(path.with_suffix(".json"))).trust.values()
    assert report.localisation is None


def test_what_a_check_cannot_do_is_one_sentence_in_the_panel(app, visit, monkeypatch, caplog):
    def broken(*_):
        yield 0.0, "about to break"
        raise RuntimeError("secret internals")

    watched = visit(app)
    page = watched.page
    ask(page, "a man and his camera")
    monkeypatch.setattr(Engine, "trust_steps", broken)
    with caplog.at_level(logging.ERROR, "crossviz.web.trust_events"):
        pointed(chip(page, "man"))
        page.wait_for_selector(".cv-trust-failed")
    assert "logged" in page.inner_text(".cv-trust-said")
    assert "secret" not in page.content()
    assert "secret internals" in caplog.text

    def refused(*_):
        raise crossviz.errors.MethodError("This map has no match to lower.")
        yield

    monkeypatch.setattr(Engine, "trust_steps", refused)
    page.click("text=Try again")
    page.wait_for_selector(".cv-trust-failed > :text('This map has no match to lower.')")
    watched.assert_quiet()


def test_methods_say_what_they_are_and_which_ignore_the_words(app, visit):
    watched = visit(app)
    page = watched.page
    infos = {info.name: info for info in crossviz.methods()}
    page.click("#cv-method input")
    page.locator(f'#cv-method li[aria-label="{infos["rollout"].title}"]').click()
    page.wait_for_function(
        "([paper]) => document.querySelector('#cv-method-about-text').textContent.includes(paper)",
        arg=[infos["rollout"].paper],
    )
    about = page.text_content("#cv-method-about-text")
    assert infos["rollout"].sentence in about
    assert infos["rollout"].unit in about
    ask(page, "a man and his camera")
    assert "does not depend on the words" in page.inner_text(".cv-plainly")
    assert page.inner_text(".cv-readout .cv-headline") == "the same map as for every other word"
    watched.assert_quiet()
