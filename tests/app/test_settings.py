"""The settings of a view as one object: read off, put back, undone and done again."""

import pytest
from scenes import meadow, shares
from test_explore import INK
from watched import painted, pointed, ready

from crossviz.render.html import standalone_page
from crossviz.render.payload import viewer_payload
from crossviz.render.scale import map_scale
from crossviz.view_settings import ViewSettings

SETTINGS = "crossvizView.settings()"
AGAIN = """settings => {
  const { payload } = crossvizView.view();
  const home = document.getElementById("crossviz-viewer");
  crossvizView.destroy();
  window.crossvizView = CrossvizViewer.mount(home, payload, { opening: { settings } });
}"""
"""The same explanation in a new viewer, with these settings."""
UPDATE = "([change, how]) => crossvizView.update({ ...crossvizView.view().payload, ...change }, how)"
DRAWN = "crossvizView.view().stage.heat().toDataURL()"
CONTROLS = """() => [...document.querySelectorAll(".cv-controls :is(select, input)")].map((e) =>
  e.matches("[type=radio], [type=checkbox]") ? e.checked : e.value)"""


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def span(explanation, text):
    start = explanation.caption.text.index(text)
    return [start, start + len(text)]


def slide(page, value):
    """Drag the opacity: two values on the way, then it is let go."""
    page.evaluate(
        """(to) => {
          const slider = document.querySelector(".cv-slider");
          for (const value of [10, to]) {
            slider.value = value;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
          }
          slider.dispatchEvent(new Event("change", { bubbles: true }));
        }""",
        value,
    )


def set_much(page):
    """A phrase and a word held, two heads pinned, everything drawn in another way."""
    chip(page, "dog").click()
    chip(page, "red").click()
    chip(page, "frisbee").click(modifiers=["Shift"])
    page.mouse.move(0, 0)
    heads = page.locator(".cv-head")
    heads.nth(5).click()
    heads.nth(1).click()
    page.mouse.move(0, 0)
    for choice in ("Patches", "This word", "80"):
        page.locator(".cv-segment", has_text=choice).click()
    slide(page, 40)
    page.get_by_label("Colours").select_option("magma")
    page.get_by_label("What the model saw").check()
    painted(page)


def test_settings_are_read_off_and_put_back(show):
    explanation = meadow(layers=2)
    page = show(explanation).page
    set_much(page)
    wanted = {
        "shown": span(explanation, "red frisbee"),
        "held": [span(explanation, "dog"), span(explanation, "red frisbee")],
        "layer": None,
        "head": [["layer 2", 1], ["layer 1", 1]],
        "smooth": False,
        "own": True,
        "opacity": 0.4,
        "cmap": "magma",
        "contour": 0.8,
        "saw": True,
    }
    assert page.evaluate(SETTINGS) == wanted
    assert ViewSettings.from_json(wanted).as_dict() == wanted
    drawn, inked, controls = page.evaluate(DRAWN), page.evaluate(INK), page.evaluate(CONTROLS)
    page.evaluate(AGAIN, wanted)
    ready(page)
    painted(page)
    assert page.evaluate(SETTINGS) == wanted
    assert page.evaluate(DRAWN) == drawn
    assert page.evaluate(INK) == pytest.approx(inked, rel=0.001)
    assert page.evaluate(CONTROLS) == controls
    page.evaluate(AGAIN, None)
    ready(page)
    painted(page)
    assert page.evaluate(DRAWN) != drawn
    assert page.evaluate(INK) < 0.5 * inked


def test_the_plain_photo_and_a_single_head_are_settings_too(show):
    page = show(meadow(layers=2)).page
    page.evaluate(AGAIN, {"shown": None, "layer": "layer 2", "head": 3})
    ready(page)
    seen = page.evaluate(SETTINGS)
    assert (seen["shown"], seen["held"], seen["layer"], seen["head"]) == (None, [], "layer 2", 3)
    assert page.locator(".cv-frame.cv-active").count() == 0
    assert page.get_by_label("Layer", exact=True).input_value() == "1"
    assert page.get_by_label("Head", exact=True).input_value() == "3"


IMPOSSIBLE = {
    "list": "[]",
    "text": '"dark"',
    "number": "7",
    "places": '{"shown": [1, 2], "held": [[0, 999], [3, 2], "x", null, [2, 7, 9]], "layer": "layer 9", "head": 99}',
    "objects": '{"shown": {"start": 0}, "held": {"length": 3}, "layer": ["layer 1"], "head": {"0": 1}}',
    "pins": '{"head": [["layer 9", 0], ["layer 1", -1], ["layer 1", 1.5], ["layer 1", 99], 3, null]}',
    "drawing": '{"opacity": "1", "cmap": "RdBu_r", "contour": 0.6, "smooth": "no", "own": 1, "saw": null}',
    "odd": r'{"opacity": 1e999, "cmap": "\ud800", "contour": -1, "__proto__": {"smooth": false}, "constructor": 1}',
}


