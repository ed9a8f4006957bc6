"""The tab Generate with a model of which everything is known: each thing is a rectangle, and what lights up is held
against it, place by place."""

import json

import numpy as np
import pytest
from drawing import chip, draw, enter, saved
from gradio_client import Client
from gradio_client.exceptions import AppError
from planted_generator import CAPTION, COLOURS, GRID, INSIDE, RECTANGLES, planted
from playwright.sync_api import Page, expect
from test_pixels import rgba
from watched import drawn, free_port

import crossviz
from crossviz.generation import TEXT_ASKS_IMAGE, Generation
from crossviz.web.app import build
from crossviz.web.page import launch
from crossviz.web.studio import Studio

CELL = 40
"""Display pixels of a place: the stage is 480 wide."""

_HEAT = """(grid) => {
  const heat = document.querySelector(".cv-generations .cv-heat.cv-front");
  const { width, height } = heat;
  const { data } = heat.getContext("2d").getImageData(0, 0, width, height);
  const middle = (place, size) => Math.floor((place + 0.5) * size / grid);
  return Array.from({ length: grid }, (_, row) => Array.from({ length: grid }, (_, col) =>
    data[4 * (middle(row, height) * width + middle(col, width)) + 3]));
}"""
_SHOWN = """() => {
  const frame = document.querySelector(".cv-generations canvas.cv-photo");
  if (frame.hidden) return null;
  const { data } = frame.getContext("2d").getImageData(0, 0, frame.width, frame.height);
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return [frame.width, btoa(text)];  // a list of so many numbers takes seconds to arrive
}"""


def rectangle(number: int) -> np.ndarray:
    top, left, bottom, right = RECTANGLES[number]
    mask = np.zeros((GRID, GRID), bool)
    mask[top:bottom, left:right] = True
    return mask


def lit(page: Page) -> np.ndarray:
    """Which places have any heat at all: bool `GRID GRID`, by the alpha at each place's middle."""
    return np.array(page.evaluate(_HEAT, GRID)) > 0


def at_place(page: Page, row: int, col: int) -> tuple[float, float]:
    box = page.locator(".cv-generations .cv-frame").bounding_box()
    return box["x"] + (col + 0.5) * box["width"] / GRID, box["y"] + (row + 0.5) * box["height"] / GRID


def patches(page: Page) -> None:
    """Places instead of smooth maps, so that what is lit is a place or is not."""
    page.locator(".cv-generations .cv-segment", has_text="Places").click()


def ranks(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(".cv-generations .cv-ranks li:visible").all_inner_texts()]


def test_pointing_at_a_word_lights_up_exactly_what_it_wrote(show_drawn):
    page = show_drawn(planted()).page
    patches(page)
    for word, number in (("cube", 0), ("red", 0), ("sphere", 1), ("blue", 1)):
        chip(page, word).hover()
        np.testing.assert_array_equal(lit(page), rectangle(number), word)
        page.mouse.move(0, 0)
        expect(page.locator(".cv-generations .cv-frame.cv-active")).to_have_count(0)  # the picture in its colours again


def test_a_word_that_wrote_nothing_stays_dark_and_says_so(show_drawn):
    page = show_drawn(planted()).page
    chip(page, "left").hover()
    assert not lit(page).any()
    expect(page.locator(".cv-generations .cv-headline")).to_have_text("\u2018left\u2019 wrote nowhere in particular.")


def test_layers_heads_and_the_other_direction(show_drawn):
    page = show_drawn(planted()).page
    patches(page)
    page.get_by_label("Layer").select_option("layer 1")  # asks the noun alone
    chip(page, "red").hover()
    assert not lit(page).any()
    page.get_by_label("Head").select_option("head 2")
    chip(page, "cube").hover()
    np.testing.assert_array_equal(lit(page), rectangle(0))
    assert "layer 1, head 2" in page.inner_text(".cv-generations .cv-through")
    page.locator(".cv-segment", has_text="Words ask picture").click()
    chip(page, "blue").hover()
    np.testing.assert_array_equal(lit(page), rectangle(1))
    expected = planted().sentence("blue", direction=TEXT_ASKS_IMAGE)
    assert page.inner_text(".cv-generations .cv-headline") == expected
    assert "found" in page.inner_text(".cv-generations .cv-rows")


def test_the_sentence_is_the_one_that_python_says(show_drawn):
    page = show_drawn(planted()).page
    for word in ("cube", "sphere"):
        chip(page, word).hover()
        assert page.inner_text(".cv-generations .cv-headline") == planted().sentence(word)
        assert page.inner_text(".cv-generations .cv-live") == planted().sentence(word)


