"""The app as a visitor meets it: type, upload, choose, go wrong, and lose nothing."""

import io
import logging
import random
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from watched import AXE, arrived, painted, ready, until

import crossviz
from crossviz.explanation import load_with_settings
from crossviz.render.figure import figure_bytes
from crossviz.view_settings import ViewSettings
from crossviz.web.engine import Engine
from crossviz.web.examples import examples

FIELDS = ("photo", "caption", "model", "method", "general")
STALE = "This is still the answer to the photo and caption before."


def chips(page: Page) -> list[str]:
    return page.locator(".cv-chip").all_inner_texts()


def shown(page: Page) -> str:
    """The id of the explanation on the page, once its photo is decoded."""
    return page.get_attribute(".cv-viewer[data-ready]", "data-ready")


def errors(page: Page) -> dict[str, str]:
    texts = {field: page.text_content(f"#cv-{field}-error-text") for field in FIELDS}
    return {field: text for field, text in texts.items() if text}


def ask(page: Page, caption: str | None = None) -> None:
    """Fill in the caption, press Explain, and wait for the answer or the error."""
    if caption is not None:
        page.fill("#cv-caption textarea", caption)
    page.evaluate("document.querySelector('.cv-viewer').removeAttribute('data-stale')")
    before = shown(page)
    page.click("#cv-explain")
    page.wait_for_function(
        """([before]) => {
          const viewer = document.querySelector(".cv-viewer");
          const id = viewer.getAttribute("data-ready");
          return !viewer.hasAttribute("data-busy") && (viewer.hasAttribute("data-stale") || (id && id !== before));
        }""",
        arg=[before],
    )


def choose(page: Page, model: str, *, other: bool = True) -> None:
    """Choose a model other than the last, and wait for what the server says of it: that clears the sentence under the
    model, also what was said since. `other`: than that of the picture, which then says so."""
    about = page.text_content("#cv-model-about-text")
    page.fill("#cv-model input", model)
    page.press("#cv-model input", "Enter")
    page.wait_for_function(
        """([other, about]) => Boolean(document.querySelector(".cv-viewer[data-stale]")) === other
          && document.querySelector("#cv-model-about-text").textContent !== about""",
        arg=[other, about],
    )


def take_away(page: Page) -> None:
    page.locator("#cv-photo .icon-button-wrapper button").last.click()
    page.wait_for_selector("#cv-photo img", state="detached")


def upload(page: Page, name: str, data: bytes) -> None:
    if page.locator("#cv-photo img").count():
        take_away(page)
    page.set_input_files("#cv-photo input[type=file]", files=[{"name": name, "mimeType": "image/*", "buffer": data}])
    page.wait_for_selector("#cv-photo img", state="attached")
    page.wait_for_selector(".cv-stale:visible")
    assert page.inner_text(".cv-stale") == "This is still the answer for the photo before: press Explain."


