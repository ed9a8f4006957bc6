"""Noun phrases offered under the words: by the pointer, by a finger, by keys; where they lie."""

import pytest
from scenes import meadow
from test_phrases import chip, held, title
from watched import painted, pointed

FORTY = (
    "A young black dog with a red collar catches a large red frisbee in the green grass of a wide meadow, while two "
    "small children in blue shirts and a tall man with a straw hat watch it under the bright sky near a wooden fence."
)


def offer(page, text):
    return page.get_by_role("button", name=f"{text}, phrase", exact=True)


def test_pointing_shows_and_a_click_holds(show):
    explanation = meadow()
    page = show(explanation).page
    offers = page.locator(".cv-offer")
    assert [one.get_attribute("aria-label") for one in offers.all()] == [
        f"{phrase.text}, phrase" for phrase in explanation.noun_phrases
    ]
    before = page.evaluate(
        "[...document.querySelectorAll('.cv-chip, .cv-stage')].map((e) => e.getBoundingClientRect())"
    )
    pointed(offer(page, "a red frisbee"))
    assert title(page) == "a red frisbee"
    peak = float(explanation.patch_map("a red frisbee").max()) * explanation.grid.num_patches
    assert page.locator(".cv-row", has_text="peak").locator(".cv-figure").inner_text() == f"{round(peak)}\u202f×"
    pointed(offer(page, "the sky"))
    assert title(page) == "the sky"
    assert held(page) == []
    pointed(chip(page, "sky"))
    assert title(page) == "sky"
    offer(page, "A black dog").click()
    assert held(page) == ["A", "black", "dog"]
    assert offer(page, "A black dog").get_attribute("aria-pressed") == "true"
    page.mouse.move(0, 0)
    assert title(page) == "A black dog"
    offer(page, "a red frisbee").click()
    assert title(page) == "2 words and phrases"
    offer(page, "A black dog").click()
    offer(page, "a red frisbee").click()
    assert held(page) == []
    after = page.evaluate("[...document.querySelectorAll('.cv-chip, .cv-stage')].map((e) => e.getBoundingClientRect())")
    assert after == before, "nothing moves"


def test_the_keyboard_reaches_them_by_one_tab_stop(show):
    page = show(meadow()).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "A"
    page.keyboard.press("Tab")
    assert title(page) == "A black dog"
    page.keyboard.press("ArrowRight")
    assert title(page) == "a red frisbee"
    assert page.inner_text(".cv-live").startswith("a red frisbee: ")
    page.keyboard.press("Enter")
    assert held(page) == ["a", "red", "frisbee"]
    for key, name in (
        ("End", "no zebra"),
        ("ArrowRight", "A black dog"),
        ("ArrowLeft", "no zebra"),
        ("Home", "A black dog"),
    ):
        page.keyboard.press(key)
        assert title(page) == name
    page.keyboard.press("Escape")
    assert held(page) == []
    assert title(page) == "The plain photo"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList[0]") == "cv-frame"
    page.keyboard.press("Shift+Tab")
    assert title(page) == "a red frisbee", "the one that was left"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "A"


def test_a_finger_holds_one(show):
    page = show(meadow(FORTY), width=390, has_touch=True, is_mobile=True).page
    offer(page, "a large red frisbee").tap()
    assert held(page) == ["a", "large", "red", "frisbee"]
    assert all(box["height"] >= 18 for box in boxes(page, ".cv-bracket"))


def boxes(page, selector):
    return page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect().toJSON())",
        selector,
    )


@pytest.mark.parametrize(
    "text", [FORTY, "كلب a black dog catches a red frisbee under the sky"], ids=["forty", "right to left"]
)
@pytest.mark.parametrize("touch", [False, True], ids=["pointer", "finger"])
def test_each_lies_under_its_words_and_over_no_other(show, text, touch):
    explanation = meadow(text)
    page = show(explanation, width=390, has_touch=touch).page
    for width in (390, 768, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        painted(page)
        lie_under_their_words(page, explanation, width)


def lie_under_their_words(page, explanation, width):
    text = explanation.caption.text
    chips = boxes(page, ".cv-chip")
    rows = 0
    for index, phrase in enumerate(explanation.noun_phrases):
        pieces = boxes(page, f".cv-offer:nth-child({index + 1}) > .cv-bracket")
        own = [chips[word] for word in phrase.words]
        lines = sorted({round(box["bottom"]) for box in own})
        assert [round(piece["top"]) for piece in pieces] == lines, width
        rows += len(lines) - 1
        for piece in pieces:
            on_it = [box for box in own if round(box["bottom"]) == round(piece["top"])]
            assert piece["left"] == pytest.approx(min(box["left"] for box in on_it), abs=1), width
            assert piece["right"] == pytest.approx(max(box["right"] for box in on_it), abs=1), width
            for box in chips:
                apart = box["left"] >= piece["right"] or box["right"] <= piece["left"]
                assert apart or box["top"] >= piece["bottom"] - 0.6 or box["bottom"] <= piece["top"] + 0.6
    assert rows or text != FORTY or width > 390, "some phrase runs over two lines"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_they_follow_when_the_words_wrap_anew(show):
    page = show(meadow(FORTY), width=1280).page
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function(
        """() => {
          const [chip, bracket] = [...document.querySelectorAll(".cv-chip")].slice(-1).concat(
            [...document.querySelectorAll(".cv-bracket")].slice(-1)).map((e) => e.getBoundingClientRect());
          return Math.abs(chip.bottom - bracket.top) < 1 && Math.abs(chip.right - bracket.right) < 1;
        }"""
    )


def test_nothing_is_offered_where_there_is_nothing(show):
    page = show(meadow("كلب أسود يمسك قرصا أحمر")).page
    assert page.locator(".cv-offers, .cv-offered").count() == 0
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList[0]") == "cv-frame"


def test_what_was_cut_off_is_not_offered(show):
    page = show(meadow(read=6)).page
    assert [one.get_attribute("aria-label") for one in page.locator(".cv-offer").all()] == ["A black dog, phrase"]