def test_pointing_at_a_place_tells_its_words_with_numbers(show_drawn):
    page = show_drawn(planted()).page
    page.mouse.move(*at_place(page, 3, 2))
    # the mean of two layers: one asks "cube" alone, the other "red" and "cube" alike
    assert ranks(page) == [
        f"cube {100 * (INSIDE + INSIDE / 2) / 2:.0f} %",
        f"red {100 * INSIDE / 4:.0f} %",
        f"no word {100 * (1 - INSIDE):.0f} %",
    ]
    looks = {
        text: float(chip(page, text).evaluate("node => node.style.getPropertyValue('--cv-look')"))
        for text in ("cube", "red", "sphere")
    }
    assert looks["cube"] == 1 and looks["red"] == pytest.approx(1 / 3, abs=0.01) and looks["sphere"] == 0
    page.mouse.move(*at_place(page, 0, 0))
    assert ranks(page) == [] and "no word was asked" in page.inner_text(".cv-generations .cv-patch-list")


def test_the_time_line_shows_the_picture_and_the_maps_as_they_were(show_drawn):
    generation = planted()
    page = show_drawn(generation).page
    patches(page)
    slider = page.get_by_label("Time")
    index = generation.frame_steps.index(60)  # five rows of twelve
    slider.evaluate(
        "(node, at) => { node.value = at; node.dispatchEvent(new Event('input', { bubbles: true })); }", index
    )
    width, pixels = page.evaluate(_SHOWN)
    seen = rgba(pixels, width, width)[..., :3].astype(int)
    frame = generation.frames[index].numpy().astype(int)
    middle = np.s_[4::8, 4::8]  # of each place, away from the edges that a WebP softens
    assert np.abs(seen[middle] - frame[middle]).max() <= 12
    chip(page, "cube").hover()
    written = np.arange(GRID * GRID).reshape(GRID, GRID) < 60
    np.testing.assert_array_equal(lit(page), rectangle(0) & written)
    assert "step 60 of 144" in page.inner_text(".cv-timeline")
    chip(page, "sphere").hover()
    assert not lit(page).any()  # its rectangle begins in the sixth row
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate(_SHOWN) is None and "finished, 144 steps" in page.inner_text(".cv-timeline")


def test_play_goes_on_by_itself_and_one_step_at_a_time_where_motion_is_unwelcome(show_drawn):
    page = show_drawn(planted(), reduced_motion="no-preference").page
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_visible()  # it came to the end
    assert "finished" in page.inner_text(".cv-timeline")
    still = show_drawn(planted()).page
    still.get_by_role("button", name="Next step").click()
    assert "step 0 of 144" in still.inner_text(".cv-timeline")
    still.wait_for_timeout(300)
    assert "step 0 of 144" in still.inner_text(".cv-timeline")


def test_an_entry_shows_everywhere_it_is_used(show_drawn):
    page = show_drawn(planted()).page
    page.click(".cv-tokens > summary")
    cells = page.locator(".cv-code")
    assert cells.count() == GRID * GRID
    cells.nth(3 * GRID + 2).hover()
    same = cells.evaluate_all("nodes => nodes.map((node) => node.classList.contains('cv-same'))")
    np.testing.assert_array_equal(np.array(same).reshape(GRID, GRID), rectangle(0))
    assert "Entry 100 is used at 16 of 144 places." in page.inner_text(".cv-code-side")
    look = page.locator(".cv-code-look").evaluate("node => [...node.getContext('2d').getImageData(32, 32, 1, 1).data]")
    assert tuple(look[:3]) == COLOURS["red"]
    cells.first.focus()
    for key in ("ArrowDown",) * 5 + ("ArrowRight",) * 7:
        page.keyboard.press(key)
    assert "Entry 101 is used at 24 of 144 places." in page.inner_text(".cv-code-side")


def test_several_words_are_held_and_let_go(show_drawn):
    page = show_drawn(planted()).page
    patches(page)
    chip(page, "cube").click()
    chip(page, "sphere").click()
    page.mouse.move(0, 0)
    np.testing.assert_array_equal(lit(page), rectangle(0) | rectangle(1))
    chip(page, "cube").click()
    page.mouse.move(0, 0)
    np.testing.assert_array_equal(lit(page), rectangle(1))


