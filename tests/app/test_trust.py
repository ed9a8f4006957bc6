"""The checks beside the map: what is shown of a report, when one is asked for, and the box that the reader draws."""

import dataclasses
import json

import pytest
from reports import METHODS, checked, report
from scenes import meadow, shares
from watched import AXE, pointed

from crossviz.render.payload import viewer_payload

LAST = "How it was done"
NAMES = (
    "Beyond chance",
    "Taking it away",
    "Shuffled weights",
    "Other methods",
    "Heads that matter",
    "Inside your box",
    LAST,
)
BOX = (120.0, 240.0, 312.0, 408.0)
"""Around the drawn dog, in the 720 x 480 pixels of the meadow."""


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def tab(page, name):
    return page.get_by_role("tab", name=name)


def asked(page, name):
    return [question for question in page.evaluate("asked") if question["name"] == name]


def say(page, **message):
    page.evaluate("(message) => crossvizView.trust(message)", message)


# What a stored report looks like


def test_without_checks_and_without_a_server_there_is_no_panel(show):
    assert show(meadow()).page.locator(".cv-trust").count() == 0


def test_the_sentence_and_every_check_are_shown(show):
    explanation = checked(meadow(), "frisbee")
    found = report(explanation, "frisbee")
    watched = show(explanation)
    page = watched.page
    chip(page, "frisbee").click()
    assert page.inner_text(".cv-trust-said") == found.sentence
    assert page.get_by_role("tab").all_inner_texts() == [
        "Beyond chance\n25\u202f% of patches",
        f"Taking it away\n{round(found.deletion.ratio, 1):g} × random",
        "Shuffled weights\n0.02 alike",
        "Other methods\n4 of 5 agree",
        "Heads that matter\nhead 1, block 1",
        "Inside your box",
        "How it was done\n2.1\u202fs",
    ]
    panel = page.locator(".cv-check-panel")
    assert "5\u202f% (the tick on the bar)" in panel.inner_text()
    assert "p = 0.016" in panel.inner_text()
    tick, fill = (page.locator(f".cv-beyond > {part}").bounding_box() for part in ("i", "span"))
    bar = page.locator(".cv-beyond").bounding_box()
    assert (tick["x"] - bar["x"]) / bar["width"] == pytest.approx(0.05, abs=0.01)
    assert fill["width"] / bar["width"] == pytest.approx(0.25, abs=0.01)

    tab(page, "Taking it away").click()
    assert panel.locator("svg .cv-line-map, svg .cv-line-random, svg .cv-line-centre").count() == 2 * 3 + 3
    area = found.deletion.area("deletion", "map")
    assert f"this map {area:.2f}" in panel.locator(".cv-chart").first.get_attribute("aria-label")
    assert [f"{area:.2f}"] == panel.locator("tbody tr").first.locator("td").all_inner_texts()[:1]

    tab(page, "Shuffled weights").click()
    assert panel.locator(".cv-dot").count() == 5
    assert panel.locator("tbody tr").last.inner_text().split("\t") == ["stem", "100\u202f%", "0.02"]

    tab(page, "Other methods").click()
    assert panel.locator("tbody th").all_inner_texts() == [
        f"{i + 1} {title}" for i, title in enumerate(METHODS.values())
    ]
    assert panel.locator("tbody tr").first.locator("td").all_inner_texts() == [
        "",
        "0.74",
        "0.59",
        "0.49",
        "0.42",
        "0.36",
    ]

    tab(page, "Heads that matter").click()
    assert panel.locator("tbody tr").first.inner_text().split("\t") == ["block 1, 1", "\u22120.31", "0.40", "20\u202f%"]
    assert panel.locator("tbody tr").last.inner_text().split("\t") == ["cross-attention, 4", "+0.03", "–", "10\u202f%"]
    assert "0.03 share found" in panel.inner_text()

    tab(page, LAST).click()
    assert panel.locator("li").all_inner_texts() == list(found.notes)
    watched.assert_quiet()


