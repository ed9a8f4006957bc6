"""Words taken together as one phrase: by drag, by Shift and click, by Shift and the arrow keys."""

import dataclasses
import itertools

import numpy as np
import pytest
from playwright.sync_api import expect
from reports import checked
from scenes import DOG, composed, meadow, shares
from test_pixels import READ, part_scale, rgba, sent
from watched import AXE, painted, pointed

from crossviz.explanation import Explanation
from crossviz.render.overlay import display_rgba
from crossviz.render.scale import shared_scale
from crossviz.words import make_caption

HELD = '.cv-chip[aria-pressed="true"]'


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def held(page):
    return page.locator(HELD).all_inner_texts()


def title(page):
    return page.inner_text(".cv-readout .cv-title")


def drag(page, *words):
    """Press on the first word, move over the others, let go on the last."""
    places = [chip(page, word).bounding_box() for word in words]
    middle = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in places]
    page.mouse.move(*middle[0])
    page.mouse.down()
    for place in middle[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def pieced(explanation: Explanation) -> Explanation:
    """The same maps, of words that are cut into one, two, three tokens in turn: more of them weigh more in a phrase."""
    text = explanation.caption.text
    kept, counts = [(1, "<bos>", None, None)], []
    for word in explanation.words:
        cuts = np.linspace(word.start, word.end, 2 + min(word.index % 3, word.end - word.start - 1)).astype(int)
        kept += [(9, text[start:end], int(start), int(end)) for start, end in itertools.pairwise(cuts)]
        counts.append(len(cuts) - 1)
    caption = make_caption(text, [*kept, (2, "<eos>", None, None)])
    charts = {name: dataclasses.replace(chart, token_counts=counts) for name, chart in explanation.maps.items()}
    return dataclasses.replace(explanation, caption=caption, maps=charts, record=None)


def test_a_phrase_is_taken_by_a_drag(show):
    explanation = meadow()
    page = show(explanation).page
    drag(page, "red", "frisbee")
    assert held(page) == ["red", "frisbee"]
    assert title(page) == "red frisbee"
    assert page.inner_text(".cv-live").startswith("red frisbee: found")
    page.mouse.move(0, 0)
    assert title(page) == "red frisbee"
    peak = float(explanation.patch_map("red frisbee").max()) * explanation.grid.num_patches
    assert page.locator(".cv-row", has_text="peak").locator(".cv-figure").inner_text() == f"{round(peak)}\u202f×"
    found = round(100 * (1 - explanation.null_mass("red frisbee")))
    assert page.inner_text(".cv-found .cv-figure") == f"{found}\u202f%"


@pytest.mark.parametrize(
    ("explanation", "layer", "head"),
    [(meadow(), None, None), (meadow(layers=2), 1, None), (shares(2, 3), None, None), (shares(2, 3), 1, 2)],
    ids=["probabilities", "one layer", "signed, summed", "signed, one head"],
)
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "patches"])
def test_the_heat_of_a_phrase_has_the_bytes_of_the_reference(show, explanation, layer, head, smooth):
    explanation = pieced(explanation)
    page = show(explanation).page
    chart = explanation.map
    words = [1, 2, 3]
    assert len({chart.token_counts[word] for word in words}) == 3
    weights = np.array([chart.token_counts[word] for word in words], dtype=np.float64)
    values = np.einsum("w,whx->hx", weights / weights.sum(), sent(explanation, layer, head)[words])
    # What was sent is quantised; apart from that it is the map that Python gives of the phrase.
    span = (explanation.words[1].start, explanation.words[3].end)
    exact = explanation.patch_map(span=span, layer=layer, head=head)
    assert values == pytest.approx(exact, abs=0.004 * float(np.abs(exact).max()))
    scale = shared_scale(sent(explanation, None, None), chart.unit, signed=chart.signed)
    if layer is not None:
        scale = part_scale(explanation, True, head is not None, scale)
    size, name = (240, 160), "RdBu_r" if chart.signed else "viridis"
    wanted = display_rgba(values, scale, size, view=explanation.view, smooth=smooth, opacity=0.85, cmap=name)
    seen = rgba(page.evaluate(READ, ["1-3", layer, head, smooth, False, 0.85, name, *size]), *size)
    differ = (seen != wanted).any(axis=-1)
    assert wanted[..., 3].max() > 20
    assert differ.mean() < 2e-4
    null = page.evaluate("([l, h]) => crossvizView.view().field.nullMass('1-3', l, h)", [layer, head])
    if chart.null_mass is None:
        assert null is None
    else:
        assert null == pytest.approx(explanation.null_mass(span=span, layer=layer, head=head), abs=1e-5)


def test_shift_and_click_take_the_words_between(show):
    page = show(meadow()).page
    chip(page, "black").click()
    chip(page, "catches").click(modifiers=["Shift"])
    assert held(page) == ["black", "dog", "catches"]
    assert title(page) == "black dog catches"
    assert page.evaluate("getSelection().toString()") == ""
    pointed(chip(page, "sky"))  # another word can be looked at, and the phrase comes back
    assert title(page) == "sky"
    page.mouse.move(0, 0)
    expect(page.locator(".cv-readout .cv-title")).to_have_text("black dog catches")
    chip(page, "dog").click()  # a word of a held phrase lets it go
    assert held(page) == []


