"""A model named by its folder, on a page for this computer alone: chosen once, it can be compared with the others."""

import pytest
from playwright.sync_api import expect
from small_models import clip_folder
from test_families import choose, compared
from watched import free_port

from crossviz.web.app import build
from crossviz.web.page import launch


@pytest.fixture(scope="module")
def own_app():
    page = build(folders=True)
    yield launch(page, "127.0.0.1", free_port())
    page.close(verbose=False)


def test_a_folders_model_is_compared(own_app, visit, tmp_path):
    watched, name = visit(own_app), f"open_clip:{clip_folder(tmp_path / 'own')}"
    page = watched.page
    choose(page, name)
    page.click("#cv-explain")
    page.wait_for_selector(".cv-viewer:not([data-stale]):not([data-busy])")
    page.click("#cv-compare > button")
    expect(page.locator("#cv-compare-models label", has_text=name)).to_have_count(1)
    page.click("#cv-compare > button")
    compared(page, "crossviz-mini", name)
    page.wait_for_selector(".cv-picture img:visible")
    assert f"by crossviz-mini, {name}:" in page.get_attribute(".cv-picture img", "alt")
    watched.assert_quiet()