def test_the_curve_goes_through_its_figures(show):
    """The lines' corners, in the box of the drawing, are the match at the levels."""
    explanation = checked(meadow(), "frisbee")
    page = show(explanation).page
    chip(page, "frisbee").click()
    tab(page, "Taking it away").click()
    drawn = page.locator(".cv-chart").first.locator(".cv-line-map").get_attribute("d")
    corners = [[float(number) for number in corner.split()] for corner in drawn.replace("M", "L").split("L")[1:]]
    found = report(explanation, "frisbee").deletion
    top = float(found.curves.max())
    wanted = [[100 * x, 100 - 100 * float(y) / top] for x, y in zip(found.levels, found.curves[0, 0], strict=True)]
    assert [number for corner in corners for number in corner] == pytest.approx(
        [number for corner in wanted for number in corner], abs=0.01
    )


def test_a_check_that_was_not_made_says_so(show):
    page = show(checked(meadow(), "dog", head_effect=None, agreement=None)).page
    chip(page, "dog").click()
    assert tab(page, "Other methods").inner_text() == "Other methods\nnot made"
    tab(page, "Heads that matter").click()
    assert "can't be made" in page.inner_text(".cv-check-panel")
    assert page.locator(".cv-check-panel table").count() == 0


def test_words_that_were_not_checked_name_those_that_were(show):
    page = show(checked(meadow(), "red frisbee", "dog")).page
    chip(page, "sky").click()
    said = page.inner_text(".cv-trust-said")
    assert said == "The map of “sky” was not checked. Checked were: “red frisbee”, “dog”."
    assert page.locator(".cv-trust .cv-link:visible").count() == 0  # nobody is there to check it
    assert tab(page, "Beyond chance").inner_text() == "Beyond chance"


def test_neighbouring_words_are_a_phrase(show):
    page = show(checked(meadow(), "red frisbee")).page
    chip(page, "frisbee").click()
    assert "was not checked" in page.inner_text(".cv-trust-said")
    chip(page, "red").click()
    page.mouse.move(0, 0)
    assert "'red frisbee'" in page.inner_text(".cv-trust-said")
    chip(page, "dog").click()
    page.mouse.move(0, 0)
    assert "side by side" in page.inner_text(".cv-trust-said")


def test_patches_that_are_not_beyond_chance_can_be_darkened(show):
    explanation = checked(meadow(), "frisbee", beyond=0.1)
    page = show(explanation).page
    chip(page, "frisbee").click()
    assert page.locator(".cv-shade-patches:visible").count() == 0
    page.get_by_label("Darken").check()
    alpha = page.evaluate(
        """() => {
          const canvas = document.querySelector(".cv-shade-patches");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return Array.from(data).filter((_, i) => i % 4 === 3);
        }"""
    )
    page.select_option(".cv-controls select >> nth=0", "1")  # one head's map was not checked
    assert page.locator(".cv-shade-patches:visible").count() == 0
    assert "over all layers and heads" in page.inner_text(".cv-trust-busy")
    page.select_option(".cv-controls select >> nth=0", "all")
    values = explanation.patch_map("frisbee").ravel()
    clear = {i for i, value in enumerate(alpha) if value == 0}
    assert clear == set(values.argsort()[::-1][: round(0.1 * values.size)].tolist())
    frame, shade = (page.locator(part).bounding_box() for part in (".cv-frame", ".cv-shade-patches"))
    assert shade == pytest.approx(frame)
    pointed(chip(page, "dog"))  # was not checked: nothing is known of its patches
    assert page.locator(".cv-shade-patches:visible").count() == 0


def test_the_marked_box_of_a_report_is_shown(show):
    explanation = checked(meadow(), "dog", box=BOX)
    page = show(explanation).page
    chip(page, "dog").click()
    frame, box = page.locator(".cv-frame").bounding_box(), page.locator(".cv-box").bounding_box()
    assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(BOX[0] / 720, abs=0.005)
    assert (box["y"] - frame["y"] + box["height"]) / frame["height"] == pytest.approx(BOX[3] / 480, abs=0.005)
    tab(page, "Inside your box").click()
    assert f"{explanation.trust[(8, 11)].localisation.mass:.0%}".rstrip("%") in page.inner_text(".cv-check-panel")
    assert page.locator("text=Mark the thing").count() == 0


