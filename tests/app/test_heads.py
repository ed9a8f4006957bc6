"""The grid of layers and heads: its figures and orders, heads that are blended, and layers that play."""

import re

import numpy as np
import pytest
from scenes import meadow, shares, uneven
from test_pixels import READ, part_scale, rgba, sent
from watched import painted, pointed

from benchmarks.attention_like import attention_like
from crossviz.explanation import Explanation
from crossviz.render.overlay import display_rgba
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise
from crossviz.render.scale import shared_scale

STATE = "(({ layer, head }) => [layer, head])(crossvizView.view().state)"
NAMES = "es => es.map((e) => e.getAttribute('aria-label').split(':')[0])"


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def index_of(explanation, text):
    return next(word.index for word in explanation.words if word.text == text)


def heads(explanation: Explanation, word: int) -> np.ndarray:
    """The maps `layer head gh gw` as they were sent."""
    payload, grid = viewer_payload(explanation), explanation.grid
    shape = (len(payload["layers"]), payload["heads"], len(explanation.words), grid.height, grid.width)
    return dequantise(payload["maps"], shape)[:, :, word]


def figures(explanation: Explanation, word: int) -> dict[str, np.ndarray]:
    """`layer head`: entropy in bits, peak as displayed, null mass."""
    maps = heads(explanation, word)
    flat = np.maximum(maps.reshape(*maps.shape[:2], -1), 0)
    total = flat.sum(-1, keepdims=True)
    share = np.where(total > 0, flat / np.where(total > 0, total, 1), 1 / flat.shape[-1])  # nothing for it: all alike
    entropy = -np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0).sum(-1)
    factor = explanation.grid.num_patches if explanation.unit == "probability" else 1
    found = {"entropy": entropy, "peak": maps.max((2, 3)) * factor}
    if explanation.map.null_mass is not None:
        found["nullMass"] = explanation.map.null_mass[:, :, word].double().numpy()
    return found


@pytest.mark.parametrize("explanation", [uneven(), shares(2, 3)], ids=["probabilities", "signed"])
def test_figures_of_heads_are_those_of_python(show, explanation):
    page = show(explanation).page
    word = index_of(explanation, "dog")
    seen = page.evaluate("w => crossvizView.view().field.figures(w)", word)
    for name, wanted in figures(explanation, word).items():
        assert [one[name] for one in seen] == pytest.approx(wanted.ravel(), rel=1e-5, abs=1e-5), name
    if explanation.map.null_mass is None:
        assert {one["nullMass"] for one in seen} == {None}
        assert page.get_by_label("Sort by").locator("option", has_text="null").count() == 0


SORTED = [
    ("focused", "entropy", 1),
    ("spread", "entropy", -1),
    ("high", "peak", -1),
    ("low", "peak", 1),
    ("found", "nullMass", 1),
    ("null", "nullMass", -1),
]


def test_heads_are_sorted_by_each_figure(show):
    explanation = uneven()
    page = show(explanation).page
    for key, figure, sign in SORTED:
        chip(page, "dog").click()
        page.mouse.move(0, 0)
        painted(page)
        sorted_by(page, explanation, key, figure, sign)
        chip(page, "dog").click()  # let go
        page.mouse.move(0, 0)


def sorted_by(page, explanation, key, figure, sign):
    cells = page.locator(".cv-head")
    inner = [f"layer {layer + 1}, head {head + 1}" for layer in range(3) for head in range(4)]
    assert cells.evaluate_all(NAMES) == inner
    page.get_by_label("Sort by").select_option(key)
    painted(page)
    values = figures(explanation, index_of(explanation, "dog"))[figure].ravel()
    order = np.argsort(sign * values, kind="stable")
    assert cells.evaluate_all(NAMES) == [inner[i] for i in order], key
    assert page.locator(".cv-head-under b:visible").count() == 12
    first = page.locator(".cv-head-under b").first.inner_text()
    number = float(re.match("[0-9.]+", first).group())
    top = 100 * values[order[0]] if figure == "nullMass" else values[order[0]]
    assert number == pytest.approx(top, abs=0.5 if top >= 10 else 0.05), key
    assert first.endswith({"entropy": "bits", "peak": "×", "nullMass": "%"}[figure])
    # Another word has another order; the layers' own comes back.
    pointed(chip(page, "frisbee"))
    painted(page)
    values = figures(explanation, index_of(explanation, "frisbee"))[figure].ravel()
    assert cells.evaluate_all(NAMES) == [inner[i] for i in np.argsort(sign * values, kind="stable")], key
    page.get_by_label("Sort by").select_option("layer")
    painted(page)
    assert cells.evaluate_all(NAMES) == inner
    assert page.locator(".cv-heads-layer").all_inner_texts() == ["layer 1", "layer 2", "layer 3"]


