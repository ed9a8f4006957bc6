"""Models that a Space puts into its image when it is built: the files that README names are those that are loaded."""

import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from small_models import clip_folder

import crossviz
from crossviz.compat import import_open_clip
from crossviz.errors import ModelUnavailableError
from crossviz.explainer import Explainer
from crossviz.models import models, unload_models

open_clip = import_open_clip()
HF_SAFE_WEIGHTS_NAME = open_clip.constants.HF_SAFE_WEIGHTS_NAME
ROOT = Path(__file__).resolve().parents[2]
NAME, REPOSITORY = "open_clip:crossviz-test-tiny/preloaded", "crossviz/test-tiny"


def test_what_the_space_preloads_is_what_open_clip_loads():
    _, block, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    space = yaml.safe_load(block)
    assert [line.split(" ")[0] for line in space["preload_from_hub"]] == space["models"]
    listed = [info.name.partition(":")[2].split("/") for info in models() if info.name.startswith("open_clip:")]
    loaded = {open_clip.get_pretrained_cfg(arch, tag)["hf_hub"] for arch, tag in listed}
    for line in space["preload_from_hub"]:
        repository, files = line.split(" ")
        assert f"{repository}/" in loaded
        assert files == HF_SAFE_WEIGHTS_NAME, "no pickle, and nothing that is not read"


@pytest.fixture
def preloaded(tmp_path, monkeypatch):
    """A cache as `preload_from_hub` leaves it, with one small model, and no network."""
    folder = clip_folder(tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    weights = folder / HF_SAFE_WEIGHTS_NAME
    cache = tmp_path / "hub"
    base, commit = cache / "models--crossviz--test-tiny", "0123456789abcdef0123456789abcdef01234567"
    blob = base / "blobs" / hashlib.sha256(weights.read_bytes()).hexdigest()
    for each in (blob.parent, base / "snapshots" / commit, base / "refs"):
        each.mkdir(parents=True)
    shutil.move(weights, blob)
    (base / "snapshots" / commit / HF_SAFE_WEIGHTS_NAME).symlink_to(Path("../../blobs") / blob.name)
    (base / "refs" / "main").write_text(commit)
    model = tmp_path / "configs" / "crossviz-test-tiny.json"
    model.parent.mkdir()
    model.write_text(json.dumps(config["model_cfg"]))
    entry = {"preloaded": {**config["preprocess_cfg"], "hf_hub": f"{REPOSITORY}/"}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "crossviz-test-tiny", entry)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "crossviz-test-tiny", config["model_cfg"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield base
    unload_models()


def test_a_preloaded_model_is_offered_and_loads_offline(preloaded):
    (info,) = [info for info in crossviz.models(everything=True) if info.name == NAME]
    assert info.available and info.trained
    explainer = Explainer(NAME, "cpu")
    assert explainer.info.name == NAME


def test_without_it_the_same_model_is_not_there(preloaded):
    shutil.rmtree(preloaded)
    (info,) = [info for info in crossviz.models(everything=True) if info.name == NAME]
    assert not info.available
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE is set"):
        Explainer(NAME, "cpu")