def test_settings_that_can_not_be_change_nothing(show):
    watched = show(meadow(layers=2))
    page = watched.page
    before, drawn = page.evaluate(SETTINGS), page.evaluate(DRAWN)
    for name, settings in IMPOSSIBLE.items():
        page.evaluate(AGAIN.replace("{ settings }", "{ settings: JSON.parse(settings) }"), settings)
        ready(page)
        assert page.evaluate(SETTINGS) == before, name
        assert page.evaluate(DRAWN) == drawn, name
    watched.assert_quiet()


def test_words_that_share_a_word_are_held_once_and_six_at_most(show):
    explanation = meadow()
    page = show(explanation).page
    several = [[word.start, word.end] for word in explanation.words]
    asked = [span(explanation, "black dog"), span(explanation, "dog"), *several]
    page.evaluate(AGAIN, {"held": asked})
    ready(page)
    held = page.evaluate(SETTINGS)["held"]
    assert held[0] == span(explanation, "black dog") and span(explanation, "dog") not in held
    assert len(held) == 6
    assert page.evaluate("[...crossvizView.view().state.held.values()]") == [0, 1, 2, 3, 4, 5]


def test_words_that_were_not_read_can_not_be_shown(show):
    explanation = meadow(read=6)
    page = show(explanation).page
    before = page.evaluate(SETTINGS)["shown"]
    unread = [[word.start, word.end] for word in explanation.words if not word.tokens]
    page.evaluate(AGAIN, {"shown": unread[0], "held": unread[:2]})
    ready(page)
    assert page.evaluate(SETTINGS)["shown"] == before and page.evaluate(SETTINGS)["held"] == []


def test_a_saved_page_opens_as_the_view_was(visit):
    explanation = meadow(layers=2)
    start = explanation.caption.text.index("frisbee")
    settings = ViewSettings(shown=(start, start + 7), layer="layer 2", head=1, smooth=False, opacity=0.5, contour=0.8)
    watched = visit()
    watched.page.set_content(standalone_page(viewer_payload(explanation), settings).decode())
    ready(watched.page)
    assert watched.page.evaluate(SETTINGS) == {**settings.as_dict(), "cmap": "viridis"}
    assert watched.page.inner_text(".cv-title") == "frisbee"
    watched.assert_quiet()


PARTS = {"whole": (None, None), "layer": (1, None), "head": (None, 2), "one": (1, 2), "pins": (None, [[0, 1], [1, 2]])}


@pytest.mark.parametrize("explanation", [meadow(layers=2), shares(2, 3)], ids=["mean", "sum"])
def test_python_draws_parts_on_the_scale_of_the_view(show, explanation):
    page = show(explanation).page
    for name, (layer, head) in PARTS.items():
        seen = page.evaluate(
            "([layer, head]) => crossvizView.view().field.scaleFor([], { layer, head })", [layer, head]
        )
        scale = map_scale(explanation.map, layer, head)
        # maps travel in 8 bits
        assert (seen["vmin"], seen["vmax"]) == pytest.approx((scale.vmin, scale.vmax), rel=5e-3), name
        values = page.evaluate("([l, h]) => [...crossvizView.view().field.values(1, l, h)]", [layer, head])
        wanted = explanation.map.select([1], layer, head).numpy()
        assert values == pytest.approx(wanted.ravel(), abs=6e-3 * float(abs(wanted).max())), name


# The next explanation


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({"id": "other"}, True),
        ({"id": "other", "model": {"name": "another", "title": "another"}}, False),
    ],
    ids=["same model", "another model"],
)
def test_chosen_heads_stay_as_long_as_model_and_method_do(show, change, stays):
    page = show(meadow(layers=2)).page
    page.locator(".cv-head").nth(5).click()
    page.locator(".cv-head").nth(2).click()
    pins = page.evaluate(SETTINGS)["head"]
    assert pins == [["layer 2", 1], ["layer 1", 2]]
    page.evaluate(UPDATE, [change, {}])
    page.wait_for_selector(".cv-viewer[data-ready=other]")
    assert page.evaluate(SETTINGS)["head"] == (pins if stays else None)


def test_settings_that_come_with_an_explanation_go_before_those_that_stay(show):
    page = show(meadow(layers=2)).page
    page.get_by_label("Layer", exact=True).select_option("1")
    page.evaluate(UPDATE, [{"id": "other"}, {"settings": {"layer": "layer 1", "head": 0}}])
    page.wait_for_selector(".cv-viewer[data-ready=other]")
    seen = page.evaluate(SETTINGS)
    assert (seen["layer"], seen["head"]) == ("layer 1", 0)


# Undo and redo


def undo(page):
    return page.get_by_role("button", name="Undo")


def redo(page):
    return page.get_by_role("button", name="Redo")


