"""The command `crossviz`, on the embedded model and the example photos."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import factories
import numpy as np
import pytest
import torch
from PIL import Image
from speaker import CAPTION as WRITTEN
from speaker import Absent, Speaker

import crossviz
from crossviz.attention import CrossModalAttention
from crossviz.cli import main
from crossviz.cli.output import _sheet
from crossviz.doctor import Broken, files_intact, recompute_deviation
from crossviz.errors import RenderError
from crossviz.models import _families, register
from crossviz.paths import assets_dir

PHOTO = assets_dir() / "examples" / "photographer.jpg"
CAPTION = "a man and a dog on the grass"
MODEL_FOLDER = assets_dir() / "models" / "crossviz-mini"


def run(*args: str, **env: str) -> subprocess.CompletedProcess:
    """The command in a process of its own, in another folder than the repository's."""
    command = [sys.executable, "-m", "crossviz", *map(str, args)]
    here = {**os.environ, "PYTHONPATH": str(Path(crossviz.__file__).parents[1]), **env}
    return subprocess.run(command, env=here, cwd="/", capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """What `crossviz explain PHOTO CAPTION -o OUT` printed, and OUT."""
    out = tmp_path_factory.mktemp("explained") / "new" / "folder"
    done = run("explain", PHOTO, CAPTION, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return done, out


@pytest.fixture(scope="module")
def explanation():
    """The same through the API."""
    return crossviz.explain(PHOTO, CAPTION, device="cpu")


def test_explain_writes_what_the_api_gives(explained, explanation):
    _, out = explained
    assert crossviz.load(out / "explanation.npz") == explanation
    assert crossviz.load(out / "explanation.html") == explanation
    assert crossviz.load(out / "figure.png") == explanation
    assert crossviz.load(out / "figure.gif") == explanation
    assert (out / "explanation.csv").read_text(encoding="utf-8").startswith("# caption: ")
    assert json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert (out / "figure.svg").read_bytes().lstrip().startswith((b"<?xml", b"<svg"))
    assert (out / "figure.pdf").read_bytes().startswith(b"%PDF-")


def test_explain_writes_a_picture_per_word_in_the_order_of_the_caption(explained, explanation):
    _, out = explained
    pictures = sorted(out.glob("[0-9]*.png"))
    assert [path.stem for path in pictures] == [
        f"{number:02d}-{word.text}" for number, word in enumerate(explanation.words, 1)
    ]
    for path, word in zip(pictures, explanation.words, strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(explanation.overlay(word=word.index)))


def test_explain_writes_every_head_on_one_sheet(explained, explanation):
    _, out = explained
    with Image.open(out / "sheet.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(explanation.sheet()))


def test_explain_prints_each_words_figures(explained, explanation):
    done, _ = explained
    lines = done.stdout.splitlines()
    for word in explanation.words:
        found = f"{1 - explanation.null_mass(word=word.index):.0%}"
        peak = float(explanation.map.values[word.index].max()) * explanation.grid.num_patches
        assert any(re.fullmatch(rf"{word.text} +{found} +{peak:.1f} x chance", line) for line in lines), word
    assert done.stderr == ""


def test_words_chooses_phrases(tmp_path, capsys, explanation):
    assert main(["explain", str(PHOTO), CAPTION, "-o", str(tmp_path), "--words", "the grass", "dog"]) == 0
    assert sorted(path.name for path in tmp_path.glob("0*.png")) == ["01-the-grass.png", "02-dog.png"]
    drawn = re.findall("<text[^>]*>([^<]*)</text>", (tmp_path / "figure.svg").read_text())
    assert "the grass" in drawn and "dog" in drawn and "on" not in drawn
    found = f"{1 - explanation.null_mass('the grass'):.0%}"
    assert re.search(rf"^the grass +{found} ", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture(scope="module")
def small_photo(tmp_path_factory):
    """The photo small, for tests of what is written that look at no picture."""
    path = tmp_path_factory.mktemp("small") / "small.png"
    with Image.open(PHOTO) as photo:
        photo.resize((96, 96)).save(path)
    return path


def test_a_caption_never_decides_on_a_path(small_photo, tmp_path):
    out = tmp_path / "deep" / "out"
    assert main(["explain", str(small_photo), "../../dog /etc/passwd 狗 🐕", "-o", str(out)]) == 0
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {("deep", "out")}
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in out.iterdir())


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(path, "PNG")


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("make", [one_pixel, animation])
def test_odd_photos_are_explained(make, tmp_path, capsys):
    make(tmp_path / "odd")
    assert main(["explain", str(tmp_path / "odd"), "a dog"]) == 0
    assert "dog" in capsys.readouterr().out


def text(path: Path) -> None:
    path.write_text("this is no photo")


def truncated(path: Path) -> None:
    path.write_bytes(PHOTO.read_bytes()[:20_000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def huge(path: Path) -> None:
    """A small PNG file of 177 megapixels."""
    side, rows = 13_304, zlib.compress(bytes(1 + 13_304 // 8) * 13_304, 9)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(png)
    assert path.stat().st_size < 30_000


BAD = {
    "no photo there": (None, ["a dog"], "photo.jpg"),
    "a folder": (Path.mkdir, ["a dog"], "photo.jpg"),
    "a text file": (text, ["a dog"], "photo.jpg"),
    "a truncated JPEG": (truncated, ["a dog"], "photo.jpg"),
    "an empty file": (empty, ["a dog"], "photo.jpg"),
    "177 megapixels": (huge, ["a dog"], "177"),
    "an empty caption": (PHOTO, [""], "caption"),
    "a blank caption": (PHOTO, [" \n "], "caption"),
    "a caption of 10,000 characters": (PHOTO, ["dog " * 2500], "10"),
    "a caption without a word": (PHOTO, ["?!"], "word"),
    "an unknown model": (PHOTO, ["a dog", "--model", "crossvis-mini"], "crossviz-mini"),
    "an unknown tag": (PHOTO, ["a dog", "--model", "open_clip:ViT-B-32/nobody"], "nobody"),
    "an unknown method": (PHOTO, ["a dog", "--method", "magic"], "magic"),
    "a method that the model lacks": (PHOTO, ["a dog", "--method", "head_decomposition"], "crossviz-mini"),
    "an unknown device": (PHOTO, ["a dog", "--device", "tpu"], "tpu"),
    "a word that is not in the caption": (PHOTO, ["a dog", "--words", "cat"], "cat"),
    "a text that occurs twice": (PHOTO, ["a dog and a dog", "--words", "dog"], "dog"),
    "no caption": (PHOTO, [], "CAPTION"),
}


def refused(capsys, args: list[str]) -> str:
    """The one line that the command says when it refuses."""
    try:
        status = main(args)
    except SystemExit as stop:  # argparse
        status = stop.code
    shown = capsys.readouterr()
    assert status == 2
    assert shown.out == ""
    assert shown.err.startswith("crossviz")
    assert shown.err.count("\n") == 1 and shown.err.endswith(".\n")
    return shown.err.strip()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_sentence(case, tmp_path, capsys):
    photo, args, named = BAD[case]
    if photo is not PHOTO:
        make, photo = photo, tmp_path / "photo.jpg"
        if make is not None:
            make(photo)
    assert named in refused(capsys, ["explain", str(photo), *args])


def test_each_bad_photo_and_caption_has_its_own_sentence(tmp_path, capsys):
    sentences = []
    for make, args, _ in list(BAD.values())[:10]:
        photo = PHOTO
        if make is not PHOTO:
            photo = tmp_path / str(len(sentences)) / "photo.jpg"
            photo.parent.mkdir()
            if make is not None:
                make(photo)
        sentences.append(refused(capsys, ["explain", str(photo), *args]).replace(str(tmp_path), ""))
    # An empty and a blank caption are told the same.
    assert len(set(sentences)) >= len(sentences) - 1


def test_a_hub_model_without_network_is_refused_in_one_sentence(tmp_path):
    done = run("explain", PHOTO, "a dog", "-m", "open_clip:ViT-B-32/openai", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "ViT-B-32/openai" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_an_output_that_is_a_file_is_refused_before_anything_is_computed(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert "out" in refused(capsys, ["explain", str(PHOTO), "a dog", "-o", str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "mine"


def test_models_lists_everything_that_can_be_asked_for(capsys):
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    for entry in [*crossviz.models(), *crossviz.methods()]:
        assert re.search(rf"^  {re.escape(entry.name)} +{re.escape(entry.sentence)}", shown, re.MULTILINE)


def test_models_lists_every_family_and_what_is_missing(capsys):
    assert main(["models"]) == 0
    families = capsys.readouterr().out.split("Models:")[0]
    assert re.search(r"^  crossviz-mini +here\.$", families, re.MULTILINE)
    for name, family in crossviz.models.families().items():
        infos = family.infos(False)
        [line] = re.findall(rf"^  {name} .*$", families, re.MULTILINE)
        here = sum(info.available for info in infos)
        assert len(infos) == 1 or f"{here} of {len(infos)} listed here" in line
        for info in infos:
            assert info.available or info.reason[1:] in line


@pytest.fixture
def speaker():
    """A family that writes captions and guesses words."""
    added = [register(Speaker()), register(Absent())]
    yield
    for family in added:
        del _families[family.name]


def test_hiding_a_word_prints_what_the_model_guesses(speaker, small_photo, tmp_path, capsys):
    args = ["explain", str(small_photo), "man and dog", "-m", "speaker", "--hide", "dog", "-o", str(tmp_path)]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "hidden 'dog': dog 50%, man 25%, camera 12%, bird 6%, tower 3%" in said
    assert re.findall(r"^(\w+) \(hidden\) ", said, re.MULTILINE) == ["dog"]
    assert [path.stem.partition("-")[2] for path in tmp_path.glob("*-hidden.png")] == ["dog-hidden"]
    kept = crossviz.load(tmp_path / "explanation.npz")
    assert [kept.words[word].text for word in kept.hidden] == ["dog"]


def test_a_caption_is_written_and_explained(speaker, small_photo, tmp_path, capsys):
    assert main(["write", str(small_photo), "-m", "speaker", "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == WRITTEN
    assert any(line.startswith("camera ") for line in said)
    kept = crossviz.load(tmp_path / "out" / "explanation.html")
    assert kept.caption.text == WRITTEN
    assert kept == crossviz.explain(small_photo, WRITTEN, "speaker")
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == len(kept.words)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_models_are_compared_in_one_file(speaker, suffix, tmp_path, capsys):
    out = tmp_path / f"both{suffix}"
    args = ["compare", str(PHOTO), CAPTION, "--models", "crossviz-mini", "absent:one", "speaker", "-o", str(out)]
    assert main(args) == 0
    shown = capsys.readouterr()
    assert str(out) in shown.out
    assert shown.err.count("\n") == 1 and "without absent:one" in shown.err and "pip install" in shown.err
    assert out.read_bytes().startswith(
        {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype"}[suffix]
    )
    if suffix == ".html":
        assert crossviz.load(out) == crossviz.explain(PHOTO, CAPTION)
    if suffix == ".svg":
        drawn = " ".join(re.findall("<text[^>]*>([^<]*)</text>", out.read_text()))
        assert all(
            part in drawn for part in ("crossviz-mini", "absent:one", "speaker", "Not compared", "dog", "× chance")
        )


REFUSED = {
    "no words hidden by a model that guesses none": (["explain", PHOTO, "a dog", "--hide", "dog"], "guesses no"),
    "a hidden word that is not there": (["explain", PHOTO, "a dog", "-m", "speaker", "--hide", "cat"], "cat"),
    "checks while a word is hidden": (
        ["explain", PHOTO, "a dog", "-m", "speaker", "--hide", "dog", "--trust"],
        "--hide",
    ),
    "a model that writes nothing": (["write", PHOTO, "-m", "crossviz-mini"], "writes no captions"),
    "no photo to write of": (["write", "/no/photo.jpg"], "photo.jpg"),
    "a model that needs a package": (["write", PHOTO, "-m", "absent:one"], "pip install crossviz[transformers]"),
    "one model": (["compare", PHOTO, "a dog", "--models", "crossviz-mini", "-o", "/tmp/a.png"], "2 to"),
    "no output": (["compare", PHOTO, "a dog", "--models", "crossviz-mini", "speaker"], "--output"),
    "an odd file": (["compare", PHOTO, "a dog", "--models", "a", "b", "-o", "/tmp/a.gif"], ".png"),
    "no model that can be had": (["compare", PHOTO, "a dog", "--models", "a", "absent:one", "-o", "/tmp/a.png"], "'a'"),
    "a page with one model": (
        ["compare", PHOTO, "a dog", "--models", "crossviz-mini", "absent:one", "-o", "/tmp/a.html"],
        "two models that can be asked",
    ),
    "no words": (["compare", PHOTO, "?!", "--models", "a", "b", "-o", "/tmp/a.png"], "word"),
    "a word that is not there": (
        ["compare", PHOTO, "a dog", "--models", "crossviz-mini", "speaker", "-o", "/tmp/a.png", "--words", "cat"],
        "cat",
    ),
    "a folder that is not there": (
        ["compare", PHOTO, "a dog", "--models", "crossviz-mini", "speaker", "-o", "/no/folder/a.png"],
        "/no/folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_families_cannot_do_ends_with_one_sentence(speaker, case, capsys):
    args, named = REFUSED[case]
    assert named in refused(capsys, [str(arg) for arg in args])


@pytest.mark.parametrize("case", ["no words", "a word that is not there", "a folder that is not there"])
def test_a_comparison_that_cannot_be_drawn_asks_no_model(monkeypatch, case, capsys):
    def asked(*_, **__):
        raise AssertionError("a model was asked")

    monkeypatch.setattr("crossviz.explainer.Explainer.__init__", asked)
    args, named = REFUSED[case]
    assert named in refused(capsys, [str(arg) for arg in args])


def test_version_is_the_packages():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"crossviz {crossviz.__version__}\n")


def test_doctor_finds_this_installation_sound(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert any("sha256" in line for line in lines) and any("recomputed" in line for line in lines)


def test_doctor_reports_a_damaged_model(tmp_path, monkeypatch, capsys):
    shutil.copytree(assets_dir(), tmp_path / "assets")
    weights = tmp_path / "assets" / "models" / "crossviz-mini" / "cross_attention.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr("crossviz.doctor.assets_dir", lambda: tmp_path / "assets")
    assert main(["doctor"]) == 1
    report = capsys.readouterr().out
    assert re.search(r"^BROKEN +files of crossviz-mini: .*cross_attention\.safetensors", report, re.MULTILINE)


def test_a_missing_file_of_the_model_is_named(tmp_path):
    shutil.copytree(MODEL_FOLDER, tmp_path / "model")
    assert "every sha256" in files_intact(tmp_path / "model")
    (tmp_path / "model" / "open_clip_config.json").unlink()
    with pytest.raises(Broken, match=r"open_clip_config\.json is missing"):
        files_intact(tmp_path / "model")


@pytest.mark.parametrize("null_key", [True, False])
def test_the_doctors_formula_is_the_modules(null_key):
    torch.manual_seed(0)
    module = CrossModalAttention(32, 24, num_heads=4, null_key=null_key).eval()
    assert recompute_deviation(module) < 1e-6
    module.register_forward_hook(lambda module, args, result: result._replace(output=result.output * 1.001))
    assert recompute_deviation(module) > 1e-5


def test_the_servers_port_being_taken_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "port" in done.stderr


def test_a_caption_too_long_for_a_sheet_is_written_without(monkeypatch):
    ex = factories.explanation("a dog", layers=3, heads=2)
    asked, sheet = [], type(ex).sheet

    def small(self, words=None, *, layer=None):
        asked.append(layer)
        if len(asked) in refusing:
            raise RenderError("The sheet would be too large.")
        return sheet(self, words, layer=layer)

    monkeypatch.setattr(type(ex), "sheet", small)
    for refusing, widths in (((), [None]), ((1,), [None, -1]), ((1, 2), [None, -1])):
        asked.clear()
        found = _sheet(ex, None)
        assert asked == widths and (found is None) == (refusing == (1, 2))