def picture(kind: str, size: tuple[int, int] = (300, 200), **options) -> bytes:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """177 megapixels of nothing in 21 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13300, 13300, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1664 * 13300), 9)) + chunk(b"IEND", b"")


def test_the_page_opens_with_an_example_explained(app, visit):
    watched = visit(app)
    page, first = watched.page, examples()[0]
    assert page.input_value("#cv-caption textarea") == first.caption
    assert page.locator("#cv-photo img").count() == 1
    assert "".join(page.text_content(".cv-words").split()) == "".join(first.caption.split())
    assert page.locator(".cv-frame.cv-active").count() == 1
    assert page.title() == "crossviz"
    watched.assert_quiet()


def test_button_and_enter_explain(lasting):
    page = lasting.page
    ask(page, "a tall tower behind a man")
    assert chips(page) == ["a", "tall", "tower", "behind", "a", "man"]
    page.fill("#cv-caption textarea", "grey grass")
    page.press("#cv-caption textarea", "Enter")
    page.wait_for_function("document.querySelectorAll('.cv-chip').length === 2")
    assert chips(page) == ["grey", "grass"]
    assert errors(page) == {}
    lasting.assert_quiet()


def test_it_can_all_be_done_with_keys(lasting):
    page = lasting.page
    page.focus("#cv-caption textarea")
    page.keyboard.press("Control+A")
    page.keyboard.type("a camera on legs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "cv-explain"
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.cv-chip').length === 4")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('cv-chip')"):
            break
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".cv-title") == "camera"


def test_an_error_is_said_also_after_the_lists_had_the_focus(app, visit):
    watched = visit(app)
    page = watched.page
    for field in ("model", "method"):
        page.focus(f"#cv-{field} input")
        page.keyboard.press("Tab")
    choose(page, "nobody")
    ask(page)
    assert list(errors(page)) == ["model"]
    watched.assert_quiet()


def test_every_example_runs_by_itself(lasting):
    page = lasting.page
    for index, example in reversed(list(enumerate(examples()))):
        before = shown(page)
        page.locator(".cv-examples button").nth(index).click()
        page.wait_for_function(
            "([text]) => document.querySelector('.cv-words')?.textContent.replace(/\\s/g, '') === text",
            arg=["".join(example.caption.split())],
        )
        ready(page)
        assert shown(page) != before
        expect(page.locator("#cv-caption textarea")).to_have_value(example.caption)
        assert errors(page) == {}
        ask(page, f"example {index}")  # the example's photo is the visitor's now
        assert errors(page) == {}
        assert chips(page) == ["example", str(index)]
    lasting.assert_quiet()


@pytest.mark.parametrize(
    ("caption", "says"),
    [("", "caption"), ("   \n ", "white space"), ("...!", "word"), ("word " * 2000, "10,000 characters")],
    ids=["empty", "blank", "no word", "10,000 characters"],
)
def test_captions_that_will_not_do(lasting, caption, says):
    page = lasting.page
    before = chips(page)
    ask(page, caption)
    told = errors(page)
    assert list(told) == ["caption"]
    assert says in told["caption"]
    assert page.input_value("#cv-caption textarea") == caption.replace("\r", "")
    assert page.get_attribute("#cv-caption textarea", "aria-invalid") == "true"
    assert chips(page) == before
    assert page.inner_text(".cv-stale") == STALE
    ask(page, "a man")
    assert errors(page) == {}
    assert page.locator(".cv-stale:visible").count() == 0
    lasting.assert_quiet()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("notes.jpg", b"not a photo at all\n" * 30, "text"),
        ("short.jpg", picture("JPEG")[:9000], "short.jpg"),
        ("empty.png", b"", "0 bytes"),
        ("bomb.png", bomb(), "megapixels"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><rect/></svg>", "SVG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_photos_that_will_not_do(lasting, name, data, says):
    page = lasting.page
    upload(page, name, data)
    page.wait_for_function("document.querySelector('#cv-photo-error-text').textContent !== ''")
    ask(page, "a dog that stays")
    told = errors(page)
    assert list(told) == ["photo"]
    assert says in told["photo"]
    assert "Traceback" not in page.content()
    assert page.input_value("#cv-caption textarea") == "a dog that stays"
    assert page.locator(".cv-stale:visible").count() == 1
    page.locator(".cv-examples button").first.click()
    page.wait_for_function("!document.querySelector('.cv-viewer:is([data-busy], [data-stale])')")
    assert errors(page) == {}
    assert lasting.dialogs == []
    assert lasting.hosts <= {"127.0.0.1"}


def test_without_a_photo(lasting):
    page = lasting.page
    take_away(page)
    ask(page, "a dog")
    assert list(errors(page)) == ["photo"]
    assert page.input_value("#cv-caption textarea") == "a dog"
    lasting.assert_quiet()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("moving.gif", picture("GIF", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")], duration=50)),
        ("dot.png", picture("PNG", (1, 1))),
        ("line.png", picture("PNG", (900, 2))),
        ("tall.webp", picture("WEBP", (90, 400))),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_odd_photos_that_will_do(lasting, name, data):
    page = lasting.page
    upload(page, name, data)
    ask(page, "a coloured thing")
    assert errors(page) == {}
    assert chips(page) == ["a", "coloured", "thing"]
    size = page.locator(".cv-photo").evaluate("e => [e.naturalWidth, e.naturalHeight]")
    assert size == list(Image.open(io.BytesIO(data)).size)
    lasting.assert_quiet()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("clip-99", "There is no model 'clip-99'"),
        ("open_clip:ViT-B-16/openai", "HF_HUB_OFFLINE"),
        ("open_clip:/etc", "list of this server"),
        ("<b>bold</b>", "<b>bold</b>"),
    ],
    ids=["unknown", "hub without network", "folder on a server", "markup"],
)
def test_models_that_cannot_be_had(lasting, model, says):
    page = lasting.page
    before = chips(page)
    choose(page, model)
    ask(page)
    told = errors(page)
    assert list(told) == ["model"]
    assert says in told["model"]
    assert chips(page) == before
    assert model.removeprefix("open_clip:ViT") in page.input_value("#cv-model input")
    assert page.locator("#cv-model-error-text b").count() == 0
    lasting.assert_quiet()


def test_an_error_goes_with_its_cause_and_comes_back_with_it(lasting):
    page = lasting.page
    for _ in range(2):
        choose(page, "nobody")
        ask(page)
        assert list(errors(page)) == ["model"]
        choose(page, "crossviz-mini", other=False)
        page.wait_for_function("document.querySelector('#cv-model-error-text').hidden")
    for _ in range(2):
        upload(page, "notes.jpg", b"not a photo at all")
        page.wait_for_function("!document.querySelector('#cv-photo-error-text').hidden")
        take_away(page)
        page.wait_for_function("document.querySelector('#cv-photo-error-text').hidden")
    lasting.assert_quiet()


def test_what_nobody_expected_is_said_honestly_and_logged(lasting, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret internals")
        yield

    page = lasting.page
    monkeypatch.setattr(Engine, "steps", broken)
    with caplog.at_level(logging.ERROR, "crossviz.web.page"):
        ask(page, "a dog")
    told = errors(page)
    assert list(told) == ["general"]
    assert "logged" in told["general"]
    assert "secret" not in page.content()
    assert "secret internals" in caplog.text
    monkeypatch.undo()
    ask(page)
    assert chips(page) == ["a", "dog"]
    lasting.assert_quiet()


@pytest.mark.parametrize(
    "caption",
    [
        '<img src=x onerror="window.hacked=1"> dog',
        "${window.hacked=1} and `${alert(1)}` dog",
        "{{value}} {{#each value}}{{this}}{{/each}} dog",
        "</script><script>window.hacked=1</script> dog",
    ],
)
def test_captions_are_never_markup_nor_code(lasting, caption):
    page = lasting.page
    ask(page, caption)
    assert caption in page.text_content(".cv-words")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".cv-words img, .cv-words script").count() == 0
    lasting.assert_quiet()


def test_the_photo_is_encoded_once_for_many_captions(lasting, monkeypatch):
    encoded = []
    encode = crossviz.Explainer.encode_many
    spy = lambda self, photos: encoded.extend(photos) or encode(self, photos)  # noqa: E731
    monkeypatch.setattr(crossviz.Explainer, "encode_many", spy)
    page = lasting.page
    upload(page, "new.png", picture("PNG", (64 + random.randrange(64), 50)))
    for caption in ("a dog", "a cat", "a cat and a dog"):
        ask(page, caption)
        assert errors(page) == {}
    assert len(encoded) == 1


def test_visitors_do_not_see_each_other(app, lasting, visit):
    one, other = lasting.page, visit(app).page
    ask(one, "only mine")
    ask(other, "quite another")
    assert chips(one) == ["only", "mine"]
    assert chips(other) == ["quite", "another"]
    for page, caption in ((one, "only-mine"), (other, "quite-another")):
        name, _ = save(page, ".json")
        assert name == f"crossviz-{caption}.json"


def save(page: Page, suffix: str) -> tuple[str, Path]:
    page.select_option(".cv-save select", suffix)
    with page.expect_download() as waiting:
        page.click('.cv-button:text-is("Save")')
    return waiting.value.suggested_filename, Path(waiting.value.path())


def test_files_follow_the_view(app, visit, tmp_path):
    page = visit(app).page
    ask(page, "a man with a camera")
    page.locator(".cv-chip", has_text="camera").click()
    page.locator(".cv-head").nth(1).click()
    page.locator(".cv-head").nth(3).click()
    page.mouse.move(0, 0)
    for choice in ("Patches", "This word", "80"):
        page.locator(".cv-segment", has_text=choice).click()
    page.get_by_label("Colours", exact=True).select_option("magma")
    wanted = page.evaluate("document.querySelector('#cv-viewer .cv-host').crossvizSettings()")
    assert wanted["held"] == [[13, 19]] and len(wanted["head"]) == 2
    _, path = save(page, ".svg")
    explanation, settings = load_with_settings(path.rename(tmp_path / "a.svg"))
    assert settings == ViewSettings.from_json(wanted)
    how = {"head": settings.head, "smooth": False, "scale": "word", "cmap": "magma", "contour": 0.8, "opacity": 0.85}
    assert figure_bytes(explanation.figure([(13, 19)], **how), "svg")[:-8] in (tmp_path / "a.svg").read_bytes()
    _, path = save(page, ".html")
    saved = visit().page
    saved.goto(path.rename(tmp_path / "a.html").as_uri())
    ready(saved)
    assert saved.evaluate("crossvizView.settings()") == wanted


def test_results_are_saved_and_load_again(lasting, tmp_path):
    page = lasting.page
    ask(page, "a man & his camera")
    loaded = []
    for suffix in (".npz", ".html", ".png", ".svg", ".json"):
        name, path = save(page, suffix)
        assert name == f"crossviz-a-man-his-camera{suffix}"
        loaded.append(crossviz.load(path.rename(tmp_path / name)))
    assert all(explanation == loaded[0] for explanation in loaded)
    assert loaded[0].caption.text == "a man & his camera"
    name, path = save(page, ".pdf")
    assert path.read_bytes().startswith(b"%PDF")
    name, path = save(page, "view")
    assert name.startswith("crossviz-")
    assert Image.open(path).format == "PNG"
    lasting.assert_quiet()


def test_a_forgotten_answer_is_not_mistaken_for_another(lasting):
    page = lasting.page
    ask(page, "a man")
    # The server keeps the last answer of a visitor; the page names the one that it shows.
    page.evaluate(
        """() => {
          const send = window.ownFetch = window.fetch;
          window.fetch = (url, options) => {
            const body = options?.body;
            if (typeof body === "string" && body.includes('"format"')) {
              options = { ...options, body: body.replace(/"id":"[0-9a-f]+"/, '"id":"0"') };
            }
            return send(url, options);
          };
        }"""
    )
    page.select_option(".cv-save select", ".npz")
    page.click('.cv-button:text-is("Save")')
    page.wait_for_function("document.querySelector('#cv-general-error-text').textContent !== ''")
    assert "no longer kept" in errors(page)["general"]
    page.evaluate("() => { window.fetch = window.ownFetch; }")


def test_what_is_being_done_is_said_and_can_be_cancelled(lasting, monkeypatch, go_on):
    ended = threading.Event()
    steps = Engine.steps

    def slow(self, *asked):
        try:
            yield "reading a very large photo"
            while not go_on.wait(0.05):
                yield "reading a very large photo"
            return (yield from steps(self, *asked))
        finally:
            ended.set()

    page = lasting.page
    before = chips(page)
    monkeypatch.setattr(Engine, "steps", slow)
    page.fill("#cv-caption textarea", "a dog")
    page.click("#cv-explain")
    page.wait_for_selector(".cv-pill:visible")
    assert page.inner_text(".cv-pill:visible").startswith("reading a very large photo")
    assert chips(page) == before
    page.click(".cv-over .cv-link")
    page.wait_for_selector(".cv-stale:visible")
    until(page, ended.is_set)
    assert page.locator(".cv-viewer[data-busy]").count() == 0
    assert page.input_value("#cv-caption textarea") == "a dog"
    monkeypatch.undo()
    ask(page)
    assert chips(page) == ["a", "dog"]
    lasting.assert_quiet()


def axe_finds_nothing_that_is_ours(page: Page) -> None:
    found = page.evaluate("axe.run({ include: ['#cv-page', '#cv-header'] })")["violations"]
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found] == []


def test_dark_and_light_can_be_chosen_are_remembered_and_axe_finds_nothing_in_either(app, visit):
    page = visit(app, color_scheme="light", bypass_csp=True).page
    ask(page, "")
    page.evaluate(AXE)
    axe_finds_nothing_that_is_ours(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click(".cv-theme")
    expect(page.locator(".cv-theme")).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    arrived(page)
    expect(page.locator("body")).to_have_css("background-color", dark)
    page = visit(app, color_scheme="dark", bypass_csp=True).page
    expect(page.locator("body")).to_have_css("background-color", dark)
    ask(page, "")
    page.evaluate(AXE)
    axe_finds_nothing_that_is_ours(page)


def test_the_page_fits_its_window(app, visit):
    """Of four widths: opened in the narrowest, and made wider."""
    page = visit(app, width=390).page
    widths = (390, 768, 1280, 1600)

    def fits() -> list[bool]:
        found = []
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            painted(page)
            found.append(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
        return found

    assert dict(zip(widths, fits(), strict=True)) == dict.fromkeys(widths, True)
    ask(page, "a very long caption of a man who stands on the grass " * 5)
    assert dict(zip(widths, fits(), strict=True)) == dict.fromkeys(widths, True)


def test_a_file_that_is_no_picture_is_said_under_the_photo_until_there_is_one(lasting):
    page = lasting.page
    take_away(page)
    page.set_input_files(
        "#cv-photo input[type=file]", files=[{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"some text"}]
    )
    page.wait_for_selector("#cv-photo-error-text:visible")
    assert page.inner_text("#cv-photo-error-text").startswith("\u201cnotes.txt\u201d is no picture: choose a JPEG")
    assert page.get_attribute("#cv-photo input", "aria-invalid") == "true"
    upload(page, "fine.png", picture("PNG"))
    assert errors(page) == {}
