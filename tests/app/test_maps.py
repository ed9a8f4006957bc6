"""Maps on their way to the screen: the browser reads the numbers that Python wrote, and draws no outdated answer."""

import json

import factories
import numpy as np
import pytest
from playwright.sync_api import expect
from scenes import composed, meadow, shares
from watched import ready

from benchmarks.attention_like import attention_like
from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise

READ = """([name, shape]) => {
  const { payload } = crossvizView.view();
  const block = name.split(".").reduce((part, key) => part[key], payload);
  const maps = new CrossvizViewer.Maps(block, ...shape);
  return Array.from({ length: block.count }, (_, i) => Array.from(maps.map(i)));
}"""
# Holds back the first blocks that are unpacked until `letGo` is called.
HOLD = """(count) => {
  const real = Response.prototype.arrayBuffer;
  const gate = new Promise((done) => (window.letGo = done));
  let held = 0;
  Response.prototype.arrayBuffer = async function () {
    const first = held++ < count;
    const data = await real.call(this);
    if (first) await gate;
    return data;
  };
}"""


@pytest.mark.parametrize(
    ("explanation", "name"),
    [
        (meadow(), "means"),
        (shares(3, 4), "maps"),
        (attention_like(layers=3, heads=2), "maps"),
        (composed(), "steps.words"),
        (composed(), "steps.queries"),
    ],
    ids=["probabilities", "signed", "unlike each other", "first step", "second step"],
)
def test_the_browser_reads_what_python_wrote_to_the_last_bit(show, explanation, name):
    payload = viewer_payload(explanation)
    block, grid = payload, [payload["grid"]["height"], payload["grid"]["width"]]
    for key in name.split("."):
        block = block[key]
    shape = [1, payload["steps"]["count"]] if name == "steps.words" else grid
    seen = np.array(show(explanation).page.evaluate(READ, [name, shape]))
    assert (seen == dequantise(block, (block["count"], *shape)).reshape(block["count"], -1)).all()


def test_few_levels_and_both_ways_of_packing_are_read(show):
    found = {}
    for explanation in (attention_like(), factories.explanation(grid=factories.PatchGrid(16, 16))):
        block = viewer_payload(explanation)["maps"]
        found[block["levels"]] = block["predicted"]
        seen = np.array(show(explanation).page.evaluate(READ, ["maps", [16, 16]]))
        assert (seen == dequantise(block, (block["count"], 16, 16)).reshape(block["count"], -1)).all()
    assert found == {32: True, 256: False}


def test_of_two_answers_the_newer_is_drawn_though_it_is_read_first(show):
    page = show(meadow()).page
    texts = ["a dog", "a red frisbee"]
    page.evaluate(HOLD, 2)
    page.evaluate(
        "([old, now]) => { window.both = [crossvizView.update(old), crossvizView.update(now)]; }",
        [viewer_payload(meadow(text)) for text in texts],
    )
    expect(page.locator(".cv-words")).to_have_text(texts[1])
    ready(page)
    drawn = page.get_attribute(".cv-viewer", "data-ready")
    page.evaluate("async () => { letGo(); await Promise.all(both); }")
    assert page.inner_text(".cv-words").split() == texts[1].split()
    assert page.get_attribute(".cv-viewer", "data-ready") == drawn == viewer_payload(meadow(texts[1]))["id"]


def test_what_was_drawn_stays_until_the_next_can_be_and_is_not_called_ready(show):
    page = show(meadow("a dog")).page
    page.evaluate(HOLD, 2)
    page.evaluate(
        "(next) => { crossvizView.update(next); crossvizView.busy('writing'); }", viewer_payload(meadow("a frisbee"))
    )
    assert page.locator(".cv-viewer[data-ready]").count() == 0
    assert page.inner_text(".cv-words").split() == ["a", "dog"]
    assert page.evaluate("[crossvizView.payload().caption.text, crossvizView.view().payload.caption.text]") == [
        "a frisbee",
        "a dog",
    ]
    page.evaluate("letGo()")
    ready(page)
    assert page.inner_text(".cv-words").split() == ["a", "frisbee"]
    assert page.inner_text(".cv-pill:visible") == "writing"  # said of what comes after it


def test_a_browser_that_can_not_unpack_says_so(visit):
    watched = visit()
    page = watched.page
    page.add_init_script("delete window.DecompressionStream")
    page.goto("about:blank")
    page.set_content(standalone_page(viewer_payload(meadow())).decode())
    said = page.get_by_role("alert")
    expect(said).to_have_text(
        "This browser can't unpack the maps: it has no DecompressionStream. Open this page with Chrome or Edge 80, "
        "Firefox 113, Safari 16.4 or any later one."
    )
    assert said.is_visible()
    assert page.locator(".cv-viewer[data-ready]").count() == 0
    watched.assert_quiet()


def test_damaged_maps_are_said_to_be_and_the_next_answer_is_drawn(show):
    watched = show(meadow())
    page = watched.page
    payload = viewer_payload(meadow("a dog"))
    broken = json.loads(json.dumps(payload))
    broken["means"]["data"] = broken["means"]["data"][:40]
    page.evaluate("(next) => crossvizView.update(next)", broken)
    said = page.locator(".cv-unable")
    assert said.inner_text() == "The maps of this page are damaged and can't be unpacked: save or load it again."
    assert page.locator(".cv-chip").count() == 0
    page.evaluate("(next) => crossvizView.update(next)", payload)
    ready(page)
    assert said.count() == 0 and page.locator(".cv-chip").count() == 2
    watched.assert_quiet()