def test_every_tab_has_a_definition_that_opens_in_view(show):
    for width in (390, 1280):
        page = show(checked(meadow(), "dog", box=BOX), width=width).page
        chip(page, "dog").click()
        for name in NAMES:
            tab(page, name).click()
            for hint in page.locator(".cv-trust .cv-hint").all():
                hint.click()
                box = page.locator(".cv-hint-box:visible").bounding_box()
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
                page.keyboard.press("Escape")
        assert page.locator(".cv-hint-box:visible").count() == 0


def test_keys_walk_through_the_checks(show):
    page = show(checked(meadow(), "dog")).page
    chip(page, "dog").click()
    tab(page, "Beyond chance").focus()
    for name in NAMES[1:]:
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
        assert page.inner_text(".cv-check-panel h3") == name
    page.keyboard.press("Home")
    assert page.inner_text(".cv-check-panel h3") == NAMES[0]
    assert page.locator('[role=tab][tabindex="0"]').count() == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves_between_words_checks_and_states(serve, width):
    page = serve(checked(meadow(), "dog"), width=width).page
    where = "[...document.querySelectorAll('.cv-tabs, .cv-strip')].map((e) => e.getBoundingClientRect().top + scrollY)"
    places = []

    def note():
        places.append(page.evaluate(where))

    chip(page, "dog").click()
    note()
    for name in NAMES:
        tab(page, name).click()
        note()
    chip(page, "dog").click()
    chip(page, "sky").click()
    note()
    page.clock.run_for(1000)
    note()
    run = asked(page, "trust")[-1]["run"]
    say(page, run=run, done=0.4, label="removing patches")
    note()
    say(page, run=run, error="There is no such thing as this model on this computer: choose another one.")
    note()
    assert all(place == pytest.approx(places[0], abs=0.5) for place in places)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_overflows_sideways(show, width):
    page = show(checked(meadow(), "dog"), width=width).page
    chip(page, "dog").click()
    for name in NAMES:
        tab(page, name).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = page.locator(".cv-trust *:not(.cv-table *)").evaluate_all(
            "es => es.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        assert wide == 0


def test_axe_finds_nothing(serve):
    page = serve(checked(meadow(), "dog"), bypass_csp=True).page
    chip(page, "dog").click()
    page.evaluate(AXE)
    page.clock.resume()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("(dark) => document.documentElement.matches('.dark') === dark", arg=scheme == "dark")
        for name in NAMES:
            tab(page, name).click()
            found = page.evaluate("axe.run(document.querySelector('.cv-viewer'))")["violations"]
            assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found] == [], (scheme, name)


# When a map is checked


def test_a_word_is_checked_when_it_rests(serve):
    watched = serve(meadow())
    page = watched.page
    page.clock.run_for(5000)
    assert asked(page, "trust") == []  # nobody has chosen the word that the page opens with
    pointed(chip(page, "dog"))
    page.clock.run_for(700)
    assert asked(page, "trust") == []
    page.clock.run_for(200)
    question = asked(page, "trust")[0]
    assert (question["start"], question["end"]) == (8, 11)
    assert question["id"] == page.evaluate("crossvizView.view().payload.id")
    assert page.inner_text(".cv-trust-said") == "Checking the map of “dog”."
    say(page, run=question["run"], done=0.25, label="random captions")
    assert page.inner_text(".cv-doing") == "random captions"
    assert page.get_attribute("[role=progressbar]", "aria-valuenow") == "25"
    bar, level = (page.locator(part).bounding_box()["width"] for part in (".cv-progress", ".cv-progress > span"))
    assert level / bar == pytest.approx(0.25, abs=0.01)
    found = report(meadow(), "dog")
    say(page, run=question["run"], report=found.as_dict())
    assert page.inner_text(".cv-trust-said") == found.sentence
    assert found.sentence in page.inner_text(".cv-live")
    assert page.locator("[role=progressbar]:visible").count() == 0
    page.mouse.move(0, 0)
    page.clock.run_for(5000)
    assert len(asked(page, "trust")) == 1
    watched.assert_quiet()


def test_words_passed_over_are_not_checked(serve):
    page = serve(meadow()).page
    for word in ("black", "dog", "frisbee", "sky"):
        pointed(chip(page, word))
        page.clock.run_for(600)
    assert asked(page, "trust") == []


