"""The embedded captioner: its maps are right on easy photos, and it writes captions that can be explained."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crossviz import Explainer, models
from crossviz.capture import capture
from crossviz.errors import UnknownModelError
from crossviz.measures import box_mask
from crossviz.models.coca_attention import CROSS_PART, POOLER_PART
from crossviz.paths import assets_dir
from crossviz.photo import load_photo

EXAMPLES = assets_dir() / "examples"
EASY = [
    ("astronaut.jpg", "a smiling woman in an orange suit", "woman", (20, 15, 365, 512)),
    ("astronaut.jpg", "a smiling woman in an orange suit", "orange suit", (20, 200, 365, 512)),
    ("cat.jpg", "a cat with green eyes", "cat", (20, 0, 385, 300)),
    ("coffee.jpg", "a red cup of coffee", "cup", (170, 10, 405, 305)),
    ("photographer.jpg", "a man on the grass", "man", (0, 60, 335, 512)),
    ("photographer.jpg", "a man on the grass", "grass", (130, 225, 512, 512)),
]
"""Photo, caption, phrase, and the box of the thing in the photo's pixels, set by hand."""


@pytest.fixture(scope="module")
def explainer():
    return Explainer("coca-mini", "cpu")


@pytest.fixture(scope="module")
def model():
    return models.load_model("coca-mini", "cpu")


def test_it_is_listed_and_trained():
    infos = {info.name: info for info in models.models()}
    names = list(infos)
    assert names.index("coca-mini") < names.index("open_clip:ViT-B-32/openai")
    assert infos["coca-mini"].available and infos["coca-mini"].trained


def test_its_name_is_the_same_however_it_was_asked_for(model):
    """No path of this machine gets into what is saved; the folder comes first here."""
    models.unload_models()
    for name in (f"coca:{assets_dir() / 'models' / 'coca-mini'}", "coca-mini"):
        again = models.load_model(name, "cpu")
        assert again.info == model.info and again.info.name == again.info.title == "coca-mini"
        assert again.weights_sha256 == model.weights_sha256


def test_its_folder_is_refused_by_the_family_of_its_classes():
    folder = assets_dir() / "models" / "coca-mini"
    for name in (f"open_clip:{folder}", f"open_clip:local-dir:{folder}"):
        with pytest.raises(UnknownModelError, match=rf"^coca-mini is a coca-mini: load it as coca:.*{folder}\.$"):
            models.load_model(name, "cpu")


def test_it_is_loaded_again_when_the_files_of_its_tower_change(tmp_path, monkeypatch, model):
    for name in ("coca-mini", "crossviz-mini"):
        shutil.copytree(assets_dir() / "models" / name, tmp_path / "models" / name)
    for module in ("coca_load", "shared_tower", "crossviz_mini"):
        monkeypatch.setattr(f"crossviz.models.{module}.assets_dir", lambda: tmp_path)
    first = models.load_model("coca-mini", "cpu")
    assert models.load_model("coca-mini", "cpu") is first is not model
    about = tmp_path / "models" / "crossviz-mini" / "crossviz.json"
    about.write_text(about.read_text() + "\n")
    second = models.load_model("coca-mini", "cpu")
    assert second is not first
    tower = models.load_model("crossviz-mini", "cpu").module["clip"].visual.trunk
    assert second.module.visual.trunk.tower is tower is not first.module.visual.trunk.tower


@pytest.mark.parametrize(("photo", "caption", "phrase", "box"), EASY, ids=[f"{one[0]}, {one[2]}" for one in EASY])
def test_the_map_of_an_easy_word_is_on_its_thing(explainer, photo, caption, phrase, box):
    heat = explainer.explain(EXAMPLES / photo, caption).heatmap(phrase)
    inside = box_mask([box], *heat.shape)
    assert inside[np.unravel_index(heat.argmax(), heat.shape)]
    share, area = heat[inside].sum() / heat.sum(), inside.mean()
    assert share > (1 + area) / 2  # half of what is left beyond the box's own area


def test_a_mirrored_photo_has_its_map_mirrored(explainer):
    photo = load_photo(EXAMPLES / "coffee.jpg").pixels
    heat, mirrored = (explainer.explain(each, "a cup").heatmap("cup") for each in (photo, photo[:, ::-1].copy()))
    assert np.corrcoef(heat.ravel(), mirrored[:, ::-1].ravel())[0, 1] > 0.7


def test_it_writes_captions_that_can_be_explained(explainer, model):
    captions = {}
    for name in ("astronaut.jpg", "cat.jpg", "coffee.jpg", "photographer.jpg"):
        image = explainer.encode(EXAMPLES / name)
        growing = list(explainer.write(image))
        assert 3 <= len(growing) <= 30 and growing == list(explainer.write(image))
        captions[name] = growing[-1]
        # The tokens of what was written are those that were written, so that each word's writer is the row before it.
        assert len(model.tokenize(growing[-1]).caption.tokens) == len(growing) + 2
        found = explainer.explain(image, growing[-1], "written_attention")
        assert torch.isfinite(found.map.values).all() and set(found.parts) == {CROSS_PART, POOLER_PART}
    assert len(set(captions.values())) > 1


def test_what_is_read_is_what_the_model_computes(model):
    """Its logits, its embedding and the weights that torch returns."""
    trace = model.trace(model.encode_image(load_photo(EXAMPLES / "cat.jpg")), "a cat with green eyes")
    tokenized = model.tokenize("a cat with green eyes")
    count = len(trace.caption.tokens)
    with torch.no_grad(), capture(model.attention_sites(), keep=("probs",)) as captured:
        out = model.module(trace.pixels, tokenized.ids)
    assert all(call.deviation <= 1e-5 for name in captured for call in captured.calls(name))
    assert torch.allclose(out["image_features"][0], trace.image.embedding, atol=1e-5)
    expected = F.log_softmax(out["logits"][0, : count - 1], -1).gather(1, tokenized.ids[0, 1:count, None])[1]
    match, phrase = trace.match(), [trace.caption.phrase("cat")]
    with torch.no_grad():
        assert torch.allclose(match.score(match.state(trace.pixels), phrase)[0], expected, atol=1e-4)
        pool = model.module.visual.trunk.pooler
        patches = pool.ln_k(model.module.visual.trunk.patches(trace.pixels))
        weights = pool.attn(pool.ln_q(pool.query)[None], patches, patches, average_attn_weights=False)[1][0]
    found = trace.cross_attention()
    assert torch.allclose(found.parts[POOLER_PART].probs[0], weights[:, 1:], atol=1e-6)
    assert found.key_kind == "image patches" and found.probs.shape[-1] == model.grid.num_patches == 576
    assert not any("class token" in note for note in found.notes)


def test_a_man_is_likelier_in_a_photo_of_one(explainer, model):
    """The same caption in two photos: the word that is true of one is likelier there."""
    for word, here, there in (("cat", "cat.jpg", "coffee.jpg"), ("man", "photographer.jpg", "coffee.jpg")):
        figures = []
        for name in (here, there):
            trace = model.trace(explainer.encode(EXAMPLES / name), f"a {word}")
            match = trace.match()
            figures.append(float(match.score(match.state(trace.pixels), [trace.caption.phrase(word)]).detach()))
        assert figures[0] > figures[1], word
