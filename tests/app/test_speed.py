"""What can be said of speed on any machine: nothing is asked, nothing moves, and no more is drawn than must be."""

import pytest
from watched import painted, pointed, ready

from benchmarks.attention_like import OTHER_CAPTION, attention_like
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload

SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shifts += entry.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
COUNT = """() => {
  const real = CanvasRenderingContext2D.prototype.putImageData;
  window.drawn = [];
  CanvasRenderingContext2D.prototype.putImageData = function (...what) {
    drawn.push(this.canvas.className);
    return real.apply(this, what);
  };
}"""


@pytest.fixture
def large(visit):
    """The page of an explanation as large as the viewer is meant for, which notes how far anything moves."""
    watched = visit(bypass_csp=True)
    content = standalone_page(viewer_payload(attention_like())).decode()
    watched.page.set_content(content.replace("<head>", f"<head><script>{SHIFTS}</script>", 1))
    ready(watched.page)
    return watched


def test_nothing_moves_and_nothing_is_asked_while_words_are_pointed_at(large):
    page, asked = large.page, []
    page.on("request", lambda request: asked.append(request.url))
    for index in range(page.locator(".cv-chip").count()):
        pointed(page.locator(".cv-chip").nth(index))
        painted(page)
    assert asked == []
    assert page.evaluate("shifts") == 0


def test_nothing_moves_when_a_new_answer_comes(large):
    page = large.page
    other = viewer_payload(attention_like(OTHER_CAPTION, seed=1))
    page.evaluate("(payload) => crossvizView.update(payload)", other)
    ready(page)
    assert page.get_attribute(".cv-viewer", "data-ready") == other["id"]
    assert page.evaluate("shifts") == 0


def test_pointing_at_a_head_draws_its_map_on_the_photo_and_no_other(large):
    page = large.page
    page.evaluate(COUNT)
    pointed(page.locator(".cv-head").nth(30))
    painted(page)
    assert page.evaluate("drawn.splice(0)") == ["cv-heat cv-front"]  # not the grid, which shows the same
    pointed(page.locator(".cv-head").nth(31))
    pointed(page.locator(".cv-head").nth(32))
    painted(page)
    assert set(page.evaluate("drawn.splice(0)")) == {"cv-heat cv-front"}


def test_the_grid_is_drawn_once_for_a_word(large):
    page = large.page
    page.evaluate(COUNT)
    pointed(page.locator(".cv-chip").nth(2))
    painted(page)
    assert page.evaluate("drawn.splice(0)").count("") == 144  # each by way of a small canvas
    page.get_by_label("Layer", exact=True).select_option("3")
    painted(page)
    assert page.evaluate("drawn.splice(0)").count("") == 0
