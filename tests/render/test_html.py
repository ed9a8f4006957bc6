"""The page that stands alone, in a real browser: no request, no foreign script, and the same pixels as Python draws."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import factories
import numpy as np
import pytest
from PIL import Image

import crossviz
from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.html import script_json, standalone_page
from crossviz.render.overlay import display_rgba
from crossviz.render.payload import viewer_payload
from crossviz.render.quantised import dequantise
from crossviz.render.scale import word_scale

EVIL = "</script><script>document.title='owned'</script> <img src=x onerror=alert(1)> <!-- dog ${1+1} & \u2028 zebra"


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self._open = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self._open = [dict(attrs), ""]

    def handle_data(self, data):
        if self._open:
            self._open[1] += data

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._open)
            self._open = None


def page_of(ex):
    return standalone_page(viewer_payload(ex)).decode()


@pytest.fixture
def opened(browser, tmp_path):
    """Saves an explanation, opens it, and gives (page, what was requested, what was complained of)."""
    contexts = []

    def show(ex, **options):
        path = tmp_path / "page.html"
        ex.save(path)
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page, requests, complaints = context.new_page(), [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page, requests, complaints

    yield show
    for context in contexts:
        context.close()


def test_json_in_a_script_element_can_not_end_it():
    text = script_json({"caption": EVIL})
    assert not re.search(r"[<>&]", text) and text.isascii()
    assert json.loads(text) == {"caption": EVIL}


def test_the_page_is_one_file_with_the_hashes_of_its_own_scripts():
    ex = factories.explanation(EVIL)
    page = page_of(ex)
    elements = Elements(page)
    tags = [tag for tag, _ in elements.found]
    assert "img" not in tags and "link" not in tags and tags.count("script") == 3
    for _, attributes in elements.found:
        assert not {"src", "href", "onerror", "onload"} & attributes.keys()
    (policy,) = (a["content"] for t, a in elements.found if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    data, *code = elements.scripts
    assert json.loads(data[1])["caption"]["text"] == EVIL
    for attributes, text in code:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert attributes == {} and f"'sha256-{digest}'" in policy


def test_it_shows_the_caption_as_text_asks_for_nothing_and_complains_of_nothing(opened):
    ex = factories.explanation(EVIL)
    page, requests, complaints = opened(ex)
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == 1
    assert complaints == []
    assert "owned" not in page.title() or "<script>" in page.title()
    said = page.text_content("#crossviz-viewer")
    assert "zebra" in said and "</script><script>" in said and "onerror=alert(1)" in said
    assert page.locator("#crossviz-viewer script").count() == 0


def test_the_browser_refuses_any_other_script_and_any_request(opened):
    page, _, _ = opened(factories.explanation())
    refused = page.evaluate(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.owned = 1";
          document.body.append(script);
          const image = "<img src=https://crossviz.invalid/x onerror='window.owned = 2'>";
          document.body.insertAdjacentHTML("beforeend", image);
          await fetch("https://crossviz.invalid/y").catch(() => 0);
          await new Promise((done) => setTimeout(done, 200));
          return [window.owned ?? null, refused.sort()];
        }"""
    )
    assert refused == [None, ["connect-src", "img-src", "script-src-attr", "script-src-elem"]]


def test_the_page_still_holds_the_explanation(tmp_path):
    ex = factories.explanation(EVIL)
    ex.save(tmp_path / "page.html")
    assert crossviz.load(tmp_path / "page.html") == ex


HEAT = """([word, layer, head, own, width, height, smooth, opacity, cmap]) => {
  const CV = window.CrossvizViewer, { payload, field } = window.crossvizView.view();
  const values = field.values(word, layer, head);
  const scale = field.scaleFor(values, { layer, head, own });
  const image = CV.heatOne(payload, field, values, scale, { width, height, smooth, opacity, cmap });
  return btoa(Array.from(image.data, (byte) => String.fromCharCode(byte)).join(""));
}"""


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
def test_the_browser_draws_the_pixels_that_python_draws(opened, mode):
    ex = factories.explanation("a dog and a zebra", view=getattr(ImageView, mode)((150, 90), (64, 64)), null=[0.3] * 5)
    page, _, _ = opened(ex)
    payload = viewer_payload(ex)
    means = dequantise(payload["means"], ex.map.values.shape)
    maps = dequantise(payload["maps"], ex.map.per_head.shape)
    for word, layer, head, own, size, smooth, opacity, cmap in [
        (1, None, None, False, (150, 90), True, 0.85, "viridis"),
        (4, None, None, True, (77, 46), True, 0.5, "cividis"),
        (2, 1, 2, False, (256, 154), False, 1.0, "magma"),
        (0, None, 0, False, (33, 200), True, 0.85, "inferno"),
        (3, 0, None, True, (301, 180), False, 0.3, "plasma"),
    ]:
        values = means[word]
        if layer is not None or head is not None:
            layers = slice(None) if layer is None else slice(layer, layer + 1)
            heads = slice(None) if head is None else slice(head, head + 1)
            values = maps[layers, heads, word].mean((0, 1))
        scale = word_scale(values, ex.scale) if own else ex.scale
        expected = display_rgba(values, scale, size, view=ex.view, smooth=smooth, opacity=opacity, cmap=cmap)
        got = np.frombuffer(
            base64.b64decode(page.evaluate(HEAT, [word, layer, head, own, *size, smooth, opacity, cmap])), np.uint8
        ).reshape(size[1], size[0], 4)
        apart = np.abs(got.astype(int) - expected).max(-1)
        assert (got[..., 3] > 0).any()
        assert (apart > 0).mean() < 0.002, "nothing but a rare rounding to the neighbouring colour"


def test_the_browser_draws_signed_maps_alike(opened):
    ex = factories.signed_explanation()
    page, _, _ = opened(ex)
    means = dequantise(viewer_payload(ex)["means"], ex.map.values.shape)
    for word, cmap in enumerate(colour.DIVERGING):
        expected = display_rgba(means[word], ex.scale, (90, 60), view=ex.view, cmap=cmap)
        encoded = page.evaluate(HEAT, [word, None, None, False, 90, 60, True, 0.85, cmap])
        got = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(60, 90, 4)
        assert (np.abs(got.astype(int) - expected).max(-1) > 0).mean() < 0.002


def test_the_browser_has_the_same_colour_tables(opened):
    page, _, _ = opened(factories.explanation())
    names = page.evaluate("[window.CrossvizViewer.SEQUENTIAL, window.CrossvizViewer.DIVERGING]")
    assert names == [list(colour.SEQUENTIAL), list(colour.DIVERGING)]
    for name in (*colour.SEQUENTIAL, *colour.DIVERGING):
        table = page.evaluate("name => Array.from(window.CrossvizViewer.rgbTable(name))", name)
        np.testing.assert_array_equal(np.reshape(table, (256, 3)), colour.rgb_table(name, name in colour.DIVERGING))


def test_untrained_weights_are_marked_on_the_page(opened):
    shots = []
    for trained in (True, False):
        page, _, _ = opened(factories.explanation(trained=trained), reduced_motion="reduce")
        shots.append(np.asarray(Image.open(io.BytesIO(page.locator("#crossviz-viewer").screenshot())).convert("RGB")))
    apart = (np.abs(shots[0].astype(int) - shots[1]) > 60).any(-1)
    assert apart.mean() > 0.01, "the stripe is all that differs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_readers_colour_scheme(opened, scheme):
    page, _, _ = opened(factories.explanation(), color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    lightness = np.mean([int(part) for part in re.findall(r"\d+", background)[:3]])
    assert lightness > 200 if scheme == "light" else lightness < 60