@pytest.mark.parametrize("explanation", [uneven(), shares(3, 4)], ids=["probabilities", "signed, summed"])
def test_pinned_heads_are_blended_by_their_mean(show, explanation):
    page = show(explanation).page
    pins = [[0, 1], [2, 0], [2, 3]]
    chip(page, "dog").click()
    cells = page.locator(".cv-head")
    cells.nth(1).click()
    cells.nth(8).click(modifiers=["Shift"])
    cells.nth(11).click(modifiers=["Control"])
    page.mouse.move(0, 0)
    assert page.evaluate(STATE) == [None, pins]
    word = index_of(explanation, "dog")
    values = np.mean([heads(explanation, word)[layer, head] for layer, head in pins], axis=0)
    signed = explanation.map.signed
    scale = shared_scale(sent(explanation, None, None), explanation.unit, signed=signed)
    scale = part_scale(explanation, True, True, scale)
    name, size = "RdBu_r" if signed else "viridis", (240, 160)
    wanted = display_rgba(values, scale, size, view=explanation.view, opacity=0.85, cmap=name)
    seen = rgba(page.evaluate(READ, [word, None, pins, True, False, 0.85, name, *size]), *size)
    assert wanted[..., 3].max() > 10
    assert (seen != wanted).any(axis=-1).mean() < 2e-4
    if explanation.map.null_mass is not None:
        null = np.mean([explanation.null_mass("dog", layer=layer, head=head) for layer, head in pins])
        assert page.inner_text(".cv-found .cv-figure") == f"{100 * (1 - null):.0f}\u202f%"
    # It says which.
    assert page.inner_text(".cv-through") == "blend of 3 heads: layer 1, head 2; layer 3, head 1; 1 more"
    painted(page)
    said = page.inner_text(".cv-heads-said")
    assert said == "Pinned: blend of 3 heads: layer 1, head 2; layer 3, head 1; layer 3, head 4."
    assert page.locator('.cv-head[aria-pressed="true"]').count() == 3
    head = page.get_by_label("Head", exact=True)
    assert head.locator("option:checked").inner_text() == "3 pinned"
    cells.nth(8).click()  # a click on a pinned one lets it go
    cells.nth(11).click()
    page.mouse.move(0, 0)
    assert page.evaluate(STATE) == [0, 1]
    assert page.inner_text(".cv-through") == "layer 1, head 2"
    cells.nth(3).click()
    page.get_by_label("Layer", exact=True).select_option("2")  # a choice from the list takes the place of the pins
    assert page.evaluate(STATE) == [2, None]
    painted(page)
    assert page.locator('.cv-head[aria-pressed="true"]').count() == 0
    assert head.input_value() == "all"


def test_heads_by_keyboard(show):
    page = show(uneven()).page
    chip(page, "dog").click()
    page.get_by_label("Sort by").select_option("focused")
    painted(page)
    cells = page.locator(".cv-head")
    page.locator('.cv-head[tabindex="0"]').focus()
    page.keyboard.press("Home")
    painted(page)
    names = cells.evaluate_all(NAMES)
    page.keyboard.press("ArrowRight")
    painted(page)
    assert page.inner_text(".cv-heads-said").startswith(names[1] + ":")
    assert "bits" in page.inner_text(".cv-heads-said") and "null" in page.inner_text(".cv-heads-said")
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    painted(page)
    assert page.locator('.cv-head[aria-pressed="true"]').evaluate_all(NAMES) == [names[1], names[-1]]
    assert "Unpin all" in page.locator(".cv-strip-head button:visible").all_inner_texts()
    page.keyboard.press("Escape")
    painted(page)
    assert page.evaluate(STATE) == [None, None]
    assert page.locator('.cv-head[aria-pressed="true"]').count() == 0
    assert page.inner_text(".cv-through") == "mean of 3 layers × 4 heads"


def test_layers_play_to_the_last_and_any_key_or_press_pauses(serve):
    page = serve(meadow(layers=4, heads=2), reduced_motion="no-preference").page
    chip(page, "dog").click()
    play = page.locator(".cv-play")
    assert play.inner_text() == "Play layers"
    play.click()
    assert play.inner_text() == "Pause"
    assert page.evaluate(STATE) == [0, None]
    assert page.get_by_label("Layer", exact=True).input_value() == "0"
    first = page.inner_text(".cv-through")
    assert first == "layer 1, mean of its heads"
    page.clock.run_for(1000)
    assert page.evaluate(STATE) == [1, None]
    page.keyboard.press("Shift")
    assert play.inner_text() == "Play layers"
    assert page.inner_text(".cv-live") == "layer 2, 2 of 4, heads averaged."
    page.clock.run_for(3000)
    assert page.evaluate(STATE) == [1, None]
    play.click()  # goes on where it was
    assert page.evaluate(STATE) == [2, None]
    page.mouse.click(2, 2)
    page.clock.run_for(3000)
    assert page.evaluate(STATE) == [2, None]
    play.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(STATE) == [3, None]
    assert play.inner_text() == "Play layers"  # that was the last
    page.keyboard.press("Enter")
    page.clock.run_for(10_000)
    assert page.evaluate(STATE) == [3, None]  # from the first to the last, and no further
    assert play.inner_text() == "Play layers"
    play.click()
    play.click()  # its own click pauses
    page.clock.run_for(3000)
    assert page.evaluate(STATE) == [0, None]
    page.evaluate("crossvizView.update(crossvizView.view().payload)")  # nothing plays on in the next explanation
    page.clock.run_for(3000)
    assert page.evaluate(STATE) == [0, None]


