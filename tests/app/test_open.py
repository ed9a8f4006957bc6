"""Saved files that are opened again on the page: chosen, dropped anywhere, or taken for a photo."""

import base64
import dataclasses
import io
import json
import zipfile

import factories
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from test_link import SETTINGS, shows
from test_page import errors, picture, save, take_away
from watched import until

import crossviz
from crossviz.bundle import embed
from crossviz.explanation import Explanation
from crossviz.view_settings import ViewSettings
from crossviz.web.engine import Engine
from crossviz.web.examples import examples

SUFFIXES = (".png", ".svg", ".html", ".npz", ".json", ".gif")
CAPTION = "a quiet harbour with two boats"
DROP = """([name, base64, selector]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const type = { png: "image/png", svg: "image/svg+xml", jpg: "image/jpeg" }[name.split(".").pop()] || "";
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const target = document.querySelector(selector);
  const over = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
  target.dispatchEvent(over);
  const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  target.dispatchEvent(event);
  return [over.defaultPrevented, event.defaultPrevented];
}"""
SETTING = ViewSettings(held=((2, 7), (8, 15)), head=0, smooth=False, cmap="plasma", opacity=0.6, contour=0.8)
PARTS = ("held", "head", "smooth", "cmap", "opacity", "contour")


@pytest.fixture(scope="module")
def made() -> Explanation:
    """Of a photo that is none of the page's own."""
    photo = factories.photo(300, 200, name="harbour.jpg")
    return Engine("crossviz-mini").explain(photo, CAPTION, "crossviz-mini")


def choose(page: Page, name: str, data: bytes) -> None:
    page.set_input_files(
        "#cv-open input[type=file]",
        files=[{"name": name, "mimeType": "application/octet-stream", "buffer": data}],
    )


def drop(page: Page, name: str, data: bytes, selector: str) -> list[bool]:
    return page.evaluate(DROP, [name, base64.b64encode(data).decode(), selector])


def refused(page: Page, part: str) -> None:
    """Until it is said why a file can't be opened: one sentence or two, no path, and nothing else is touched."""
    text = page.locator("#cv-open-error-text")
    expect(text).to_contain_text(part)
    said = text.inner_text()
    assert "\n" not in said and "/" not in said and len(said) < 300
    assert page.input_value("#cv-caption textarea") == examples()[0].caption
    assert page.locator("#cv-photo img").count() == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_saved_file_is_shown_again_with_its_view(lasting, made, suffix):
    page = lasting.page
    before = page.evaluate(SETTINGS)
    assert all(before[part] != SETTING.as_dict()[part] for part in PARTS)
    choose(page, f"harbour{suffix}", made.to_bytes(suffix, settings=SETTING))
    shows(page, CAPTION)
    expect(page.locator("#cv-caption textarea")).to_have_value(CAPTION)
    assert page.evaluate(SETTINGS) == {**SETTING.as_dict(), "shown": page.evaluate(SETTINGS)["shown"]}
    assert errors(page) == {} and page.inner_text("#cv-open-error-text") == ""
    page.wait_for_function("document.querySelector('#cv-photo img').naturalWidth === 300")
    lasting.assert_quiet()


def test_what_was_opened_is_saved_explained_and_checked(lasting, made, tmp_path):
    page = lasting.page
    choose(page, "harbour.npz", made.to_bytes(".npz"))
    shows(page, CAPTION)
    _, path = save(page, ".json")
    assert crossviz.load(path.rename(tmp_path / "again.json")) == made
    page.locator(".cv-chip", has_text="boats").click()
    page.get_by_role("button", name="Check now").or_(page.locator(".cv-trust-said")).first.wait_for()
    page.wait_for_function("/beyond|chance/.test(document.querySelector('.cv-trust').textContent)")
    page.fill("#cv-caption textarea", "two boats")
    page.click("#cv-explain")
    shows(page, "two boats")
    assert errors(page) == {}


@pytest.mark.parametrize("selector", ["body", ".cv-stage, .cv-frame", "#cv-photo", "#cv-caption textarea"])
def test_a_file_may_be_dropped_anywhere(lasting, made, selector):
    page = lasting.page
    assert drop(page, "harbour.svg", made.to_bytes(".svg"), selector) == [True, True]
    shows(page, CAPTION)
    assert errors(page) == {}


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_saved_picture_that_is_taken_for_a_photo_is_shown_again(lasting, made, suffix):
    page = lasting.page
    take_away(page)
    data = made.to_bytes(suffix, settings=SETTING)
    page.set_input_files(
        "#cv-photo input[type=file]", files=[{"name": f"a{suffix}", "mimeType": "image/png", "buffer": data}]
    )
    shows(page, CAPTION)
    assert page.evaluate(SETTINGS)["held"] == [[2, 7], [8, 15]]
    page.wait_for_function("document.querySelector('#cv-photo img')?.naturalWidth === 300")
    expect(page.locator(".cv-stale")).to_be_hidden()
    assert errors(page) == {}


def test_a_plain_photo_goes_to_the_photos_field(lasting):
    page = lasting.page
    drop(page, "garden.png", picture("PNG", (300, 200)), "body")
    page.wait_for_function("document.querySelector('#cv-photo img').naturalWidth === 300")
    expect(page.locator(".cv-stale")).to_have_text("This is still the answer for the photo before: press Explain.")
    assert errors(page) == {}
    page.click("#cv-explain")
    page.wait_for_function("document.querySelector('.cv-frame img').naturalWidth === 300")


