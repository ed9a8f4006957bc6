"""A link with a question in it fills in the fields, as text and nothing else."""

from urllib.parse import urlencode

EVIL = """<img src=x onerror=alert(1)> ${alert(2)} {{value}} "quoted" 'so'"""


def test_a_link_fills_in_caption_model_and_method(app, visit):
    watched = visit(f"{app}/?{urlencode({'caption': 'a tall tower', 'method': 'occlusion'})}")
    page = watched.page
    page.wait_for_function("document.querySelector('#cv-caption textarea').value === 'a tall tower'")
    page.wait_for_function("document.querySelector('#cv-method input').value === 'Occlusion'")
    page.click("#cv-explain")
    page.wait_for_function("document.querySelectorAll('.cv-chip').length === 3")
    assert page.locator(".cv-chip").all_inner_texts() == ["a", "tall", "tower"]
    watched.assert_quiet()


def test_what_a_link_holds_is_never_run(app, visit):
    watched = visit(f"{app}/?{urlencode({'caption': EVIL, 'model': EVIL, 'other': EVIL})}")
    page = watched.page
    page.wait_for_function("([text]) => document.querySelector('#cv-caption textarea').value === text", arg=[EVIL])
    page.click("#cv-explain")
    page.wait_for_function("document.querySelector('#cv-model-error-text').textContent !== ''")
    assert "There is no model" in page.text_content("#cv-model-error-text")
    assert page.locator("img[src=x]").count() == 0
    watched.assert_quiet()