def test_where_reduced_motion_is_asked_layers_go_by_press_only(serve):
    page = serve(meadow(layers=3, heads=2)).page
    button = page.locator(".cv-play")
    assert button.inner_text() == "Next layer"
    for wanted in (0, 1, 2, 0):
        button.click()
        page.clock.run_for(5000)
        assert page.evaluate(STATE) == [wanted, None]
    assert page.inner_text(".cv-live") == "layer 1, 1 of 3, heads averaged."
    assert button.inner_text() == "Next layer"


def test_one_layer_has_nothing_to_play(show):
    assert show(meadow()).page.locator(".cv-play").count() == 0


@pytest.mark.parametrize("order", ["layer", "focused"])
@pytest.mark.parametrize("width", [390, 1280])
def test_many_heads_share_one_canvas_and_each_lies_in_its_cell(show, order, width):
    explanation = attention_like()
    page = show(explanation, width=width).page
    assert page.locator(".cv-head").count() == 144 and page.locator(".cv-heads canvas").count() == 1
    word = index_of(explanation, "coat")
    chip(page, "coat").click()
    page.get_by_label("Sort by").select_option(order)
    painted(page)
    scale = shared_scale(sent(explanation, None, None), "probability")
    wanted = np.clip(scale.position(heads(explanation, word)), 0, 1).reshape(144, -1) ** 0.75  # alpha's ramp
    # The canvas's alpha in the middle of every patch of every cell.
    seen = page.evaluate(
        """() => {
          const canvas = document.querySelector(".cv-heads-canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [...document.querySelectorAll(".cv-head-map")].map((cell) =>
            Array.from({ length: 256 }, (_, i) => {
              const x = Math.floor(cell.offsetLeft + (cell.offsetWidth * ((i % 16) + 0.5)) / 16);
              const y = Math.floor(cell.offsetTop + (cell.offsetHeight * (Math.floor(i / 16) + 0.5)) / 16);
              return data[4 * (y * canvas.width + x) + 3] / 255;
            }));
        }"""
    )
    names = [f"layer {layer + 1}, head {head + 1}" for layer in range(12) for head in range(12)]
    seen = np.array(seen)[np.argsort([names.index(name) for name in page.locator(".cv-head").evaluate_all(NAMES)])]
    drawn = np.flatnonzero(wanted.max(axis=1) > 0.3)
    assert len(drawn) > 50
    likeness = np.corrcoef(seen[drawn], wanted[drawn])[: len(drawn), len(drawn) :]
    assert (np.diag(likeness) > 0.9).all()
    assert (likeness.argmax(axis=1) == np.arange(len(drawn))).all()


def test_the_grid_follows_the_last_of_many_words(show):
    """Maps that are outdated before they are drawn are left; the grid says that it is busy until it is not."""
    explanation = attention_like()
    page = show(explanation).page
    busy = page.evaluate(
        """() => new Promise((done) => {
          const grid = document.querySelector(".cv-heads");
          new MutationObserver(() => done(grid.ariaBusy)).observe(grid, { attributeFilter: ["aria-busy"] });
          for (const chip of document.querySelectorAll(".cv-chip")) {
            chip.dispatchEvent(new PointerEvent("pointerenter", { pointerType: "mouse" }));
          }
        })"""
    )
    assert busy == "true"
    last = explanation.words[-1].text
    painted(page)
    assert page.inner_text(".cv-strip h2") == f"Every layer and head, for “{last}”"
    wanted = figures(explanation, len(explanation.words) - 1)
    names = page.locator(".cv-head").evaluate_all("es => es.map(e => e.getAttribute('aria-label'))")
    assert all(f"“{last}”" in name for name in names) and len(names) == wanted["entropy"].size


@pytest.mark.parametrize("width", [390, 768, 1280, 1600])
def test_the_order_is_chosen_at_the_edge_and_nothing_moves_when_heads_are_pinned(show, width):
    page = show(uneven(), width=width, height=3000).page  # a click must not scroll
    select, strip = page.get_by_label("Sort by"), page.locator(".cv-strip")
    place, whole = select.bounding_box(), strip.bounding_box()
    assert place["x"] + place["width"] == pytest.approx(whole["x"] + whole["width"], abs=1)
    page.locator(".cv-head").nth(0).click()
    clear = page.get_by_role("button", name="Unpin all").bounding_box()
    assert select.bounding_box() == place and strip.bounding_box() == whole
    assert clear["x"] + clear["width"] <= whole["x"] + whole["width"] + 1
