"""What the viewer's component makes of what the server says, above all of what comes after a question was cancelled.

Its script runs in a page by itself, told what Gradio would tell it, so that "too late" is no matter of time.
"""

import pytest
from scenes import meadow

from crossviz.render.payload import viewer_payload
from crossviz.web import viewer_css
from crossviz.web.components import STALE, envelope, viewer

_START = """([script, value]) => {
  document.body.innerHTML = '<label id="cv-caption"><textarea></textarea></label>' +
    '<div id="cv-viewer"><div class="cv-host"></div></div>';
  const props = { value };
  let told = null;
  window.triggered = [];
  const watch = (_, call) => (told = call);
  const trigger = (name) => triggered.push(name);
  const run = new Function("element", "props", "trigger", "watch", script);
  run(document.querySelector("#cv-viewer"), props, trigger, watch);
  window.tell = (value) => { props.value = value; told(); };
}"""


@pytest.fixture
def told(visit):
    """`told(**content)`: the component is told an envelope; `told.page` is its page, opened with a drawn picture."""
    page = visit().page
    opened = viewer(envelope(payload=viewer_payload(meadow())), "cv-viewer")
    page.add_style_tag(content=viewer_css())
    page.evaluate(_START, [opened.js_on_load, opened.value])

    def tell(**content):
        page.evaluate("(value) => tell(value)", envelope(**content))

    tell.page = page
    return tell


def seen(page):
    """What is being done, what is said of the old picture, the caption's field, and the words of the picture."""
    texts = {name: page.locator(f".{name}:visible").all_inner_texts() for name in ("cv-busy-text", "cv-stale")}
    return *texts.values(), page.input_value("textarea"), page.text_content(".cv-words")


def test_what_a_cancelled_question_still_says_is_dropped(told):
    page, words = told.page, told.page.text_content(".cv-words")
    told(busy="writing: a dog", caption="a dog", job=3)
    assert seen(page) == (["writing: a dog"], [], "a dog", words)
    page.click(".cv-over .cv-link")
    assert page.evaluate("triggered") == ["cancel"]
    assert seen(page) == ([], [STALE], "a dog", words)
    told(busy="writing: a dog is", caption="a dog is", job=3)
    told(stale="Something else.", job=3)
    assert seen(page) == ([], [STALE], "a dog", words)
    told(busy="asking every word", job=4)
    assert seen(page) == (["asking every word"], [], "a dog", words)


def test_a_picture_that_comes_too_late_is_shown_since_the_server_holds_it(told):
    page = told.page
    told(busy="writing: two dogs", caption="two dogs", job=8)
    page.click(".cv-over .cv-link")
    told(payload=viewer_payload(meadow("two dogs")), busy="writing: two dogs r", caption="two dogs r", job=8)
    assert seen(page) == ([], [STALE], "two dogs", "two dogs")
    told(payload=viewer_payload(meadow("a zebra")), job=8)
    assert seen(page) == ([], [], "two dogs", "a zebra")


def test_a_new_question_takes_the_note_on_the_old_picture_away(told):
    page = told.page
    told(stale="Not this one.", job=1)
    assert seen(page)[:2] == ([], ["Not this one."])
    told(busy="reading the photo", job=2)
    assert seen(page)[:2] == (["reading the photo"], [])


def test_the_caption_is_typed_as_a_reader_types_it(told):
    page = told.page
    page.evaluate(
        "() => { window.typed = []; document.querySelector('textarea').oninput = (e) => typed.push(e.target.value); }"
    )
    told(busy="writing: a", caption="a", job=1)
    told(payload=viewer_payload(meadow("a dog")), caption="a dog", job=1)
    assert page.evaluate("typed") == ["a", "a dog"]
    assert page.evaluate("triggered") == []
