"""Weights are those that the code names, and no file of weights can run anything."""

import ast
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError
from small_pipelines import pipeline_folder

import crossviz
from crossviz import embedded, generator, models
from crossviz.errors import ModelUnavailableError
from crossviz.models import hub
from crossviz.models.about import check_files
from crossviz.paths import assets_dir

ROOT = Path(crossviz.__file__).parent
SHOWN = {".md", ".png", ".webp"}
"""What is only looked at."""


def test_the_code_holds_the_hash_of_every_file_that_an_embedded_model_is_loaded_from():
    folders = [*(assets_dir() / "models").iterdir(), assets_dir() / "noun-phrases"]
    found = {
        folder.relative_to(assets_dir()).as_posix(): {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.suffix not in SHOWN
        }
        for folder in sorted(folders)
    }
    assert found == embedded.SHA256, f"crossviz/embedded.py should say SHA256 = {found}"


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """A copy of the assets' folders, taken for crossviz's own."""

    def copy(name: str) -> Path:
        shutil.copytree(assets_dir() / name, tmp_path / name)
        monkeypatch.setattr(embedded, "assets_dir", lambda: tmp_path)
        return tmp_path / name

    return copy


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["coca.safetensors", "bpe_vocab.txt.gz", "crossviz.json"])
def test_a_flipped_bit_is_seen_though_the_folder_vouches_for_it(carried, name):
    folder = carried("models/coca-mini")
    files = [name for name in embedded.SHA256["models/coca-mini"] if name != "crossviz.json"]
    check_files(folder, files, {}, "install crossviz again")
    flip(folder / name)
    own = {"sha256": {each: hashlib.sha256((folder / each).read_bytes()).hexdigest() for each in files}}
    said = rf"^{name} of the model coca-mini is damaged \(its sha256 is .* crossviz's code\): install crossviz again\.$"
    with pytest.raises(ModelUnavailableError, match=said):
        check_files(folder, files, own, "install crossviz again")


def test_a_damaged_tagger_is_said(carried):
    file = carried("noun-phrases") / "weights.json"
    embedded.check_embedded(file)
    flip(file)
    with pytest.raises(
        ModelUnavailableError, match=r"weights\.json in noun-phrases is damaged .*: install crossviz again"
    ):
        embedded.check_embedded(file)
    file.unlink()
    with pytest.raises(ModelUnavailableError, match=r"weights\.json can't be read"):
        embedded.check_embedded(file)


def test_other_folders_are_none_of_crossvizs(tmp_path):
    assert not embedded.embedded_sums(tmp_path)
    assert not embedded.embedded_sums(assets_dir())
    assert embedded.embedded_sums(assets_dir() / "models" / ".." / "models" / "vilt-mini")


class Trap:
    """Makes a folder as it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.sprung),)


def folder_of(family: str, path: Path) -> Path:
    """A folder that the family loads."""
    if family == "diffusers":
        return pipeline_folder(path, "sd")
    name = "vilt-mini" if family == "vilt" else "crossviz-mini"
    shutil.copytree(assets_dir() / "models" / name, path)
    if family != "crossviz-mini":  # as other people's folders
        (path / "crossviz.json").unlink()
    return path


@pytest.mark.parametrize("family", ["open_clip", "crossviz-mini", "vilt", "diffusers"])
def test_a_pickle_in_a_folder_is_never_opened(family, tmp_path):
    folder, sprung = folder_of(family, tmp_path / "m"), tmp_path / "sprung"
    load = generator.load_generator if family == "diffusers" else models.load_model
    pickled = pickle.dumps(Trap(sprung))
    files = list(folder.rglob("*.safetensors"))
    for file in files:  # by the names that the older format has: open_clip's, transformers' and diffusers'
        file.unlink()
        for stem in ("open_clip_pytorch_model", "pytorch_model", "diffusion_pytorch_model", "model"):
            for suffix in (".bin", ".pth", ".pt"):
                file.with_name(stem + suffix).write_bytes(pickled)
    with pytest.raises(ModelUnavailableError):
        load(f"{family}:{folder}", "cpu")
    for file in files:  # and by the name of a safe one
        file.write_bytes(pickled)
    about = folder / "crossviz.json"
    if family == "crossviz-mini":
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        about.write_text(json.dumps({**json.loads(about.read_text()), "sha256": sums}))
    with pytest.raises(ModelUnavailableError):
        load(f"{family}:{folder}", "cpu")
    assert files and not sprung.exists()
    pickle.loads(pickled)
    assert sprung.exists()  # the trap works


def test_a_folder_of_open_clip_with_an_older_format_alone_is_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelUnavailableError, match="holds no weights as safetensors, the only format that is read"):
        models.load_model(f"open_clip:{tmp_path}", "cpu")


def test_weights_that_the_hub_has_in_the_older_format_alone_are_not_fetched(monkeypatch):
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        raise EntryNotFoundError.__new__(EntryNotFoundError)

    monkeypatch.setattr(hub, "unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(
        ModelUnavailableError, match=r"open_clip:ViTamin-S/datacomp1b are not there as pytorch_model\.safe"
    ):
        models.load_model("open_clip:ViTamin-S/datacomp1b", "cpu")
    assert asked == [("jienengchen/ViTamin-S", "pytorch_model.safetensors")]
    assert hub.safe_weights({"hf_hub": "a/b/"}) == ("a/b", "open_clip_model.safetensors")
    with pytest.raises(ModelUnavailableError, match="not there as safetensors"):
        hub.fetch_weights("x", {"url": "somewhere/weights.pt"})


UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MAYBE = (*UNPICKLERS, "torch.load", "hub.load", "jit.load")


def test_no_code_of_ours_unpickles():
    own = ROOT / "web" / "zero_gpu.py"  # what goes between two processes of one Space, and comes from nobody else
    for path in {*ROOT.rglob("*.py"), ROOT.parent / "app.py"} - {own}:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if any(word in text for word in MAYBE) else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not UNPICKLERS.intersection(name.partition(".")[0] for name in names), path
            if isinstance(node, ast.Call):
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert given.get("allow_pickle", "False") == "False", path
                if ast.unparse(node.func) in ("torch.load", "torch.hub.load", "torch.jit.load"):
                    assert given.get("weights_only") == "True", f"{path}:{node.lineno}"
