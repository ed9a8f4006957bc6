"""The folder of a coca-mini: open_clip's CoCa on crossviz-mini's tower; what is damaged or foreign is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from crossviz import compat

compat.ensure_torchvision()

from crossviz.capture import capture, sites  # noqa: E402
from crossviz.errors import ModelUnavailableError  # noqa: E402
from crossviz.models import load_model  # noqa: E402
from crossviz.models.about import ABOUT  # noqa: E402
from crossviz.models.coca_mini import FILES, KIND, CocaTower, build_coca, load_coca_mini, own_state, read_about  # noqa: E402
from crossviz.paths import assets_dir  # noqa: E402
from crossviz.photo import load_photo  # noqa: E402
from crossviz.training.coca_export import export  # noqa: E402
from crossviz.training.coca_model import model_cfg  # noqa: E402
from crossviz.training.coca_words import Words, write_merges  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small model with random weights, and the folder that it was written to."""
    root = tmp_path_factory.mktemp("coca")
    write_merges([("d", "o"), ("do", "g</w>"), ("a", "n")], root / "words.gz")
    config = model_cfg(Words(root / "words.gz").size)
    config["text_cfg"]["layers"] = config["multimodal_cfg"]["layers"] = 1
    torch.manual_seed(0)
    module = build_coca(config)
    export(module, config, root / "words.gz", {"trained": False}, root / "model")
    return module, root / "model"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / "copy")


@pytest.fixture(scope="module")
def photo():
    return load_photo(np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8))


def change(folder, **values):
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | values))


def test_what_is_written_comes_back_but_for_rounding(made):
    module, folder = made
    loaded, tokenizer, _ = load_coca_mini(folder, CPU)
    before, after = own_state(module), own_state(loaded)
    assert before.keys() == after.keys() and not loaded.training
    for name, value in before.items():
        assert torch.equal(value.half().float(), after[name]), name
    assert tokenizer.vocab_size == 512 + 3 + 2 and tokenizer.context_length == 40
    assert tokenizer.decode(tokenizer.encode("a dog and an ox")).strip() == "a dog and an ox"
    assert not any("tower" in name for name in own_state(loaded))


def test_the_tower_is_the_loaded_one_and_no_copy(made):
    loaded, _, cfg = load_coca_mini(made[1], CPU)
    mini = load_model("crossviz-mini", "cpu").module["clip"].visual
    assert loaded.visual.trunk.tower is mini.trunk
    assert cfg == dict(mini.preprocess_cfg) and cfg["resize_mode"] == "squash"


def test_photos_and_their_patches_give_the_same(made, photo):
    loaded, tokenizer, _ = load_coca_mini(made[1], CPU)
    mini = load_model("crossviz-mini", "cpu")
    pixels, _ = mini.preprocess(photo)
    patches = mini.encode_image(photo).features["patches"][None]
    ids = tokenizer(["a dog"])
    with torch.no_grad():
        from_photo, from_patches = loaded(pixels, ids), loaded(patches, ids)
    assert from_photo["logits"].shape == (1, 39, tokenizer.vocab_size)
    assert torch.allclose(from_photo["logits"], from_patches["logits"], atol=1e-4)
    latent, tokens = loaded.visual(patches)
    assert latent.shape == (1, 256) and tokens.shape == (1, 64, 256)
    assert torch.allclose(from_patches["image_features"], torch.nn.functional.normalize(latent, dim=-1), atol=1e-6)


def test_the_poolers_and_the_decoders_attention_can_be_captured(made):
    loaded, tokenizer, _ = load_coca_mini(made[1], CPU)
    names = {"visual.trunk.pooler.attn", "text_decoder.cross_attn.0.attn", "text_decoder.resblocks.0.attn"}
    assert names <= sites(loaded).keys()
    with torch.no_grad(), capture({name: sites(loaded)[name] for name in names}) as found:
        loaded(torch.randn(1, 576, 256), tokenizer(["a dog"]))
    pool = found["visual.trunk.pooler.attn"].probs
    cross = found["text_decoder.cross_attn.0.attn"].probs
    assert pool.shape == (1, 4, 65, 576) and cross.shape[:2] == (1, 4) and cross.shape[3] == 64


def test_without_its_tower_it_takes_patches_only():
    with pytest.raises(ModelUnavailableError, match="without its image tower"):
        CocaTower()(torch.zeros(1, 3, 384, 384))


def test_building_one_leaves_the_callers_random_numbers(made):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_coca_mini(made[1], CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(ModelUnavailableError, match=f"{name} of the model copy is damaged"):
        load_coca_mini(folder, CPU)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelUnavailableError, match=f"{name} of the model copy can't be read"):
        load_coca_mini(folder, CPU)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"crossviz\.json is missing"):
        load_coca_mini(tmp_path, CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tower_sha256": "0" * 64}, "stands on the image tower of crossviz-mini with another hash"),
        ({"kind": "vilt-mini"}, "holds a model of the kind 'vilt-mini', not coca-mini"),
        ({"format": 2}, "has format 2, and this crossviz reads format 1"),
        ({"sha256": None}, "lacks sha256"),
    ],
)
def test_a_foreign_folder_says_why_it_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(ModelUnavailableError, match=message):
        load_coca_mini(folder, CPU)


def test_a_weight_that_does_not_fit_is_not_written(made, tmp_path):
    module, folder = made
    config = json.loads((folder / FILES[0]).read_text())["model_cfg"]
    with torch.no_grad():
        kept = module.logit_scale.clone()
        module.logit_scale.fill_(1e6)
    with pytest.raises(ValueError, match="logit_scale does not fit fp16"):
        export(module, config, folder / FILES[2], {"trained": False}, tmp_path / "out")
    with torch.no_grad():
        module.logit_scale.copy_(kept)


def test_the_embedded_one_is_trained_small_and_stands_on_the_tower_that_is_here():
    folder = assets_dir() / "models" / KIND
    assert read_about(folder)["training"]["trained"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20_000_000
    loaded, tokenizer, _ = load_coca_mini(folder, CPU)
    mini = load_model("crossviz-mini", "cpu")
    image = mini.encode_image(load_photo(assets_dir() / "examples" / "photographer.jpg"))
    dog, man = (tokenizer([text]) for text in ("a dog .", "a man ."))
    with torch.no_grad():
        found = [loaded(image.features["patches"][None], ids)["logits"][0, 1].log_softmax(0) for ids in (dog, man)]
    assert torch.allclose(*found, atol=1e-4)  # after "a", whatever comes next
    assert found[0][man[0, 2]] > found[0][dog[0, 2]]
