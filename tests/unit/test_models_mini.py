"""The family crossviz-mini: its folder, its two towers as open_clip runs them, and its trained cross-attention."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_models import mini_folder

from crossviz import Explainer, explain, models
from crossviz.attention import CrossModalAttention
from crossviz.errors import ModelUnavailableError, UnknownModelError, UnsupportedMethodError
from crossviz.models.crossviz_mini import FILES
from crossviz.paths import assets_dir
from crossviz.photo import load_photo

CAPTION = "a black dog catches a red frisbee"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mini_folder(tmp_path_factory.mktemp("mini"))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)


def test_the_embedded_model_is_there_and_trained():
    info = models.models()[0]
    assert (info.name, info.available, info.trained) == ("crossviz-mini", True, True)
    assert models.load_model().info == info


def test_the_embedded_model_finds_a_cat_where_it_is_and_misses_it_where_it_is_not():
    even = np.full((360, 640, 3), (150, 170, 190), dtype=np.uint8)
    with_cat = even.copy()
    with Image.open(assets_dir() / "examples" / "cat.jpg") as cat:
        with_cat[60:240, 330:570] = np.asarray(cat.convert("RGB").resize((240, 180)))
    found, missed = explain(with_cat, "a photo of a cat"), explain(even, "a photo of a cat")
    assert found.provenance.trained and not any("not trained" in note for note in found.provenance.notes)
    heat = found.heatmap("cat")
    row, col = np.unravel_index(heat.argmax(), heat.shape)
    assert 60 <= row < 240 and 330 <= col < 570
    assert found.null_mass("cat") < missed.null_mass("cat")


def test_the_record_holds_every_head_token_and_key(folder, photo):
    found = Explainer(f"crossviz-mini:{folder}").explain(photo, CAPTION)
    tokens = len(found.caption.tokens)
    assert tokens == 9  # seven words between the two special tokens
    assert found.record.probs.shape == (1, 4, tokens, 24 * 24 + 1)
    assert (found.record.query_kind, found.record.key_kind) == ("text tokens", "image patches")
    assert found.record.has_null
    assert found.map.per_head.shape == (1, 4, 7, 24, 24)
    total = found.map.values.sum((1, 2)) + found.map.null_mass.mean((0, 1))
    assert torch.allclose(total, torch.ones(7), atol=1e-5)


def test_the_record_recomputes_the_modules_own_output(folder, photo):
    """From the record's probs and the module's weights alone, to 1e-5."""
    model = models.load_model(f"crossviz-mini:{folder}")
    module: CrossModalAttention = model.module["attention"]
    record = Explainer(model.info.name).explain(photo, CAPTION).record
    with torch.no_grad():
        patches = model.encode_image(load_photo(photo)).features["patches"]
        tokens = model.encode_text(model.tokenize(CAPTION)).tokens
        own = module(tokens[None], patches[None])
        values = module.v_proj(patches).unflatten(-1, (4, -1)).transpose(0, 1)  # head patch head_dim
        values = torch.cat([values, module.null_value[:, None]], 1)
        context = (record.probs[0] @ values).transpose(0, 1).flatten(1)
        output = module.norm(tokens + module.out_proj(context))
    assert float((output - own.output[0]).abs().max()) <= 1e-5 * float(own.output.abs().max())


def test_the_towers_are_what_open_clip_runs(folder, photo):
    model = models.load_model(f"crossviz-mini:{folder}")
    clip = model.module["clip"]
    with torch.no_grad():
        for text in ("a dog", CAPTION, " ".join(f"word{i}" for i in range(90))):
            tokenized = model.tokenize(text)
            assert tokenized.ids.shape == (1, 77) and tokenized.ids[0, -1] == 0  # a pad is always left
            own = clip.encode_text(tokenized.ids, normalize=True)[0]
            assert torch.allclose(model.encode_text(tokenized).embedding, own, atol=1e-5)


def test_a_typed_special_token_does_no_harm(folder, photo):
    found = Explainer(f"crossviz-mini:{folder}").explain(photo, "a <end_of_text> dog")
    assert found.words[-1].text == "dog" and found.map.values[-1].any()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_its_name(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelUnavailableError, match=f"{name} of the model copy is damaged.*install crossviz again"):
        models.load_model(f"crossviz-mini:{copy}")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "cross_attention.safetensors", "crossviz.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelUnavailableError, match=name):
        models.load_model(f"crossviz-mini:{copy}")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 2}, "format 2"), ({"grid": None}, "lacks grid"), ({"sha256": []}, "lacks sha256")],
    ids=["format", "grid", "hashes"],
)
def test_metadata_that_cant_be_used_is_refused(copy, change, said):
    about = json.loads((copy / "crossviz.json").read_text())
    (copy / "crossviz.json").write_text(json.dumps(about | change))
    with pytest.raises(ModelUnavailableError, match=said):
        models.load_model(f"crossviz-mini:{copy}")


def test_metadata_that_is_no_json_is_refused(copy):
    (copy / "crossviz.json").write_text("{")
    with pytest.raises(ModelUnavailableError, match="can't be read"):
        models.load_model(f"crossviz-mini:{copy}")


def test_a_folder_of_other_weights_of_the_same_shape_is_another_model(folder, tmp_path):
    other = mini_folder(tmp_path / "other", trained=True)
    one, two = models.load_model(f"crossviz-mini:{folder}"), models.load_model(f"crossviz-mini:{other}")
    assert not one.info.trained and two.info.trained
    assert one.weights_sha256 == two.weights_sha256  # the claim is no weight
    weights = load_file(other / "cross_attention.safetensors")
    assert torch.equal(one.module["attention"].null_bias, weights["null_bias"].float())


def test_the_embedded_models_name_is_the_same_however_it_was_asked_for():
    models.unload_models()
    for name in (f"crossviz-mini:{assets_dir() / 'models' / 'crossviz-mini'}", "crossviz-mini"):
        assert models.load_model(name, "cpu").info.name == "crossviz-mini"


def test_a_name_without_a_folder_is_refused():
    with pytest.raises(UnknownModelError, match="names no folder"):
        models.load_model("crossviz-mini:")


def test_head_decomposition_is_refused_with_the_reason(folder, photo):
    with pytest.raises(UnsupportedMethodError, match="convolutional network"):
        Explainer(f"crossviz-mini:{folder}").explain(photo, CAPTION, "head_decomposition")
