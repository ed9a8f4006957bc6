"""Two answers side by side: the same arithmetic as in Python, one scale, one cursor, and the answers of a visit."""

import base64
import dataclasses
import itertools
import re

import factories
import numpy as np
import pytest
from playwright.sync_api import expect
from scenes import meadow, moved_meadow, shares
from watched import AXE, arrived

import crossviz
from crossviz.geometry import ImageView, PatchGrid
from crossviz.map_difference import difference, paired
from crossviz.pairs import word_pairs
from crossviz.render.compare_page import comparison_page
from crossviz.render.difference import difference_rgba
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise

HEAT = """async ([word, other, smooth, width, height, vmax]) => {
  const CV = CrossvizViewer;
  const earlier = JSON.parse(document.getElementById("crossviz-earlier").textContent);
  const payloads = [crossvizView.view().payload, earlier[0]];
  await Promise.all(payloads.map(CV.unpack));
  const sides = payloads.map((payload, i) => {
    const field = new CV.Field(payload);
    const what = i ? other : word;
    return { payload, field, values: field.values(what), nullMass: field.nullMass(what) };
  });
  const values = CV.subtract(sides[0], sides[1], { width, height, smooth });
  const image = CV.heatDifference(values, { width, height, opacity: 0.85, cmap: "RdBu_r", vmax });
  let text = "";
  for (const byte of image.data) text += String.fromCharCode(byte);
  return { pixels: btoa(text), moved: sides[0].field.isProbability ? CV.moved(...sides) : null };
}"""


def sent(explanation):
    """The maps `word gh gw` as the viewer gets them, in displayed units."""
    grid = (explanation.grid.height, explanation.grid.width)
    maps = dequantise(viewer_payload(explanation)["means"], (len(explanation.words), *grid))
    return maps * explanation.scale.factor


@pytest.mark.parametrize(
    ("first", "second"),
    [(meadow(), moved_meadow()), (meadow(), meadow(crop=True)), (shares(3, 4), shares(3, 4))],
    ids=["two captions", "two grids", "the same, signed"],
)
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "patches"])
def test_the_difference_has_the_bytes_of_the_reference(side_by_side, first, second, smooth):
    page = side_by_side(first, second).page
    word, size = 2, (301, 200)
    found = difference(first, second, word)
    scale = found.scale
    got = page.evaluate(HEAT, [word, word, smooth, *size, scale.vmax])
    seen = np.frombuffer(base64.b64decode(got["pixels"]), np.uint8).reshape(size[1], size[0], 4)
    sides = [(sent(ex)[word], ex.view) for ex in (first, second)]
    wanted = difference_rgba(*sides, scale, size, smooth=smooth, cmap="RdBu_r")
    differ = (seen != wanted).any(axis=-1)
    assert differ.mean() < 2e-4
    if differ.any():
        assert np.abs(seen[differ].astype(int) - wanted[differ]).max() <= 6
    if found.moved is None:
        assert not seen[..., 3].any()  # two equal maps: nothing is drawn
    else:
        assert got["moved"] == pytest.approx(found.moved, abs=0.01)  # the maps travel as bytes
        assert seen[..., 3].any()


def test_words_answer_to_each_other_as_in_python(show):
    page = show(meadow()).page
    rng = np.random.default_rng(0)
    captions = [list(rng.choice(["a", "Black", "dog", "cat", "red", "ball"], size=n)) for n in range(9)]
    cases = [[list(map(str, a)), list(map(str, b))] for a, b in itertools.product(captions, captions)]
    got = page.evaluate("(cases) => cases.map(([a, b]) => CrossvizViewer.wordPairs(a, b))", cases)
    for (first, second), pairs in zip(cases, got, strict=True):
        wanted = [dataclasses.asdict(pair) for pair in word_pairs(first, second)]
        assert pairs == [{k: list(v) if isinstance(v, tuple) else v for k, v in pair.items()} for pair in wanted]