def test_keyboard_alone(show_drawn):
    page = show_drawn(planted()).page
    patches(page)
    chip(page, "a").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    np.testing.assert_array_equal(lit(page), rectangle(0))
    assert page.inner_text(".cv-generations .cv-live").startswith("\u2018cube\u2019 wrote mostly at the left")
    page.keyboard.press("Enter")
    page.locator(".cv-generations .cv-frame").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    assert page.inner_text(".cv-generations .cv-live").startswith("Row 7, column 7 asked: ")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.locator(".cv-frame.cv-active").count() == 0


def test_untrained_weights_are_marked_on_the_picture(show_drawn):
    trained, untrained = (show_drawn(planted(trained=flag)).page for flag in (True, False))
    count = """() => {
      const ink = document.querySelector(".cv-ink");
      const { data } = ink.getContext("2d").getImageData(0, 0, ink.width, ink.height);
      return data.filter((_, at) => at % 4 === 3 && data[at] > 200).length;
    }"""
    assert trained.evaluate(count) == 0 and untrained.evaluate(count) > 1000
    assert "untrained" in untrained.inner_text(".cv-notes")


def test_a_click_draws_and_nothing_is_drawn_before(drawing_app, visit):
    watched = enter(visit, drawing_app)
    page = watched.page
    assert "Nothing is drawn yet" in page.inner_text("#cv-generation")
    assert page.locator(".cv-generations").count() == 0
    page.locator(".cv-captions button").nth(1).click()
    drawn(page)
    assert page.input_value("#cv-draw-caption textarea") == "a yellow ring"
    assert "As asked." in page.inner_text(".cv-verdict")
    assert "seed 0 · guidance 3 · temperature 1" in page.inner_text(".cv-told-settings")
    chip(page, "ring").hover()
    assert lit(page)[rectangle(0)].all()
    assert page.locator("#cv-page").is_hidden()
    watched.assert_quiet()


def test_an_unknown_word_is_answered_beside_the_caption(drawing_app, visit):
    watched = enter(visit, drawing_app)
    page = watched.page
    draw(page)
    page.fill("#cv-draw-seed input", "6")
    page.fill("#cv-draw-caption textarea", "a red giraffe")
    page.click("#cv-draw")
    said = page.locator("#cv-draw-caption-error-text")
    expect(said).to_have_text(
        "This model draws cubes, spheres and rings in red, green, blue or yellow; it does not know “giraffe”."
    )
    assert page.get_attribute("#cv-draw-caption textarea", "aria-invalid") == "true"
    assert page.input_value("#cv-draw-caption textarea") == "a red giraffe"
    assert page.input_value("#cv-draw-seed input") == "6"
    expect(page.locator(".cv-generations .cv-stage")).to_be_visible()  # the picture before is still there
    draw(page, "a yellow ring")
    expect(said).to_be_hidden()
    watched.assert_quiet()


def test_seeds_side_by_side(drawing_app, visit):
    page = enter(visit, drawing_app).page
    page.fill("#cv-draw-seed input", "4")
    page.locator("#cv-draw-count label", has_text="4").click()
    draw(page)
    cards = page.locator(".cv-seed")
    expect(cards).to_have_count(4)
    texts = [" ".join(text.split()) for text in cards.all_inner_texts()]
    assert texts == ["seed 4 as asked", "seed 5 not as asked", "seed 6 as asked", "seed 7 not as asked"]
    assert cards.nth(0).get_attribute("aria-pressed") == "true"
    cards.nth(3).click()
    drawn(page)
    expect(page.locator(".cv-told-settings")).to_contain_text("seed 7")
    assert "Not as asked. The second thing is too small." in page.inner_text(".cv-verdict")
    assert cards.nth(3).get_attribute("aria-pressed") == "true"


def test_the_dice_change_the_seed(drawing_app, visit):
    page = enter(visit, drawing_app).page
    page.click("#cv-draw-dice")
    expect(page.locator("#cv-draw-seed input")).not_to_have_value("0")
    assert 0 <= int(page.input_value("#cv-draw-seed input")) < 2**31


def test_every_export_opens_again(drawing_app, visit, tmp_path):
    page = enter(visit, drawing_app).page
    draw(page)
    chip(page, "cube").click()
    expected = planted()
    for label in ("picture, PNG", "growing, GIF", "interactive page, HTML", "numbers, NPZ", "numbers, JSON"):
        name, data = saved(page, label)
        (tmp_path / name).write_bytes(data)
        assert name.startswith("crossviz-a-red-cube-left-of-a-blue-sphere.")
        loaded = crossviz.load(tmp_path / name)
        assert isinstance(loaded, Generation) and loaded == expected
    name, data = saved(page, "this view, PNG")
    assert data.startswith(b"\x89PNG") and name == "crossviz-cube.png"