def test_each_change_is_a_step_back_and_forth(show):
    watched = show(meadow(layers=2))
    page = watched.page
    assert [undo(page).get_attribute("aria-disabled"), redo(page).get_attribute("aria-disabled")] == ["true", "true"]
    seen = [page.evaluate(SETTINGS)]
    changes = [
        lambda: chip(page, "dog").click(),
        lambda: chip(page, "frisbee").click(),
        lambda: page.get_by_label("Layer", exact=True).select_option("1"),
        lambda: page.locator(".cv-segment", has_text="Patches").click(),
        lambda: page.get_by_label("Colours").select_option("cividis"),
        lambda: page.get_by_label("What the model saw").check(),
        lambda: slide(page, 30),
    ]
    pictures = []
    for change in changes:
        change()
        page.mouse.move(0, 0)
        painted(page)
        seen.append(page.evaluate(SETTINGS))
        pictures.append((page.evaluate(DRAWN), page.evaluate(CONTROLS)))
    for before in reversed(seen[:-1]):
        undo(page).click()
        # What is shown while nothing is held was only pointed at: no step changes it.
        expected = before if before["held"] else {**before, "shown": page.evaluate(SETTINGS)["shown"]}
        assert page.evaluate(SETTINGS) == expected
    undo(page).dispatch_event("click")
    assert page.inner_text(".cv-live") == "There is nothing to undo."
    for wanted, picture in zip(seen[1:], pictures, strict=True):
        redo(page).click()
        painted(page)
        assert page.evaluate(SETTINGS) == wanted
        assert (page.evaluate(DRAWN), page.evaluate(CONTROLS)) == picture
    assert redo(page).get_attribute("aria-disabled") == "true"
    watched.assert_quiet()


def test_pointing_is_no_step(show):
    page = show(meadow(layers=2)).page
    pointed(chip(page, "frisbee"))
    pointed(page.locator(".cv-head").nth(3))
    page.mouse.move(0, 0)
    assert undo(page).get_attribute("aria-disabled") == "true"
    page.locator(".cv-segment", has_text="Patches").click()
    undo(page).click()
    assert page.evaluate(SETTINGS)["smooth"] is True
    assert page.inner_text(".cv-title") == "frisbee"


def test_a_drag_is_one_step(show):
    page = show(meadow()).page
    before = page.evaluate(SETTINGS)["opacity"]
    slide(page, 60)
    undo(page).click()
    assert page.evaluate(SETTINGS)["opacity"] == before
    assert page.input_value(".cv-slider") == str(round(100 * before))
    assert undo(page).get_attribute("aria-disabled") == "true"


def test_something_new_after_a_step_back_leaves_nothing_to_redo(show):
    page = show(meadow()).page
    page.get_by_label("Colours").select_option("magma")
    undo(page).click()
    page.get_by_label("Colours").select_option("plasma")
    assert redo(page).get_attribute("aria-disabled") == "true"
    undo(page).click()
    assert page.evaluate(SETTINGS)["cmap"] == "viridis"


def test_a_hundred_steps_are_kept(show):
    page = show(meadow()).page
    page.evaluate(
        """() => {
          const box = document.querySelector(".cv-check");
          for (let i = 0; i < 131; i++) box.click();
        }"""
    )
    assert page.evaluate(SETTINGS)["saw"] is True
    steps = page.evaluate(
        """() => {
          const [button] = document.querySelectorAll(".cv-undo button");
          let count = 0;
          while (button.getAttribute("aria-disabled") === "false") {
            button.click();
            count += 1;
          }
          return count;
        }"""
    )
    assert steps == 100
    assert page.evaluate(SETTINGS)["saw"] is True  # the same as 100 steps before


def test_keys_undo_and_redo_but_not_in_a_text_field(show):
    page = show(meadow()).page
    page.get_by_label("Colours").select_option("magma")
    for back, forth in (("Control+z", "Control+Shift+Z"), ("Meta+z", "Meta+Shift+Z"), ("Control+z", "Control+y")):
        page.keyboard.press(back)
        assert page.evaluate(SETTINGS)["cmap"] == "viridis"
        page.keyboard.press(forth)
        assert page.evaluate(SETTINGS)["cmap"] == "magma"
    page.evaluate("document.body.prepend(document.createElement('textarea'))")
    page.focus("textarea")
    page.keyboard.press("Control+z")
    assert page.evaluate(SETTINGS)["cmap"] == "magma"


def test_a_new_explanation_starts_a_new_list(show):
    page = show(shares(2, 3)).page
    page.get_by_label("Colours").select_option("PuOr_r")
    page.evaluate(UPDATE, [{"id": "other"}, {}])
    page.wait_for_selector(".cv-viewer[data-ready=other]")
    assert undo(page).get_attribute("aria-disabled") == "true"
    page.keyboard.press("Control+z")
    assert page.evaluate(SETTINGS)["cmap"] == "PuOr_r"