def test_an_edited_word_is_shown_first_and_what_moved_stands_first(side_by_side):
    first, second = moved_meadow(), meadow()
    watched = side_by_side(first, second)
    page = watched.page
    expect(page.locator(".cv-comparing-differs")).to_have_text("They differ in the caption.")
    expect(page.locator(".cv-comparing .cv-shown")).to_have_text(["ball", "frisbee"])
    rows = page.locator(".cv-comparing-table tbody tr")
    shown = [float(text.split("\u202f")[0].lstrip("<>")) for text in rows.locator("td:last-child").all_inner_texts()]
    assert shown == sorted(shown, reverse=True) and shown[0] > 40
    most = max(paired(first, second), key=lambda two: difference(first, second, *_spans(two)).moved)
    assert rows.first.locator("th").inner_text().split(" / ")[0] == most[0].text
    row = page.locator(".cv-comparing-table tr", has_text="ball / frisbee")
    found = difference(first, second, "ball", "frisbee")
    assert float(row.locator("td").last.inner_text().split("\u202f")[0]) == pytest.approx(100 * found.moved, abs=1)
    watched.assert_quiet()


def test_one_scale_for_both_and_the_same_for_their_difference(side_by_side):
    first, second = moved_meadow(), meadow()
    page = side_by_side(first, second).page
    page.locator(".cv-comparing-table button", has_text="ball / frisbee").click()
    ends = [
        bar.all_inner_texts()[-1]
        for bar in (page.locator(f".cv-comparing-side >> nth={i} >> .cv-tick") for i in range(3))
    ]
    assert len(set(ends)) == 1
    assert float(ends[0]) == pytest.approx(difference(first, second, "ball", "frisbee").scale.vmax, rel=0.03)
    starts = page.locator(".cv-comparing-difference .cv-tick").first.inner_text()
    assert starts == f"\u2212{ends[0]}"


def test_a_word_or_a_place_on_one_side_is_followed_by_the_other(side_by_side):
    first, second = moved_meadow(), meadow(crop=True)
    watched = side_by_side(first, second)
    page = watched.page
    sides = page.locator(".cv-comparing-side")
    sides.nth(1).locator(".cv-chip", has_text="sky").hover()
    expect(page.locator(".cv-comparing .cv-shown")).to_have_text(["sky", "sky"])
    sides.nth(1).locator(".cv-chip", has_text="dog").click()
    page.locator(".cv-comparing-differs").hover()  # what was clicked stays
    expect(page.locator(".cv-comparing .cv-shown")).to_have_text(["dog", "dog"])
    frame = sides.nth(0).locator(".cv-frame")
    box = frame.bounding_box()
    frame.hover(position={"x": box["width"] * 0.72, "y": box["height"] * 0.30})
    row, col = first.view.patch_at(first.grid, (0.72 * 720, 0.30 * 480))
    centre = first.view.grid_to_source([[col + 0.5, row + 0.5]], first.grid)[0]
    there = second.view.patch_at(second.grid, centre)
    values = [ex.patch_map("dog")[at] * ex.scale.factor for ex, at in ((first, (row, col)), (second, there))]
    text = page.locator(".cv-comparing-where").inner_text()
    said = [float(part.replace("\u2212", "-").replace("+", "")) for part in _numbers(text)]
    np.testing.assert_allclose(said, [*values, values[0] - values[1]], rtol=0.05, atol=0.06)
    sides.nth(1).locator(".cv-frame").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".cv-comparing-where")).to_contain_text("A minus B")
    watched.assert_quiet()


def _spans(two):
    return tuple((phrase.start, phrase.end) for phrase in two)


def _numbers(text):
    return [part.split("\u202f")[0].split(" ")[-1] for part in text.replace(";", ",").split(",")]


def test_swapped_the_sides_change_places(side_by_side):
    page = side_by_side(moved_meadow(), meadow()).page
    page.get_by_role("button", name="Swap sides").click()
    heads = page.locator(".cv-comparing-side h3")
    expect(heads).to_have_text(["A · the other answer", "B · this answer", "A minus B"])
    expect(page.locator(".cv-comparing .cv-shown")).to_have_text(["frisbee", "ball"])