def test_a_saved_page_works_from_the_disk_without_a_request(visit, tmp_path):
    path = tmp_path / "drawn.html"
    planted().save(path)
    watched = visit()
    requests = []
    watched.page.on("request", lambda request: requests.append(request.url))
    watched.page.goto(path.as_uri())
    drawn(watched.page)
    patches(watched.page)
    chip(watched.page, "sphere").hover()
    np.testing.assert_array_equal(lit(watched.page), rectangle(1))
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    watched.assert_quiet()


def test_a_saved_picture_is_opened_in_its_tab(drawing_app, visit, tmp_path):
    path = tmp_path / "drawn.png"
    planted("a yellow ring", 3).save(path)
    watched = visit(drawing_app.url)
    page = watched.page
    page.set_input_files("#cv-open input[type=file]", path)
    drawn(page)
    expect(page.locator("#cv-generate")).to_be_visible()
    assert "seed 3" in page.inner_text(".cv-told-settings")
    name, data = saved(page, "numbers, NPZ")
    (tmp_path / name).write_bytes(data)
    assert crossviz.load(tmp_path / name) == crossviz.load(path)
    watched.assert_quiet()


def test_a_picture_is_sent_to_be_explained(drawing_app, visit):
    watched = enter(visit, drawing_app)
    page = watched.page
    draw(page)
    before = page.locator("#cv-viewer .cv-viewer").get_attribute("data-ready")
    page.get_by_role("button", name="Explain this picture").click()
    expect(page.locator("#cv-page")).to_be_visible()
    page.wait_for_function(
        """(before) => {
          const now = document.querySelector("#cv-viewer .cv-viewer").getAttribute("data-ready");
          return now !== null && now !== before;
        }""",
        arg=before,
    )
    assert page.input_value("#cv-caption textarea") == CAPTION
    assert page.locator("#cv-viewer .cv-chip-text").all_inner_texts() == CAPTION.split()
    size = page.locator("#cv-viewer .cv-photo").first.evaluate("node => [node.naturalWidth, node.naturalHeight]")
    assert size == [96, 96]
    assert page.locator("#cv-photo img").count() == 1
    page.locator(".cv-halves button", has_text="Generate").click()
    expect(page.locator(".cv-generations .cv-stage")).to_be_visible()  # nothing of it is lost
    watched.assert_quiet()


def test_the_api_draws(drawing_app, tmp_path):
    client = Client(drawing_app.url, verbose=False, download_files=tmp_path)
    answer, picture = client.predict(CAPTION, seed=2, guidance=4.5, api_name="/generate")
    expected = planted(CAPTION, 2, guidance=4.5)
    assert crossviz.load(picture) == expected
    assert answer["settings"] == {"seed": 2, "guidance": 4.5, "temperature": 1.0}
    assert answer["verdict"]["asked"] is True and answer["tokens"] == expected.tokens.tolist()
    for word in answer["words"]:
        values = np.array(word["asks_text"], np.float32)
        np.testing.assert_array_equal(values, expected.patch_map(word=word["index"]))
    assert len(json.dumps(answer)) < 100_000


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"caption": "a red giraffe"}, "does not know “giraffe”"),
        ({"seed": -1}, "The seed must be a whole number from 0 to 2147483647, not -1"),
        ({"seed": 1.5}, "The seed must be a whole number"),
        ({"seed": "7"}, "The seed must be a whole number"),
        ({"guidance": 11}, "Guidance must be a number from 1 to 10, not 11"),
        ({"guidance": True}, "Guidance must be a number"),
        ({"temperature": 2.5}, "Temperature must be a number from 0 to 2"),
        ({"model": "../etc"}, "There is no model '../etc' that draws here: choose one of planted"),
        ({"caption": 7}, "`caption` must be a text"),
    ],
    ids=str,
)
def test_the_api_says_what_will_not_do(drawing_app, asked, sentence):
    client = Client(drawing_app.url, verbose=False)
    with pytest.raises(AppError) as caught:
        client.predict(**{"caption": CAPTION, **asked}, api_name="/generate")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_model_that_draws_there_is_no_tab(visit):
    class Nothing:
        def generators(self):
            return []

    page = build(studio=Studio(Nothing()))
    address = launch(page, "127.0.0.1", free_port())
    try:
        watched = visit(address)
        assert watched.page.locator(".cv-halves, #cv-generate").count() == 0
        offered = Client(address, verbose=False).view_api(return_format="dict")
        assert "/generate" not in offered["named_endpoints"] and "/explain" in offered["named_endpoints"]
        watched.assert_quiet()
    finally:
        page.close(verbose=False)
