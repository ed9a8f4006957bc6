"""The remembered first explanation: the same as a computed one, only sooner, and never out of date."""

import os
import shutil

import pytest
from playwright.sync_api import expect
from watched import free_port, ready

from crossviz.web import opening as module
from crossviz.web import page
from crossviz.web.engine import Engine
from crossviz.web.opening import opening, remembered


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "crossviz"


@pytest.fixture
def computed(home):
    engine = Engine("crossviz-mini")
    assert remembered(engine) is None
    return opening(engine)


def test_what_is_remembered_is_what_was_computed(home, computed):
    fresh = Engine("crossviz-mini")
    assert opening(fresh) == computed
    assert fresh.loaded("crossviz-mini") is None


def test_a_damaged_file_is_made_anew(home, computed):
    (file,) = home.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert remembered(Engine("crossviz-mini")) is None
    assert opening(Engine("crossviz-mini")) == computed
    assert remembered(Engine("crossviz-mini")) == computed


def test_changed_code_is_not_answered_from_memory(home, computed, tmp_path, monkeypatch):
    copy = shutil.copytree(module.PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    assert remembered(Engine("crossviz-mini")) is None
    first = opening(Engine("crossviz-mini"))
    assert remembered(Engine("crossviz-mini")) == first
    os.utime(copy / "attention.py", ns=(1, 1))
    assert remembered(Engine("crossviz-mini")) is None
    opening(Engine("crossviz-mini"))
    assert len(list(home.iterdir())) == 1  # older ones are cleared away


def test_a_home_that_cannot_be_written_to_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert opening(Engine("crossviz-mini")).caption.text


def test_other_models_are_not_remembered(home):
    assert remembered(Engine("open_clip:ViT-B-16/openai")) is None


def test_a_page_served_before_the_model_is_loaded_fills_its_lists(computed, visit):
    engine = Engine("crossviz-mini")
    blocks = page.build(engine, opening(engine))
    assert engine.loaded("crossviz-mini") is None
    watched = visit(page.launch(blocks, "127.0.0.1", free_port()))
    tab = watched.page
    tab.wait_for_selector("#cv-method:visible")
    expect(tab.locator("#cv-method-about-text")).to_contain_text("Unit: probability")
    tab.click("#cv-model input")
    tab.wait_for_selector('#cv-model li[aria-label^="ViT-B-16"]')
    tab.keyboard.press("Escape")
    tab.fill("#cv-caption textarea", "a man")
    tab.press("#cv-caption textarea", "Enter")
    tab.wait_for_function("document.querySelectorAll('.cv-chip').length === 2")
    ready(tab)
    watched.assert_quiet()
    blocks.close(verbose=False)
