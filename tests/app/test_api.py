"""The API over loopback, as programs use it: what it answers, what it refuses, and what it keeps to itself."""

import http.server
import json
import logging
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gradio.utils import get_function_description
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import crossviz
from crossviz.errors import CrossvizError, PhotoError
from crossviz.explanation import SUFFIXES
from crossviz.web import api
from crossviz.web.app import check_mcp
from crossviz.web.engine import Engine
from crossviz.web.examples import examples
from crossviz.web.own_files import own_path

ROOT = Path(__file__).resolve().parents[2]
CAPTION = "a man in a coat and a camera"
FILES = {"/explain", "/heatmap", "/trust", "/write", "/hide", "/export", "/compare", "/inside", "/difference"}


@pytest.fixture(scope="module")
def client(app) -> Iterator[Client]:
    client = Client(app, verbose=False, analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def photo() -> dict:
    return handle_file(examples()[0].photo)


@pytest.fixture(scope="module")
def here() -> crossviz.Explanation:
    """The same question, asked without a server."""
    return crossviz.explain(examples()[0].photo, CAPTION)


def test_the_endpoints_are_the_documented_ones_and_no_event_of_the_page_is_among_them(drawing_app):
    client = Client(drawing_app.url, verbose=False, analytics_enabled=False)
    offered = client.view_api(return_format="dict")
    assert set(offered["named_endpoints"]) == FILES | {"/models", "/methods", "/generate"}
    assert offered["unnamed_endpoints"] == {}
    documented = re.findall(r"^## `(/\w+)`", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    assert set(documented) == set(offered["named_endpoints"])
    for name, endpoint in offered["named_endpoints"].items():
        kinds = {part["parameter_name"]: part["python_type"]["type"] for part in endpoint["parameters"]}
        assert (kinds.get("photo") == "filepath") == (name in FILES)


def test_the_page_keeps_its_own_events_private(drawing_app):
    with urllib.request.urlopen(f"{drawing_app.url}/config", timeout=20) as answer:
        events = json.load(answer)["dependencies"]
    public = [event["api_name"] for event in events if event["api_visibility"] != "private"]
    assert sorted(public) == sorted(name.lstrip("/") for name in FILES | {"/models", "/methods", "/generate"})


def test_every_parameter_is_described_where_mcp_clients_read_it():
    from crossviz.web.api_asking import Asking
    from crossviz.web.api_closer import Closer
    from crossviz.web.api_drawing import Drawing
    from crossviz.web.api_making import Making

    for kind in (Asking, Closer, Making, Drawing):
        for name, method in vars(kind).items():
            if not name.startswith("_"):
                said, parameters, returns = get_function_description(method)
                parameters.pop("self")
                assert said and returns and all(parameters.values()), name


def test_the_readmes_example_runs(app, tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text("utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "gradio_client" in block]
    assert code.count("http://127.0.0.1:7860") == 1
    monkeypatch.chdir(tmp_path)
    shutil.copy(examples()[0].photo, "photo.jpg")
    exec(compile(code.replace("http://127.0.0.1:7860", app), "README.md", "exec"), {})
    assert "chance" in capsys.readouterr().out


def test_explain_gives_the_figures_that_the_library_gives(client, photo, here):
    answer = client.predict(photo, CAPTION, api_name="/explain")
    assert [(w["text"], w["start"], w["end"]) for w in answer["words"]] == [
        (w.text, w.start, w.end) for w in here.words
    ]
    for word in answer["words"]:
        values = here.patch_map(word=word["index"])
        assert word["null_mass"] == pytest.approx(here.null_mass(word=word["index"]))
        peak = word["peak"]
        assert peak["value"] == values.max() == values[peak["row"], peak["column"]]
        assert peak["times_chance"] == pytest.approx(values.max() * here.grid.num_patches)
        assert here.view.patch_at(here.grid, peak["xy"]) == (peak["row"], peak["column"])
    assert [phrase["text"] for phrase in answer["noun_phrases"]] == ["a man", "a coat", "a camera"]
    assert all(CAPTION[p["start"] : p["end"]] == p["text"] for p in answer["noun_phrases"])
    assert answer["grid"] == {"height": here.grid.height, "width": here.grid.width}
    assert (answer["unit"], answer["similarity"]) == ("probability", pytest.approx(here.similarity))
    assert answer["provenance"]["weights_sha256"] == here.provenance.weights_sha256
    assert answer["figure_caption"] == here.figure_caption()


def test_heatmap_gives_the_very_numbers_and_the_picture(client, photo, here):
    ask = {"photo": photo, "caption": CAPTION, "text": "a camera", "api_name": "/heatmap"}
    answer, nothing = client.predict(**ask)
    assert nothing is None
    np.testing.assert_array_equal(np.float32(answer["values"]), here.patch_map("a camera"))
    by_span, _ = client.predict(**{**ask, "text": None, "span": [20, 28], "layer": 0, "head": 1})
    np.testing.assert_array_equal(np.float32(by_span["values"]), here.patch_map("a camera", layer=0, head=1))
    assert "head 1" in by_span["figure_caption"]
    _, file = client.predict(**ask, picture=True, width=300)
    with Image.open(file) as picture:
        picture.load()
        assert picture.size == (300, 300)
    _, file = client.predict(**ask, picture=True)
    with Image.open(file) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(here.overlay("a camera")))


def test_trust_says_one_sentence_and_the_figures(client, photo):
    checks, box = ["deletion", "localisation"], [10, 10.5, 200, 200]
    answer = client.predict(photo, CAPTION, text="coat", checks=checks, box=box, api_name="/trust")
    assert answer["sentence"].startswith("Deleting") and answer["text"] == "coat"
    assert answer["localisation"]["box"] == box and answer["calibration"] is None


def test_models_and_methods_are_listed(client):
    answer = client.predict(api_name="/models")
    known = {model["name"]: model for model in answer["models"]}
    assert answer["default"] == "crossviz-mini" and known["crossviz-mini"]["loaded"]
    methods = client.predict(api_name="/methods")
    assert methods["default"] == "cross_attention" == methods["methods"][0]["name"]
    assert [m["name"] for m in methods["methods"]] == [m.name for m in crossviz.Explainer().methods]


def test_a_model_writes_guesses_and_is_compared(client, photo):
    written = client.predict(photo=photo, model="coca-mini", api_name="/write")
    assert written["caption"] == written["caption"].strip() != "" and written["words"][0]["peak"]
    pytest.importorskip("transformers")
    guessed = client.predict(photo=photo, caption=CAPTION, model="vilt-mini", text="coat", api_name="/hide")
    assert guessed["hidden"] == [4] and len(guessed["guesses"][0]["choices"]) > 1
    names = ["crossviz-mini", "nobody"]
    answer, file = client.predict(photo=photo, caption=CAPTION, models=names, api_name="/compare")
    assert answer["models"][0]["caption"] == CAPTION and "no model" in answer["models"][1]["error"]
    with Image.open(file) as picture:
        picture.verify()


def test_inside_gives_the_numbers_of_a_cell(client, photo, here):
    ask = {"photo": photo, "caption": CAPTION, "text": "coat", "api_name": "/inside"}
    cell = client.predict(**ask, head=2, patch=[3, 4])
    assert (cell["text"], cell["patch"], cell["head"]) == ("coat", [3, 4], 2)
    assert cell["prob"] == pytest.approx(here.patch_map("coat", head=2)[3, 4], abs=1e-6)
    strongest = client.predict(**ask)
    assert strongest["prob"] >= cell["prob"]


def test_the_difference_of_two_answers_is_the_one_in_python(client, photo, here):
    ask = {"photo": photo, "caption": CAPTION, "text": "coat", "api_name": "/difference"}
    other = "a man in a hat and a camera"
    answer, file = client.predict(**ask, other_caption=other, picture=True)
    found = crossviz.difference(here, crossviz.explain(examples()[0].photo, other), "coat")
    assert (answer["second"]["text"], answer["unit"]) == ("hat", "× chance")
    assert answer["moved"] == pytest.approx(found.moved, abs=1e-5)
    assert answer["largest"]["value"] == pytest.approx(found.values().max(), rel=1e-4)
    with Image.open(file) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(found.overlay()))
    same, nothing = client.predict(**ask)
    assert (same["moved"], same["largest"]["value"], nothing) == (0.0, 0.0, None)


@pytest.mark.parametrize("suffix", [".npz", ".png", ".html"])
def test_exported_files_open_again(client, photo, here, suffix):
    file = client.predict(photo=photo, caption=CAPTION, format=suffix, api_name="/export")
    assert crossviz.load(file).patch_map("coat").tolist() == here.patch_map("coat").tolist()


REFUSED = [
    ("/explain", {"caption": ""}, "caption is empty"),
    ("/explain", {"caption": 5}, "`caption` must be a text"),
    ("/explain", {"photo": None}, "`photo` must be a file"),
    ("/explain", {"photo": "/etc/passwd"}, "`photo` must be a file"),
    ("/explain", {"photo": {"path": "/etc/hostname"}}, "no such uploaded photo"),
    ("/explain", {"photo": {"path": str(ROOT / "assets/examples/cat.jpg")}}, "no such uploaded photo"),
    ("/explain", {"model": "nobody"}, "There is no model 'nobody'"),
    ("/explain", {"model": "open_clip:/tmp"}, "not on the list of this server"),
    ("/explain", {"method": "nobody"}, "There is no method 'nobody'"),
    ("/heatmap", {}, "Give a text, a span or a word index"),
    ("/heatmap", {"text": "dog"}, "The caption's words are"),
    ("/heatmap", {"word": True}, "`word` must be of type int"),
    ("/heatmap", {"text": "coat", "layer": "last"}, "There is no layer 'last'"),
    ("/heatmap", {"text": "coat", "width": 10**9}, "`width` must lie between"),
    ("/trust", {"text": "coat", "checks": ["magic"]}, "There is no check 'magic'"),
    ("/hide", {"text": "coat", "model": "crossviz-mini"}, "crossviz-mini"),
    ("/write", {"model": "crossviz-mini"}, "crossviz-mini"),
    ("/export", {"format": "exe"}, "There is no format 'exe'"),
    ("/export", {"format": ".png", "words": ["coat"] * 101}, "101 words are chosen, but there is room for 100"),
    ("/compare", {"models": ["crossviz-mini"]}, "2 to 4 models"),
    ("/inside", {"text": "coat", "patch": [1]}, "a row and a column"),
    ("/inside", {"text": "coat", "head": 99}, "head"),
    ("/difference", {"text": "coat", "other_caption": "a cat"}, "name one by `other`"),
    ("/difference", {"text": "coat", "other_text": "dog"}, "'dog' is not in the caption"),
]


@pytest.mark.parametrize(("name", "given", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_will_not_do_is_one_sentence(client, photo, caplog, name, given, says):
    given = {"photo": photo, "caption": CAPTION, **given}
    if name == "/write":
        del given["caption"]
    with pytest.raises(AppError) as error:
        client.predict(**given, api_name=name)
    said = str(error.value)
    assert says in said and "Traceback" not in said and "\n" not in said
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", ["/heatmap", "/trust", "/hide", "/inside", "/difference"])
def test_a_word_that_is_not_there_is_said_before_anything_is_computed(client, photo, monkeypatch, name):
    monkeypatch.setattr(Engine, "explain", lambda *asked: pytest.fail("the photo was explained"))
    model = {"model": "vilt-mini"} if name == "/hide" else {}
    for chosen, says in (({"text": "dog"}, "The caption's words are"), ({"text": "coat", "word": 5}, "only one of")):
        with pytest.raises(AppError, match=says):
            client.predict(photo=photo, caption=CAPTION, **model, **chosen, api_name=name)


def refuse(*asked):
    raise CrossvizError("The photo was explained.")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_words_without_number_are_refused_before_anything_is_computed(client, photo, monkeypatch, suffix):
    monkeypatch.setattr(Engine, "explain", refuse)
    with pytest.raises(AppError, match="40000 words are chosen, but there is room for 100"):
        client.predict(photo=photo, caption=CAPTION, format=suffix, words=["coat"] * 40_000, api_name="/export")


@pytest.mark.parametrize("caption", ["a " * 2500, "黒い犬が赤い " * 700], ids=["words", "glyphs"])
def test_the_figure_of_thousands_of_words_stays_small(client, photo, caption):
    file = client.predict(photo=photo, caption=caption.strip(), format=".png", api_name="/export")
    with Image.open(file) as picture:
        assert max(picture.size) < 6000


def test_a_file_that_is_no_photo_is_said(client, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a photo\n" * 9)
    with pytest.raises(AppError, match=r"'notes\.jpg' holds text, not a picture"):
        client.predict(handle_file(tmp_path / "notes.jpg"), CAPTION, api_name="/explain")


def test_what_is_unexpected_is_logged_and_not_told(caplog):
    def broken(word: str) -> dict:
        raise RuntimeError(f"a secret of {word}")

    with pytest.raises(api.gr.Error) as error:
        api._one_sentence(broken)("mine")
    assert error.value.message == api.UNEXPECTED and not error.value.print_exception
    assert "a secret of mine" in caplog.text


NAMES = [
    "/etc/passwd\0.png",
    "a" * 5000,
    "",
    None,
    5,
    "http://a/gradio_api/file=%00/etc/passwd",
    "http://[::1",
    "HTTP:",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_of_files_that_are_none(name):
    with pytest.raises(PhotoError):
        own_path(name)


def test_nothing_is_fetched_for_anyone(client, app):
    asked = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for address in (f"http://127.0.0.1:{other.server_port}/a.png", "https://example.org/a.png"):
            with pytest.raises(AppError, match="fetches nothing from other addresses"):
                client.predict(handle_file(address), CAPTION, api_name="/explain")
        other.shutdown()
    assert asked == []
    for path in ("/etc/passwd", "..%2f..%2fetc/passwd"):
        with pytest.raises(AppError, match="no such uploaded photo"):
            client.predict(handle_file(f"{app}/gradio_api/file={path}"), CAPTION, api_name="/explain")


def test_a_photo_may_be_named_by_the_address_that_an_upload_gave(client, app, photo):
    picture = Path(examples()[0].photo).read_bytes()
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    with urllib.request.urlopen(urllib.request.Request(f"{app}/gradio_api/upload", body, headers)) as answer:
        (path,) = json.load(answer)
    named = client.predict(handle_file(f"{app}/gradio_api/file={path}"), CAPTION, api_name="/explain")
    assert named["words"] == client.predict(photo, CAPTION, api_name="/explain")["words"]


def test_everyone_gets_the_answer_to_their_own_photo(app, tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(60 + 20 * i, 200 - 10 * i) for i in range(6)]
    for number, size in enumerate(sizes):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(tmp_path / f"{number}.png")

    def ask(number: int) -> tuple[str, dict, tuple[int, int]]:
        own = Client(app, verbose=False, analytics_enabled=False)
        asked = {"photo": handle_file(tmp_path / f"{number}.png"), "caption": f"thing {number}", "word": 0}
        answer, made = own.predict(**asked, picture=True, api_name="/heatmap")
        own.close()
        with Image.open(made) as picture:
            return answer["text"], answer["photo"], picture.size

    with ThreadPoolExecutor(len(sizes)) as pool:
        for size, (text, known, drawn) in zip(sizes, pool.map(ask, range(len(sizes))), strict=True):
            assert text == "thing" and known == {"width": size[0], "height": size[1]} and drawn == size


def test_an_mcp_server_without_its_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CrossvizError, match=r"pip install crossviz\[mcp\]"):
        check_mcp()
