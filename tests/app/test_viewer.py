"""What a visitor does with the viewer: pointer, keyboard, several words, patches, heads, downloads."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from scenes import DOG, FRISBEE, SKY, meadow, shares
from watched import AXE, painted, pointed

from crossviz.render.scale import shared_scale

HEAT = """() => {
  const canvas = crossvizView.view().stage.heat();
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i];
  return sum;
}"""
CENTRE = """() => {
  const canvas = crossvizView.view().stage.heat();
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let [sum, x, y] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const p = i / 4;
    sum += data[i + 3];
    x += data[i + 3] * (p % canvas.width + 0.5);
    y += data[i + 3] * (Math.floor(p / canvas.width) + 0.5);
  }
  return [x / sum / canvas.width, y / sum / canvas.height];
}"""


def chip(page, text):
    return page.locator(".cv-chip", has_text=text).first


def pressed(page):
    return page.locator('.cv-chip[aria-pressed="true"]').all_inner_texts()


def test_hover_shows_a_word_where_it_looks(show):
    page = show(meadow()).page
    for word, spot in (("frisbee", FRISBEE), ("dog", DOG)):
        pointed(chip(page, word))
        assert page.inner_text(".cv-title") == word
        assert page.evaluate(CENTRE) == pytest.approx(spot[:2], abs=0.03)
    assert page.locator(".cv-frame.cv-active").count() == 1
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.cv-photo')).filter") == "grayscale(1) brightness(0.7)"
    )
    assert pressed(page) == []


def test_an_absent_word_is_hollow_draws_nothing_and_says_so(show):
    page = show(meadow()).page
    zebra = chip(page, "zebra")
    pointed(zebra)
    assert page.evaluate(HEAT) == 0
    assert zebra.evaluate("e => getComputedStyle(e).borderTopStyle") == "dashed"
    assert chip(page, "dog").evaluate("e => getComputedStyle(e).borderTopStyle") == "solid"
    assert page.inner_text(".cv-headline") == "looked, and found nothing here (null 95\u202f%)"
    page.mouse.move(0, 0)
    levels = []
    for word in ("dog", "zebra"):
        pixels = np.asarray(Image.open(io.BytesIO(chip(page, word).screenshot())).convert("RGB")).astype(int)
        levels.append(np.mean((pixels[..., 0] > 230) & (pixels[..., 2] < 190)))  # marker yellow
    assert levels[0] > 0.6
    assert levels[1] < 0.15


def test_numbers_are_those_of_python(show):
    explanation = meadow()
    page = show(explanation).page
    pointed(chip(page, "frisbee"))
    values = explanation.patch_map("frisbee")
    rows = page.locator(".cv-row").all_inner_texts()
    assert f"{round(float(values.max()) * explanation.grid.num_patches)}\u202f×" in rows[1]
    assert page.inner_text(".cv-found .cv-figure") == "96\u202f%"


def test_keys_walk_hold_and_clear(show):
    page = show(meadow()).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "A"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".cv-title") == "dog"
    assert "dog: found: 94" in page.inner_text(".cv-live")
    page.keyboard.press("Enter")
    assert pressed(page) == ["dog"]
    page.keyboard.press("End")
    assert page.inner_text(".cv-title") == "zebra"
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".cv-title") == "A"
    page.keyboard.press("Tab")  # one stop for all words, one for all phrases; leaving shows what is held
    page.keyboard.press("Tab")
    assert page.inner_text(".cv-title") == "dog"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    assert pressed(page) == []
    assert page.inner_text(".cv-title") == "The plain photo"
    assert page.evaluate(HEAT) == 0
    assert page.locator(".cv-frame.cv-active").count() == 0


def test_several_words_add_up_as_light(show):
    page = show(meadow()).page
    chip(page, "dog").click()
    dog = page.evaluate(HEAT)
    chip(page, "frisbee").click()
    page.mouse.move(0, 0)
    assert pressed(page) == ["dog", "frisbee"]
    assert page.evaluate(HEAT) > dog
    hues = page.locator(".cv-chip[data-hue]").evaluate_all("es => es.map(e => getComputedStyle(e).textDecorationColor)")
    assert len(set(hues)) == 2
    swatches = page.locator(".cv-swatch").evaluate_all("es => es.map(e => getComputedStyle(e).backgroundColor)")
    assert swatches == hues
    # Where two words look at one place it gets brighter, in no channel darker, than with either alone.
    light = page.evaluate(
        """() => {
          const { payload, field } = crossvizView.view();
          const state = { layer: null, head: null, smooth: true, own: false, opacity: 1, cmap: "viridis" };
          const hues = ["#56b4e9", "#f0a02b"];
          const draw = (words) => {
            const { data } = CrossvizViewer.heatMany(payload, field, words.map(([word, hue]) => {
              const values = field.values(word);
              return { values, scale: field.scaleFor(values), rgb: CrossvizViewer.parseHex(hues[hue]) };
            }), { width: 72, height: 48, smooth: true, opacity: 1 });
            return Array.from(data);
          };
          return [draw([[1, 0]]), draw([[2, 1]]), draw([[1, 0], [2, 1]])];
        }"""
    )
    first, second, both = (np.array(pixels).reshape(-1, 4).astype(float) for pixels in light)
    alike = (first[:, 3] > 100) & (second[:, 3] > 100)
    assert alike.any()
    shine = lambda pixels: (pixels[:, :3] / 255) ** 2.2 * pixels[:, 3:] / 255  # noqa: E731
    assert (shine(both)[alike] >= np.maximum(shine(first), shine(second))[alike] - 0.03).all()


def test_no_more_words_are_held_than_there_are_hues(show):
    page = show(meadow()).page
    chips = page.locator(".cv-chip")
    for index in range(7):
        chips.nth(index).click()
    assert len(pressed(page)) == 6
    assert "6 words are held already" in page.inner_text(".cv-live")


def test_pointing_at_the_photo_ranks_the_words_that_look_there(show):
    explanation = meadow()
    page = show(explanation).page
    box = page.locator(".cv-frame").bounding_box()
    page.mouse.move(box["x"] + FRISBEE[0] * box["width"], box["y"] + FRISBEE[1] * box["height"])
    row, col = int(FRISBEE[1] * 16), int(FRISBEE[0] * 24)
    assert page.inner_text(".cv-patch .cv-label") == f"Row {row + 1}, column {col + 1}"
    there = {word.text: float(explanation.patch_map(word=word.index)[row, col]) * 384 for word in explanation.words}
    wanted = [text for text in sorted(there, key=there.get, reverse=True) if there[text] > 1][:5]
    assert page.locator(".cv-ranks li:visible bdi").all_inner_texts() == wanted
    level = "e => Number(getComputedStyle(e.querySelector('.cv-level')).opacity)"
    bright = {text: chip(page, text).evaluate(level) for text in ("frisbee", "zebra")}
    assert bright["frisbee"] > 0.95 > 0.3 > bright["zebra"]
    page.mouse.move(0, 0)
    assert page.locator(".cv-ranks li:visible").count() == 0
    assert chip(page, "zebra").evaluate(level) == 1


def test_patches_by_keyboard(show):
    page = show(meadow()).page
    page.locator(".cv-frame").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    first = page.inner_text(".cv-live")
    assert first.startswith("Row 8, column 14:")
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text(".cv-live").startswith("Row 8, column 1:")
    page.keyboard.press("Escape")
    assert page.locator(".cv-ranks li:visible").count() == 0


def test_a_head_is_previewed_and_pinned(show):
    explanation = shares(3, 4)
    page = show(explanation).page
    chip(page, "dog").click()
    page.mouse.move(0, 0)
    whole = page.evaluate(HEAT)
    head = page.locator(".cv-head").nth(5)
    pointed(head)
    page.wait_for_function("document.querySelector('.cv-heads-said').textContent.startsWith('layer 2, head 2')")
    assert page.evaluate(HEAT) != whole
    page.mouse.move(0, 0)
    assert page.evaluate(HEAT) == whole
    head.click()
    page.mouse.move(0, 0)
    selects = page.locator(".cv-select")
    assert [selects.nth(i).input_value() for i in (0, 1)] == ["1", "1"]
    assert page.evaluate(HEAT) != whole
    expect(head).to_have_attribute("aria-pressed", "true")  # the strip is drawn in the next frame
    head.click()
    page.mouse.move(0, 0)
    assert page.evaluate(HEAT) == whole


def test_own_scale_is_labelled(show):
    page = show(meadow()).page
    chip(page, "sky").click()
    assert "(1 = looks everywhere alike)" in page.inner_text(".cv-colourbar .cv-label")
    shared = page.locator(".cv-tick").last.inner_text()
    page.locator(".cv-segment", has_text="This word").click()
    assert page.inner_text(".cv-colourbar .cv-label") == "× chance, scaled to this word alone"
    assert float(page.locator(".cv-tick").last.inner_text()) < float(shared)


def test_spans_count_characters_as_python_does(show):
    text = "🥏🐕 كلب يقفز ليمسك القرص, naïve 猫 and a dog; a dog"
    explanation = meadow(text, {"dog": DOG})
    page = show(explanation).page
    assert page.locator(".cv-chip").all_inner_texts() == [word.text for word in explanation.words]
    assert "".join(page.locator(".cv-words").text_content().split()) == "".join(text.split())


def test_right_to_left_captions_run_from_the_right(show):
    page = show(meadow("كلب يقفز ليمسك القرص", {"كلب": DOG})).page
    assert page.locator(".cv-words").evaluate("e => getComputedStyle(e).direction") == "rtl"
    lefts = page.locator(".cv-chip").evaluate_all("es => es.map(e => e.getBoundingClientRect().left)")
    assert lefts == sorted(lefts, reverse=True)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".cv-title") == "يقفز"


def test_words_that_were_cut_off_are_struck_and_cannot_be_held(show):
    page = show(meadow(read=6)).page
    sky = chip(page, "sky")
    assert sky.get_attribute("aria-disabled") == "true"
    assert "line-through" in sky.evaluate("e => getComputedStyle(e).textDecorationLine")
    title = page.inner_text(".cv-title")
    sky.click(force=True)
    assert page.inner_text(".cv-title") == title
    assert "were cut off" in page.inner_text(".cv-notes")


def test_captions_stay_text(show):
    text = '<img src=x onerror="window.hacked=1"> ${alert(1)} {{value}} </script><script>window.hacked=1</script> dog'
    watched = show(meadow(text, {"dog": DOG}))
    chip(watched.page, "dog").click()
    assert watched.page.evaluate("window.hacked") is None
    assert watched.page.locator(".cv-words img, .cv-words script").count() == 0
    assert text in watched.page.locator(".cv-words").text_content()
    watched.assert_quiet()


def download(page, trigger) -> tuple[str, Image.Image]:
    with page.expect_download() as waiting:
        trigger()
    return waiting.value.suggested_filename, Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes()))


def test_the_view_downloads_as_a_picture(show):
    page = show(meadow()).page
    chip(page, "frisbee").click()
    name, picture = download(page, lambda: page.click("text=Save as PNG"))
    assert name == "crossviz-frisbee.png"
    assert picture.width > 720
    assert picture.height > 480 + 80  # with caption and colour bar
    # The strongest colour of the scale is on it, on the photo and at the end of the bar.
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    hot = (pixels[..., 0] > 190) & (pixels[..., 1] > 190) & (pixels[..., 2] < 90)
    rows, columns = np.nonzero(hot)
    margin = (picture.width - 720) / 2
    on_photo = rows < 480
    assert (columns[on_photo].mean() - margin) / 720 == pytest.approx(FRISBEE[0], abs=0.03)
    assert (~on_photo).any()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [([], "crossviz-photo.png"), (["dog", "sky"], "crossviz-dog-sky.png"), (["القرص"], "crossviz-القرص.png")],
)
def test_the_file_is_named_after_what_it_shows(show, words, wanted):
    page = show(meadow("a dog under the sky القرص", {"dog": DOG})).page
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    for word in words:
        chip(page, word).click()
    page.mouse.move(0, 0)
    name, _ = download(page, lambda: page.click("text=Save as PNG"))
    assert name == wanted


def test_untrained_weights_mark_the_screen_and_the_download(show):
    stripe = lambda picture: np.mean(  # noqa: E731
        np.abs(np.asarray(picture.convert("RGB")).astype(int) - (255, 209, 26)).max(axis=-1) < 60
    )
    shares_of_yellow = []
    for trained in (True, False):
        page = show(meadow(trained=trained)).page
        page.keyboard.press("Tab")
        page.keyboard.press("Escape")  # the plain photo: the mark stays
        _, picture = download(page, lambda page=page: page.click("text=Save as PNG"))
        screen = Image.open(io.BytesIO(page.locator(".cv-frame").screenshot()))
        shares_of_yellow.append((stripe(screen), stripe(picture)))
    assert max(shares_of_yellow[0]) < 0.01
    assert min(shares_of_yellow[1]) > 0.05


def test_what_the_model_did_not_see_is_hatched_and_holds_no_patch(show):
    page = show(meadow(crop=True)).page
    chip(page, "dog").click()
    box = page.locator(".cv-frame").bounding_box()
    page.mouse.move(box["x"] + 0.05 * box["width"], box["y"] + 0.5 * box["height"])
    assert page.locator(".cv-ranks li:visible").count() == 0
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    assert "Row 9, column 9" in page.inner_text(".cv-patch")


def test_choices_outlive_the_next_explanation(show):
    page = show(meadow()).page
    page.locator(".cv-segment", has_text="Patches").click()
    page.get_by_label("Colours").select_option("magma")
    page.evaluate("crossvizView.update(crossvizView.view().payload)")
    page.wait_for_selector("[data-ready]")
    state = page.evaluate("(({ smooth, cmap }) => ({ smooth, cmap }))(crossvizView.view().state)")
    assert state == {"smooth": False, "cmap": "magma"}
    assert page.locator(".cv-segment", has_text="Patches").locator("input").is_checked()


def test_words_switch_without_asking_anyone(show):
    """Hovering shows each word's own map at once, in the same task, and from what the page holds already."""
    page = show(meadow("one two three four five six seven eight dog sky", {"dog": DOG, "sky": SKY}, heads=12)).page
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    shown = page.evaluate(
        """() => [...document.querySelectorAll(".cv-chip")].map((chip) => {
          chip.dispatchEvent(new PointerEvent("pointerenter", { pointerType: "mouse" }));
          const shown = document.querySelector(".cv-chip.cv-shown").textContent;
          const heat = document.querySelector(".cv-heat.cv-front");
          const { data } = heat.getContext("2d").getImageData(0, 0, heat.width, heat.height);
          return [shown, data.join()];
        })"""
    )
    assert asked == []
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "dog", "sky"]
    assert [text.strip() for text, _ in shown] == words
    assert len({pixels for _, pixels in shown}) == 3  # those that look nowhere in particular are alike