def test_an_example_that_was_saved_is_an_example_again(lasting):
    page = lasting.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    first = examples()[1]
    explanation = Engine("crossviz-mini").explain(str(first.photo), "a suit", "crossviz-mini")
    choose(page, "suit.html", explanation.to_bytes(".html"))
    shows(page, "a suit")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".cv-taken")).to_contain_text("the example's name")
    assert f"example={first.name}" in page.evaluate("navigator.clipboard.readText()")


def test_a_model_that_this_server_does_not_have_is_looked_at_only(lasting):
    page = lasting.page
    choose(page, "a.npz", factories.explanation("a dog and a zebra").to_bytes(".npz"))
    shows(page, "a dog and a zebra")
    expect(page.locator("#cv-general-error-text")).to_have_text(
        "This file was made by 'synthetic', which this server does not have: look at it and save it; Explain asks "
        "'crossviz-mini'."
    )
    expect(page.locator("#cv-model input")).to_have_value("crossviz-mini")
    page.locator(".cv-chip", has_text="zebra").click()
    page.wait_for_function("document.querySelector('.cv-trust').textContent.includes('is not loaded here')")


def test_a_folder_that_a_file_names_as_its_model_is_not_loaded(lasting, monkeypatch):
    asked = []
    own = Engine.explainer
    monkeypatch.setattr(Engine, "explainer", lambda self, model: asked.append(model) or own(self, model))
    ex = factories.explanation("a dog and a zebra")
    evil = dataclasses.replace(ex, provenance=dataclasses.replace(ex.provenance, model="/etc"))
    page = lasting.page
    choose(page, "a.npz", evil.to_bytes(".npz"))
    shows(page, "a dog and a zebra")
    page.locator(".cv-chip", has_text="zebra").click()
    page.wait_for_function("document.querySelector('.cv-trust').textContent.includes('is not loaded here')")
    assert set(asked) <= {"crossviz-mini"}


# What can't be opened


def bomb() -> bytes:
    """A zip that says it unpacks to 300 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps({"schema_version": 1, "kind": "crossviz explanation"}))
        archive.writestr("zeros.npy", bytes(300 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("a.npz", b"not a zip", "damaged and can't be read"),
        ("a.npz", b"", "damaged and can't be read"),
        ("a.json", b'{"manifest": 1}', "holds no crossviz bundle"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "holds no crossviz bundle"),
        ("a.html", b"<script>alert(1)</script>", "holds no crossviz bundle"),
        ("a.gif", b"GIF89a", ""),
        ("a.pdf", b"%PDF-1.4", "is neither a file that crossviz saved nor a photo"),
        ("a<b>.txt", b"hello", "is neither a file that crossviz saved nor a photo"),
        ("a.png", picture("PNG")[:400], ""),
    ],
    ids=["no zip", "empty", "json", "svg", "html", "gif", "pdf", "text", "cut photo"],
)
def test_what_is_no_saved_file_is_said_in_a_sentence(lasting, name, data, part):
    choose(lasting.page, name, data)
    lasting.page.wait_for_function("document.querySelector('#cv-open-error-text').textContent !== ''")
    refused(lasting.page, part)
    assert lasting.dialogs == []


def test_the_same_file_is_refused_in_the_same_words_again(lasting):
    for _ in range(3):
        choose(lasting.page, "a.npz", b"not a zip")  # takes away what was said before
        refused(lasting.page, "damaged and can't be read")


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(lasting):
    page = lasting.page
    choose(page, "a.npz", bomb())
    refused(page, "would unpack to 300 MB; at most 128 MB are read")


def test_a_damaged_bundle_in_a_picture_is_said(lasting, made):
    page = lasting.page
    data = bytearray(made.to_bytes(".png"))
    data[data.index(b"cvBd") + 900] ^= 1
    choose(page, "a.png", bytes(data))
    refused(page, "is damaged (its checksum differs)")


def test_a_huge_file_is_refused_before_it_is_sent(lasting):
    page = lasting.page
    page.evaluate(
        """() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(65 * 2 ** 20)], "a.npz"));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    refused(page, "This file has 65 MB, and at most 64 MB are taken here")
    lasting.assert_quiet()


def test_markup_in_a_saved_file_stays_text(lasting):
    evil = factories.explanation("<img src=x onerror=alert(1)> ${alert(2)} {{value}}", name="<b>.png")
    page = lasting.page
    choose(page, "a.html", evil.to_bytes(".html"))
    shows(page, evil.caption.text)
    assert page.locator(".cv-viewer img[src=x]").count() == 0
    lasting.assert_quiet()


def test_the_button_is_reached_and_pressed_by_keys(lasting):
    page = lasting.page
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # one that comes before this is heard of is lost
    button = page.get_by_role("button", name="Open a saved file")
    button.focus()
    expect(button).to_be_focused()
    button.press("Enter")
    until(page, lambda: choosers)
    assert not choosers[0].is_multiple()


def test_a_picture_with_a_bundle_of_something_else_is_refused(lasting):
    other = io.BytesIO()
    Image.new("RGB", (5, 4)).save(other, "PNG")
    npz = io.BytesIO()
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"schema_version": 1, "kind": "something"}))
    page = lasting.page
    choose(page, "a.png", embed(".png", other.getvalue(), npz.getvalue()))
    refused(page, "holds something else than an explanation")