def test_another_word_ends_a_check_and_one_passed_over_does_not(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    first = asked(page, "trust")[0]["run"]
    pointed(chip(page, "sky"))
    page.clock.run_for(200)
    page.mouse.move(0, 0)  # back to the held word
    page.clock.run_for(2000)
    assert asked(page, "stop") == []
    assert len(asked(page, "trust")) == 1
    say(page, run=first, done=0.5, label="half")
    assert page.inner_text(".cv-doing") == "half"
    pointed(chip(page, "sky"))
    page.clock.run_for(400)
    assert [question["run"] for question in asked(page, "stop")] == [first]
    say(page, run=first, done=0.9, label="too late")
    assert page.inner_text(".cv-doing") != "too late"
    page.clock.run_for(500)
    second = asked(page, "trust")[-1]
    assert (second["start"], second["run"]) == (44, first + 1)
    say(page, run=first, report=report(meadow(), "dog").as_dict())
    say(page, run=first, done=0.9, label="too late")
    assert page.inner_text(".cv-trust-said") == "Checking the map of “sky”."
    assert page.inner_text(".cv-doing") == "waiting for the server"


def test_finished_reports_are_kept_for_each_word(serve):
    page = serve(meadow()).page
    for word in ("dog", "frisbee"):
        pointed(chip(page, word))
        page.clock.run_for(1000)
        say(page, run=asked(page, "trust")[-1]["run"], report=report(meadow(), word).as_dict())
    pointed(chip(page, "dog"))
    page.clock.run_for(3000)
    assert "'dog'" in page.inner_text(".cv-trust-said")
    assert len(asked(page, "trust")) == 2


def test_keyboard_focus_is_enough(serve):
    page = serve(meadow()).page
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.clock.run_for(1000)
    assert [question["start"] for question in asked(page, "trust")] == [2]


def test_a_check_can_be_stopped_and_begun_again(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    page.click("text=Stop")
    assert len(asked(page, "stop")) == 1
    page.clock.run_for(5000)
    assert len(asked(page, "trust")) == 1
    page.click("text=Check now")
    assert len(asked(page, "trust")) == 2


def test_an_error_is_one_sentence_and_can_be_tried_again(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    say(page, run=asked(page, "trust")[0]["run"], error="This model has <b>no</b> figure to fall.")
    assert page.inner_text(".cv-trust-said") == "This model has <b>no</b> figure to fall."
    page.clock.run_for(5000)
    assert len(asked(page, "trust")) == 1
    page.click("text=Try again")
    assert len(asked(page, "trust")) == 2


def test_a_server_that_is_silent_is_given_up(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    page.clock.run_for(61_000)
    assert "not answered" in page.inner_text(".cv-trust-said")


def test_explaining_goes_first(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    page.evaluate("crossvizView.busy('reading the photo')")
    assert len(asked(page, "stop")) == 1


def test_the_next_explanation_ends_the_check_of_the_last(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    page.clock.run_for(1000)
    run = asked(page, "trust")[0]["run"]
    page.evaluate("crossvizView.update({ ...crossvizView.view().payload, id: 'next' })")
    assert [question["run"] for question in asked(page, "stop")] == [run]
    say(page, run=run, report=report(meadow(), "dog").as_dict())
    chip(page, "dog").click()
    page.clock.run_for(1000)
    assert [(question["run"] > run, question["id"]) for question in asked(page, "trust")[1:]] == [(True, "next")]


# The box


def drawn(page):
    frame = page.locator(".cv-frame").bounding_box()
    box = page.locator(".cv-box").bounding_box()
    return [
        (box["x"] - frame["x"]) / frame["width"],
        (box["y"] - frame["y"]) / frame["height"],
        (box["x"] - frame["x"] + box["width"]) / frame["width"],
        (box["y"] - frame["y"] + box["height"]) / frame["height"],
    ]


def draw(page, x0, y0, x1, y1):
    page.click("text=Mark the thing")
    page.locator(".cv-frame").scroll_into_view_if_needed()
    frame = page.locator(".cv-frame").bounding_box()
    page.mouse.move(frame["x"] + x0 * frame["width"], frame["y"] + y0 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + x1 * frame["width"], frame["y"] + y1 * frame["height"], steps=3)
    page.mouse.up()


def test_a_box_is_drawn_with_the_pointer(serve):
    watched = serve(meadow())
    page = watched.page
    chip(page, "dog").click()
    tab(page, "Inside your box").click()
    draw(page, 0.5, 0.8, 0.2, 0.4)  # from any corner
    assert drawn(page) == pytest.approx([0.2, 0.4, 0.5, 0.8], abs=0.01)
    page.clock.run_for(300)
    question = asked(page, "box")[0]
    assert (question["start"], question["end"]) == (8, 11)
    assert question["box"] == pytest.approx([144, 192, 360, 384], abs=6)
    found = report(meadow(), "dog", box=tuple(question["box"]))
    say(page, run=question["run"], reports={"8:11": found.as_dict()})
    text = page.inner_text(".cv-check-panel")
    assert f"{100 * found.localisation.mass:.0f}\u202f%" in text
    assert "in the box" in text
    assert page.inner_text(".cv-trust-said") == found.sentence
    assert asked(page, "trust") == []  # the box's report held all checks already
    chip(page, "dog").click()
    chip(page, "frisbee").click()
    page.clock.run_for(400)
    assert asked(page, "box")[-1]["start"] == 26  # the box stays for the next word
    page.click("text=Remove the box")
    assert asked(page, "box")[-1]["box"] is None
    assert page.locator(".cv-box:visible").count() == 0
    watched.assert_quiet()


def test_a_slip_of_the_hand_is_no_box(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    tab(page, "Inside your box").click()
    draw(page, 0.5, 0.5, 0.501, 0.501)
    page.clock.run_for(1000)
    assert asked(page, "box") == []
    assert page.locator(".cv-box:visible").count() == 0


def test_a_box_is_drawn_with_the_keys(serve):
    page = serve(meadow()).page
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    tab(page, "Beyond chance").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.locator("text=Mark the thing").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "cv-box"
    before = drawn(page)
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    step = 0.02
    moved = [before[0] - step, before[1] - step, before[2], before[3]]
    assert drawn(page) == pytest.approx(moved, abs=0.005)
    page.clock.run_for(300)
    assert len(asked(page, "box")) == 1  # once, when the keys rest
    assert asked(page, "box")[0]["box"] == pytest.approx(
        [720 * moved[0], 480 * moved[1], 720 * moved[2], 480 * moved[3]], abs=0.1
    )
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    assert drawn(page)[2] == pytest.approx(1, abs=0.005)
    assert drawn(page)[2] - drawn(page)[0] == pytest.approx(moved[2] - moved[0], abs=0.005)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Mark the thing"
    assert page.inner_text(".cv-readout .cv-title") == "dog"  # Escape left the box and nothing else


def test_the_patch_cursor_rests_while_a_box_is_drawn(serve):
    page = serve(meadow()).page
    chip(page, "dog").click()
    tab(page, "Inside your box").click()

    def wander():
        page.locator(".cv-frame").scroll_into_view_if_needed()
        frame = page.locator(".cv-frame").bounding_box()
        for share in (0.3, 0.6):
            page.mouse.move(frame["x"] + share * frame["width"], frame["y"] + 0.9 * frame["height"])
        return page.inner_text(".cv-patch h2")

    assert wander() == "Row 15, column 15"
    page.get_by_role("button", name="Mark the thing").click()
    assert wander() == "At a patch"


# Maps that don't depend on the words


def test_a_map_that_ignores_the_words_says_so(show):
    page = show(meadow()).page
    assert page.locator(".cv-plainly").count() == 0
    explanation = shares(2, 2)
    alike = dataclasses.replace(explanation.map, text_dependent=False)
    page = show(dataclasses.replace(explanation, maps={**explanation.maps, explanation.method: alike})).page
    assert "does not depend on the words" in page.inner_text(".cv-plainly")
    pointed(chip(page, "dog"))
    assert page.inner_text(".cv-headline") == "the same map as for every other word"
    assert "The map, the same for every word, lies" in page.inner_text(".cv-live")


def test_the_payload_is_plain_json():
    explanation = checked(meadow(), "dog", "red frisbee", box=BOX)
    payload = viewer_payload(explanation)
    assert list(payload["trust"]) == ["8:11", "22:33"]
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert payload["id"] != viewer_payload(meadow())["id"]