def test_nothing_overflows_sideways(show):
    page = show(shares(12, 12), width=390).page
    for width in (390, 768, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        painted(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        wide = page.locator(".cv-viewer *:not(.cv-live, .cv-heads *)").evaluate_all(
            "es => es.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        assert wide == 0, width


@pytest.mark.parametrize("width", [390, 1280])
def test_definitions_open_in_view_and_close(show, width):
    page = show(meadow(), width=width).page
    for index in range(page.locator(".cv-hint").count()):
        hint = page.locator(".cv-hint").nth(index)
        hint.click()
        assert hint.get_attribute("aria-expanded") == "true"
        box, button = page.locator(".cv-hint-box:visible").bounding_box(), hint.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] >= button["y"] + button["height"]
        page.keyboard.press("Escape")
        assert page.locator(".cv-hint-box:visible").count() == 0
    assert page.inner_text(".cv-title") != "The plain photo"  # Escape closed the definition and nothing else


@pytest.mark.parametrize("scene", [meadow(read=8), shares(2, 2)], ids=["probabilities", "shares"])
def test_axe_finds_nothing(show, scene):
    page = show(scene, color_scheme="light", bypass_csp=True).page
    chip(page, "dog").click()
    page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        painted(page)
        found = page.evaluate("axe.run(document.querySelector('.cv-viewer'))")["violations"]
        assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found] == [], scheme


def test_selects_are_readable_in_both_colours(show):
    """axe does not see a native select's own colours."""
    page = show(meadow()).page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        ink, ground = page.locator(".cv-select").first.evaluate(
            "e => { const s = getComputedStyle(e.querySelector('option')); return [s.color, s.backgroundColor]; }"
        )
        assert contrast(ink, ground) > 7, scheme


def contrast(one: str, other: str) -> float:
    def luminance(css: str) -> float:
        channels = [int(part) / 255 for part in css[css.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_nothing_moves_where_reduced_motion_is_asked(show):
    for reduced, wanted in (("reduce", "0s"), ("no-preference", "0.12s")):
        page = show(meadow(), reduced_motion=reduced).page
        assert page.evaluate("getComputedStyle(document.querySelector('.cv-heat')).transitionDuration") == wanted


def test_busy_and_stale_move_nothing(show):
    page = show(meadow()).page
    where = """JSON.stringify([".cv-stage", ".cv-words", ".cv-controls"].map(
        (part) => document.querySelector(part).getBoundingClientRect()))"""
    before = page.evaluate(where)
    page.evaluate("crossvizView.busy('reading the photo')")
    assert page.inner_text(".cv-pill:visible") == "reading the photo"
    assert page.evaluate(where) == before
    page.evaluate("crossvizView.busy(null); crossvizView.stale('the answer before')")
    assert page.inner_text(".cv-pill:visible") == "the answer before"
    assert page.evaluate(where) == before


def test_payload_is_json_that_the_page_reads_back(show):
    explanation = meadow()
    payload = show(explanation).page.evaluate("crossvizView.view().payload")
    assert json.loads(json.dumps(payload))["caption"]["text"] == explanation.caption.text
    assert payload["vmax"] == pytest.approx(shared_scale(explanation.map.values.numpy(), "probability").vmax, rel=1e-6)


def test_the_readout_says_who_looks_at_whom(show):
    one = shares()
    for direction, told in (
        ("query: text, key: image", "where it looks"),
        ("query: image, key: text", "what looks at it"),
    ):
        chart = dataclasses.replace(one.map, direction=direction)
        page = show(dataclasses.replace(one, maps={one.method: chart})).page
        page.locator(".cv-chip", has_text="dog").click()
        assert page.inner_text(".cv-headline") == told


def test_a_word_that_the_model_does_not_know_says_so(show):
    known = meadow()
    [zebra] = [word for word in known.words if word.text == "zebra"]
    tokens = [
        dataclasses.replace(token, text="[UNK]" if token.index in zebra.tokens else token.text)
        for token in known.caption.tokens
    ]
    page = show(dataclasses.replace(known, caption=dataclasses.replace(known.caption, tokens=tokens))).page
    told = "The model does not know this word: it read [UNK] in its place."
    assert page.locator(f'.cv-chip[title="{told}"]').all_inner_texts() == ["zebra"]
    assert page.locator(f'.cv-chip[aria-description="{told}"]').all_inner_texts() == ["zebra"]
