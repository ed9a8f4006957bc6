"""Attention in two steps in the viewer: the strip of queries, and each query's own map on the photo."""

import base64
import dataclasses

import numpy as np
import pytest
from scenes import composed, guessed, meadow
from watched import AXE, ready

from crossviz.render.overlay import display_rgba
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise
from crossviz.render.scale import shared_scale

CANVAS = """() => {
  const canvas = crossvizView.view().stage.heat();
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
  return [canvas.width, canvas.height, btoa(text)];
}"""


def heat(page):
    width, height, text = page.evaluate(CANVAS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def queries(explanation):
    """The second step's maps as probabilities: `query gh gw`."""
    grid = explanation.grid
    maps = explanation.parts["pooler: queries to patches"].probs.double().mean((0, 1))
    return maps.unflatten(-1, (grid.height, grid.width)).numpy()


def shares(page):
    labels = page.locator(".cv-query").evaluate_all("es => es.map((e) => e.getAttribute('aria-label'))")
    return [float(label.split(", ")[1].replace("<\u202f", "").removesuffix("\u202f%")) / 100 for label in labels]


@pytest.fixture
def opened(show):
    """The viewer with the fold open and the word "frisbee" held, and the explanation."""
    explanation = composed()
    page = show(explanation).page
    page.click("summary")
    page.locator(".cv-chip", has_text="frisbee").click()
    page.mouse.move(0, 0)
    return page, explanation


def test_the_strip_shows_how_much_a_word_asks_each_query(opened):
    page, explanation = opened
    asks = explanation.parts["decoder: text to queries"].probs.double()
    frisbee = next(word for word in explanation.words if word.text == "frisbee")
    wanted = asks[:, :, frisbee.tokens[0]].mean((0, 1)).numpy()
    assert shares(page) == pytest.approx(wanted, abs=0.006)
    colours = page.locator(".cv-query").evaluate_all("es => es.map((e) => getComputedStyle(e).backgroundColor)")
    assert colours.count(colours[int(wanted.argmax())]) == 1
    dull = {colour for colour, share in zip(colours, wanted, strict=True) if share * 64 < 0.99}
    assert len(dull) == 1, "below chance nothing is drawn"
    page.select_option(".cv-controls select >> nth=0", "1")
    page.select_option(".cv-controls select >> nth=1", "3")
    assert shares(page) == pytest.approx(asks[1, 3, frisbee.tokens[0]].numpy(), abs=0.006)


def test_the_steps_together_are_the_map(opened):
    page, _ = opened
    together = page.evaluate(
        """() => {
          const { payload, field } = crossvizView.view();
          const { steps } = payload;
          const rows = new CrossvizViewer.Maps(steps.words, 1, steps.count);
          const maps = new CrossvizViewer.Maps(steps.queries, field.gh, field.gw);
          const word = payload.caption.words.findIndex(({ text }) => text === "frisbee");
          const parts = steps.layers.length * steps.heads;
          const sum = new Array(field.size).fill(0);
          for (let part = 0; part < parts; part++) {
            const row = rows.map(part * payload.caption.words.length + word);
            row.forEach((share, query) => {
              const map = maps.map(query);
              for (let i = 0; i < field.size; i++) sum[i] += (share * map[i]) / parts;
            });
          }
          return [sum, Array.from(field.values(word))];
        }"""
    )
    ours, map_of_word = (np.array(values) for values in together)
    assert np.abs(ours - map_of_word).max() < 0.01 * map_of_word.max()


def test_pointing_at_a_query_shows_its_own_map(opened):
    page, explanation = opened
    whole = heat(page)
    number = int(np.argmax(shares(page)))
    page.locator(".cv-query").nth(number).hover()
    assert page.inner_text(".cv-title") == f"query {number + 1} of 64"
    assert page.inner_text(".cv-steps-said").startswith(f"query {number + 1} of 64 has ")
    steps, exact = viewer_payload(explanation)["steps"], queries(explanation)
    maps = dequantise(steps["queries"], exact.shape)
    assert np.abs(maps - exact).max() <= 0.005 * exact.max()
    seen = heat(page)
    wanted = display_rgba(maps[number], shared_scale(exact, "probability"), seen.shape[1::-1], view=explanation.view)
    assert (seen[..., 3] != wanted[..., 3]).mean() < 1e-3
    # A canvas keeps colours multiplied by alpha.
    drawn = [picture[..., :3] * (picture[..., 3:] / 255) for picture in (seen, wanted)]
    assert np.abs(drawn[0] - drawn[1]).max() <= 3
    page.mouse.move(0, 0)
    assert np.array_equal(heat(page), whole)
    assert page.inner_text(".cv-title") == "frisbee"


def test_queries_by_keyboard(opened):
    page, _ = opened
    page.locator(".cv-query").first.focus()
    for key, number in (("ArrowRight", 2), ("ArrowDown", 34), ("ArrowLeft", 33), ("ArrowUp", 1), ("End", 64)):
        page.keyboard.press(key)
        assert page.inner_text(".cv-title") == f"query {number} of 64"
        assert page.inner_text(".cv-live").startswith(f"query {number} of 64 has ")
    page.keyboard.press("Escape")
    assert page.inner_text(".cv-title") == "frisbee"
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    assert page.inner_text(".cv-title") == "frisbee"
    assert page.locator('.cv-query[tabindex="0"]').count() == 1


def test_no_query_asks_the_server_and_the_fold_stays_open(opened):
    page, _ = opened
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    titles = page.evaluate(
        """() => [...document.querySelectorAll(".cv-query")].map((cell) => {
          cell.dispatchEvent(new PointerEvent("pointerenter", { pointerType: "mouse" }));
          return document.querySelector(".cv-readout .cv-title").textContent;
        })"""
    )
    assert titles == [f"query {number} of 64" for number in range(1, 65)]
    page.evaluate("crossvizView.update(crossvizView.view().payload)")
    assert asked == []
    assert page.locator(".cv-steps[open]").count() == 1


def test_attention_in_one_step_has_no_fold(show):
    page = show(meadow()).page
    assert page.locator(".cv-steps, .cv-hiding, .cv-hidden").count() == 0


@pytest.mark.parametrize("explanation", [composed(), guessed()], ids=["two steps", "hidden"])
def test_a_model_without_similarity_shows_none(show, explanation):
    page = show(explanation).page
    assert "Similarity" not in page.inner_text(".cv-notes")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert page.inner_text(".cv-title") == "The plain photo"
    assert "similarity" not in page.inner_text(".cv-readout")
    with_it = show(dataclasses.replace(explanation, similarity=0.25)).page
    assert "0.25 between photo and caption" in with_it.inner_text(".cv-notes")


def test_the_fold_needs_no_room_beyond_the_window(show):
    page = show(composed(), width=390).page
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    rows = page.locator(".cv-query").evaluate_all("es => new Set(es.map((e) => e.offsetTop)).size")
    assert rows == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("explanation", [composed(), guessed()], ids=["two steps", "hidden"])
def test_axe_finds_nothing(show, scheme, explanation):
    page = show(explanation, color_scheme=scheme, bypass_csp=True).page
    if explanation.parts:
        page.click("summary")
        page.locator(".cv-chip", has_text="frisbee").click()
    page.evaluate(AXE)
    found = page.evaluate("axe.run('#crossviz-viewer')")["violations"]
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found] == []


def test_the_queries_have_names_while_they_are_closed(show):
    page = show(composed()).page
    names = page.locator(".cv-query").evaluate_all("es => es.map((e) => e.getAttribute('aria-label'))")
    assert names[0] == f"query 1 of {len(names)}"
    assert len(set(names)) == len(names)


def test_heads_follow_a_word_that_was_passed_over_on_the_way_to_a_query(show):
    page = show(composed()).page
    page.click("summary")
    page.evaluate(
        """() => {
          const enter = (node) => node.dispatchEvent(new PointerEvent("pointerenter", { pointerType: "mouse" }));
          enter([...document.querySelectorAll(".cv-chip")].find((chip) => chip.textContent === "frisbee"));
          enter(document.querySelectorAll(".cv-query")[27]); // before the next frame
        }"""
    )
    ready(page)
    assert page.inner_text(".cv-title") == "query 28 of 64"
    assert page.inner_text(".cv-strip-title .cv-label") == "Every layer and head, for “frisbee”"
    assert page.locator(".cv-head").first.get_attribute("aria-label").startswith("layer 1, head 1: “frisbee” peaks at")