def test_the_same_answer_twice_has_nothing_that_moved(side_by_side):
    page = side_by_side(meadow(), meadow()).page
    expect(page.locator(".cv-comparing-differs")).to_have_text("The two answers are the same.")
    expect(page.locator(".cv-comparing-difference .cv-comparing-said")).to_have_text(
        "0\u202f% of its attention lies elsewhere"
    )
    drawn = page.evaluate(
        """() => [...document.querySelectorAll(".cv-comparing-difference .cv-heat.cv-front")].map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.some((byte, i) => i % 4 === 3 && byte > 0);
        })"""
    )
    assert drawn == [False]


def test_two_photos_and_two_units_stand_side_by_side_without_a_difference(side_by_side):
    other = factories.explanation("A black dog", size_wh=(80, 60), view=ImageView.squash((80, 60), (64, 96)))
    page = side_by_side(meadow(), other).page
    expect(page.locator(".cv-comparing-not")).to_contain_text("different photos")
    expect(page.locator(".cv-comparing-side")).to_have_count(2)
    expect(page.get_by_label("Compare with").locator("option")).to_have_text(re.compile("· another photo$"))
    signed = shares(2, 3)
    plain = dataclasses.replace(meadow(signed.caption.text), photo=signed.photo)
    page = side_by_side(plain, signed).page
    expect(page.locator(".cv-comparing-not")).to_contain_text("can’t be subtracted")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_it_fits_and_is_accessible(side_by_side, width, theme):
    watched = side_by_side(moved_meadow(), meadow(crop=True), width=width, color_scheme=theme)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run('.cv-comparing')).violations.map((one) => one.id)")
    assert found == []
    watched.assert_quiet()


def test_the_page_opens_again_in_python(tmp_path):
    path = tmp_path / "two.crossviz.html"
    path.write_bytes(comparison_page([moved_meadow(), meadow()]))
    assert crossviz.load(path) == moved_meadow()
    with pytest.raises(crossviz.RenderError, match="at least two"):
        comparison_page([meadow()])
    assert [b.text for a, b in paired(moved_meadow(), meadow()) if a.text == "ball"] == ["frisbee"]
    assert PatchGrid(16, 24) == meadow().grid


def test_answers_of_a_visit_are_kept_compared_and_forgotten(visit, app, tmp_path):
    watched = visit(app)
    page = watched.page
    viewer = page.locator(".cv-viewer")
    expect(page.locator(".cv-comparing > .cv-note")).to_contain_text("press Explain")
    expect(page.locator(".cv-visit")).to_be_hidden()
    before = viewer.get_attribute("data-ready")
    caption = page.locator("#cv-caption textarea")
    opening = caption.input_value()

    caption.fill("a man with a tripod and a hat")
    page.click("#cv-explain")
    expect(viewer).not_to_have_attribute("data-ready", before)
    page.wait_for_selector(".cv-viewer[data-ready]")
    page.click(".cv-visit > summary")
    answers = page.locator(".cv-visit-one")
    expect(answers).to_have_count(2)
    page.click(".cv-comparing > summary")
    expect(page.locator(".cv-comparing-side")).to_have_count(3)

    answers.nth(1).click()  # the earlier one again, with its fields, and the server can save it
    expect(viewer).to_have_attribute("data-ready", before)
    expect(caption).to_have_value(opening)
    expect(page.locator(".cv-comparing-side h3").first).to_have_text("A · this answer")  # open, as it was left
    page.wait_for_function("() => !document.querySelector('#cv-general-error p').textContent")
    page.select_option(".cv-save select", ".npz")

    def saved():
        with page.expect_download() as download:
            page.click(".cv-saving button:has-text('Save')")
        download.value.save_as(tmp_path / "again.npz")
        return crossviz.load(tmp_path / "again.npz")

    assert saved().caption.text == opening

    page.get_by_role("button", name="Forget the others").click()
    expect(page.locator(".cv-visit")).to_be_hidden()
    expect(page.locator(".cv-comparing-side")).to_have_count(0)
    page.reload()
    arrived(page)
    expect(page.locator(".cv-visit-one")).to_have_count(1)
    watched.assert_quiet()