def test_shift_and_arrow_keys_take_words_one_by_one(show):
    page = show(meadow(read=8)).page
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert title(page) == "black dog catches"
    assert held(page) == []
    assert page.inner_text(".cv-live").startswith("black dog catches: ")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    assert held(page) == ["black", "dog"]
    page.keyboard.press("ArrowRight")  # without Shift: one word, the phrase stays held
    assert title(page) == "catches"
    for _ in range(9):
        page.keyboard.press("Shift+ArrowRight")
    assert title(page) == "catches a red frisbee under", "what the model did not read is in no phrase"
    page.keyboard.press("Escape")
    assert held(page) == []
    assert title(page) == "The plain photo"
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    assert title(page) == "frisbee under"


def test_phrases_run_with_the_script(show):
    page = show(meadow("كلب يقفز ليمسك القرص", {"كلب": DOG})).page
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+ArrowLeft")
    assert title(page) == "كلب يقفز"


def test_phrases_and_words_add_up_with_a_colour_each(show):
    page = show(meadow()).page
    drag(page, "red", "frisbee")
    chip(page, "dog").click()
    page.mouse.move(0, 0)
    assert held(page) == ["dog", "red", "frisbee"]
    hues = page.locator(".cv-chip[data-hue]").evaluate_all("es => es.map((e) => e.dataset.hue)")
    assert hues == ["2", "1", "1"]
    assert title(page) == "2 words and phrases"
    assert page.locator(".cv-row bdi").all_inner_texts() == ["red frisbee", "dog"]
    drag(page, "dog", "catches", "red")  # takes the place of the two that it touches
    page.mouse.move(0, 0)
    assert title(page) == "dog catches a red"
    assert held(page) == ["dog", "catches", "a", "red"]


def test_a_drag_may_run_backwards_and_end_outside(show):
    page = show(meadow()).page
    places = [chip(page, word).bounding_box() for word in ("frisbee", "red")]
    page.mouse.move(places[0]["x"] + 5, places[0]["y"] + 5)
    page.mouse.down()
    page.mouse.move(places[1]["x"] + 5, places[1]["y"] + 5, steps=4)
    assert title(page) == "red frisbee"
    page.mouse.move(places[1]["x"] + 5, places[1]["y"] + 300, steps=4)
    page.mouse.up()
    assert held(page) == ["red", "frisbee"]
    chip(page, "sky").click()  # the click after a drag is one again
    assert held(page) == ["red", "frisbee", "sky"]


def test_a_finger_takes_a_phrase(show):
    page = show(meadow(), has_touch=True, width=390).page
    places = [chip(page, word).bounding_box() for word in ("black", "dog")]
    send = page.context.new_cdp_session(page).send
    for kind, place in (("touchStart", places[0]), ("touchMove", places[1]), ("touchEnd", None)):
        points = [{"x": place["x"] + 20, "y": place["y"] + 10}] if place else []
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert held(page) == ["black", "dog"]


def test_a_phrase_is_what_is_checked(show):
    page = show(checked(meadow(), "red frisbee")).page
    drag(page, "red", "frisbee")
    assert page.inner_text(".cv-trust-said").startswith("Deleting")
    page.mouse.move(0, 0)
    pointed(chip(page, "dog"))
    assert "was not checked" in page.inner_text(".cv-trust-said")


def test_a_phrase_asks_the_queries_of_the_first_step(show):
    explanation = composed()
    page = show(explanation).page
    page.click("summary")
    drag(page, "red", "frisbee")
    page.mouse.move(0, 0)
    assert "“red frisbee”" in page.inner_text(".cv-steps")
    asks = explanation.parts["decoder: text to queries"].probs.double().mean((0, 1))
    tokens = [token for word in explanation.words if word.text in ("red", "frisbee") for token in word.tokens]
    wanted = asks[tokens].mean(0).numpy()
    labels = page.locator(".cv-query").evaluate_all("es => es.map((e) => e.getAttribute('aria-label'))")
    seen = [float(label.split(", ")[1].replace("<\u202f", "").removesuffix("\u202f%")) / 100 for label in labels]
    assert seen == pytest.approx(wanted, abs=0.006)


def test_a_phrase_is_downloaded_under_its_words(show):
    page = show(meadow()).page
    drag(page, "red", "frisbee")
    page.mouse.move(0, 0)
    with page.expect_download() as waiting:
        page.click("text=Save as PNG")
    assert waiting.value.suggested_filename == "crossviz-red-frisbee.png"


def test_axe_finds_nothing_with_phrases(show):
    page = show(meadow(), color_scheme="light", bypass_csp=True).page
    drag(page, "black", "dog")
    drag(page, "red", "frisbee")
    page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        painted(page)
        found = page.evaluate("axe.run(document.querySelector('.cv-viewer'))")["violations"]
        assert [v["id"] for v in found] == [], scheme
