"""vilt-mini: ViLT on crossviz-mini's patches, as training ran it; its folder; and what the embedded one knows."""

import json
import shutil

import factories
import numpy as np
import pytest
import torch
from small_vilts import mini_vilt_folder, vocabulary

import crossviz
from crossviz import Explainer, models
from crossviz.errors import ModelUnavailableError, UnsupportedMethodError
from crossviz.models import load_model
from crossviz.models.transformers_load import read_weights
from crossviz.models.vilt_parts import joint
from crossviz.paths import assets_dir
from crossviz.photo import load_photo
from crossviz.render.payload import viewer_payload

CAPTION = "a red dog on the tree"
EXAMPLES = assets_dir() / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mini_vilt_folder(tmp_path_factory.mktemp("vilt") / "small")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def mini():
    return Explainer("vilt-mini", "cpu")


# Any of its kind ------------------------------------------------------------------------------------------------------


def test_the_image_tower_is_that_of_crossviz_mini_itself(folder):
    model = load_model(f"vilt:{folder}", "cpu")
    trunk = load_model("crossviz-mini", "cpu").module["clip"].visual.trunk
    assert model.module.photo.tower is trunk
    held = {id(parameter) for parameter in model.module.parameters()}
    assert all(id(parameter) in held for parameter in trunk.parameters())
    found = [
        id(parameter)
        for _, parts in model.stages()
        for part in parts
        for parameter in (part.parameters() if isinstance(part, torch.nn.Module) else [part])
    ]
    assert sorted(found) == sorted(held)
    assert model.stages()[-1][0] == "crossviz-mini's image tower"
    assert model.libraries[-2:] == ("numpy", "pillow")
    assert "open_clip_torch" in model.libraries


@pytest.mark.parametrize("size", [(64, 48), (30, 90)])
def test_attention_and_match_are_what_training_saw(folder, size):
    """`crossviz.training.vilt_model.read` runs the layers in another way, on the same patches."""
    from crossviz.training.vilt_model import ViltMini, read

    model = load_model(f"vilt:{folder}", "cpu")
    photo = factories.photo(*size)
    trained = ViltMini(model.module.vilt.config).eval()
    trained.load_state_dict(read_weights(folder), strict=False)
    patches = load_model("crossviz-mini", "cpu").encode_image(photo).features["patches"]
    ids = model.tokenize(CAPTION).ids
    with torch.no_grad():
        expected = read(trained, ids, patches.view(1, 24, 24, 256))
        image = model.encode_image(photo)
        trace = model.trace(image, CAPTION)
        found = trace.cross_attention()
        match = trace.match()
        whole = match.score(match.state(trace.pixels), [trace.caption.phrase(CAPTION)])
    assert (image.grid.height, image.grid.width) == (12, 12)
    torch.testing.assert_close(found.probs[..., :144].mean((0, 1)), expected.attention[0], atol=1e-6, rtol=0)
    assert whole.item() == pytest.approx(expected.match.item(), abs=1e-4)
    assert any("not trained" in note for note in found.notes)
    assert image.view.crop_xyxy == (0, 0, *size)


def test_the_match_of_a_phrase_reads_masks_for_its_hidden_words(folder):
    """For "dogs", two tokens, two masks stand in the phrase by itself; a phrase without it is read as it is."""
    model = load_model(f"vilt:{folder}", "cpu")
    names = ["[CLS]", "red", "[MASK]", "[MASK]", "[SEP]"]
    with torch.no_grad():
        image = model.encode_image(factories.photo())
        shown, hidden = (model.trace(image, "a red dogs on", words) for words in ((), (2,)))
        match = hidden.match()
        state = match.state(hidden.pixels)
        phrases = [hidden.caption.phrase(text) for text in ("red dogs", "red", "dogs on")]
        found, plain = (trace.match().score(state, phrases)[0] for trace in (hidden, shown))
        ids = torch.tensor([[vocabulary().index(name) for name in names]])
        expected = model.module.rank_output(joint(model.module, ids, state["patches"]).pooled)[0, 0]
    assert float(found[0]) == pytest.approx(float(expected), abs=1e-6)
    assert float(found[1]) == float(plain[1])
    assert not np.isclose(found[0], plain[0]) and not np.isclose(found[2], plain[2])
    assert "masks" in match.sentence and "masks" not in shown.match().sentence


def test_words_that_it_does_not_know_are_said_to_be_unknown(folder, tmp_path):
    explainer = Explainer(f"vilt:{folder}", "cpu")
    one, other = (explainer.explain(factories.photo(), text) for text in ("a 🐱 on 🚀", "a 🚀 on 🐱"))
    assert torch.equal(one.map.values, other.map.values), "both are read as the same token"
    assert [one.words[word].text for word in one.caption.unknown] == ["🐱", "🚀"]
    assert any("does not know '🐱', '🚀'" in note for note in one.provenance.notes)
    unknown = [word.get("unknown", False) for word in viewer_payload(one)["caption"]["words"]]
    assert unknown == [False, True, False, True]
    plain = explainer.explain(factories.photo(), "a [UNK] dog")
    assert plain.caption.unknown == () and not any("know" in note for note in plain.provenance.notes)
    one.save(tmp_path / "one.npz")
    assert crossviz.load(tmp_path / "one.npz").caption.unknown == one.caption.unknown


def test_words_that_share_a_hidden_token_are_hidden_together(folder):
    explainer = Explainer(f"vilt:{folder}", "cpu")
    hidden = explainer.explain(factories.photo(), "🐱🐶 a dog", hide=0)
    assert [hidden.words[word].text for word in hidden.hidden] == ["🐱", "🐶"]
    assert len(hidden.guesses) == 1


def test_states_of_many_photos_are_those_of_each(folder):
    model = load_model(f"vilt:{folder}", "cpu")
    photos = torch.cat([model.preprocess(factories.photo(64, 48, seed=seed))[0] for seed in range(3)])
    match = model.trace(model.encode_image(factories.photo()), CAPTION).match()
    together = match.state(photos)["patches"]
    for row, pixels in zip(together, photos, strict=True):
        torch.testing.assert_close(row, match.state(pixels[None])["patches"][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_refused_by_its_name(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelUnavailableError, match=f"{name} of the model copy is damaged.*install crossviz again"):
        load_model(f"vilt:{copy}", "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"kind": "coca-mini"}, "kind 'coca-mini'"),
        ({"sha256": 3}, "lacks sha256"),
        ({"tower_sha256": "ab" * 32}, "with another hash"),
        ({"tower": "other"}, "image tower of other"),
    ],
)
def test_what_its_card_must_say(copy, change, said):
    path = copy / "crossviz.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelUnavailableError, match=said):
        load_model(f"vilt:{copy}", "cpu")


def test_without_its_card_its_pixels_are_not_known(copy):
    (copy / "crossviz.json").unlink()
    with pytest.raises(ModelUnavailableError, match="256 channels"):
        load_model(f"vilt:{copy}", "cpu")


# The embedded one -----------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_there_and_trained(mini):
    info = next(info for info in crossviz.models() if info.name == "vilt-mini")
    assert (info.available, info.trained) == (True, True)
    assert mini.info.attention_sentence == info.attention_sentence
    folder = assets_dir() / "models" / "vilt-mini"
    by_folder = Explainer(f"vilt:{folder}", "cpu").explain(EXAMPLES / "cat.jpg", "a cat")
    assert torch.equal(by_folder.map.values, mini.explain(EXAMPLES / "cat.jpg", "a cat").map.values)


def test_its_name_is_the_same_however_it_was_asked_for(mini):
    """No path of this machine gets into what is saved; the folder comes first here."""
    models.unload_models()
    for name in (f"vilt:{assets_dir() / 'models' / 'vilt-mini'}", "vilt-mini"):
        model = load_model(name, "cpu")
        assert (model.info.name, model.info.title) == ("vilt-mini", "vilt-mini")
    assert model.info == mini.info


@pytest.mark.parametrize(
    ("name", "caption", "word", "box"),
    [
        ("photographer.jpg", "a photographer in a coat and his camera", "photographer", (0, 55, 300, 511)),
        ("photographer.jpg", "a photographer in a coat and his camera", "coat", (0, 115, 290, 500)),
        ("astronaut.jpg", "a smiling woman in an orange suit in front of a flag", "woman", (25, 15, 355, 511)),
        ("astronaut.jpg", "a smiling woman in an orange suit in front of a flag", "suit", (25, 150, 360, 511)),
        ("coffee.jpg", "a red cup of coffee and a spoon on a wooden table", "cup", (170, 15, 425, 315)),
    ],
)
def test_easy_words_are_found(mini, name, caption, word, box):
    explanation = mini.explain(EXAMPLES / name, caption)
    heat = explanation.heatmap(word)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    left, top, right, bottom = box
    assert left <= x < right
    assert top <= y < bottom


def test_what_is_there_matches_better_than_what_is_not(mini):
    model = load_model("vilt-mini", "cpu")
    there = {"photographer.jpg": "a man with a camera", "astronaut.jpg": "a woman in a suit", "cat.jpg": "a cat"}
    for name in there:
        trace = model.trace(model.encode_image(load_photo(EXAMPLES / name)), "a red boat on the water")
        match = trace.match()
        with torch.no_grad():
            state = match.state(trace.pixels)
            absent = float(match.score(state, [trace.caption.phrase("a red boat on the water")]))
            own = model.trace(model.encode_image(load_photo(EXAMPLES / name)), there[name])
            present = float(own.match().score(state, [own.caption.phrase(there[name])]))
        assert present > absent


def test_a_hidden_word_is_guessed_from_the_photo(mini):
    caption = "a man in a black coat"
    found = mini.explain(EXAMPLES / "photographer.jpg", caption, hide="man")
    (guess,) = found.guesses
    assert "man" in [text for text, _ in guess.choices[:3]]
    shares = {}
    model = load_model("vilt-mini", "cpu")
    for name in ("photographer.jpg", "coffee.jpg"):
        with torch.no_grad():
            trace = model.trace(model.encode_image(load_photo(EXAMPLES / name)), caption, (1,))
        shares[name] = dict(trace.guesses(8000)[0].choices)["man"]
    assert shares["photographer.jpg"] > shares["coffee.jpg"]
    heat = found.heatmap("man")
    assert np.unravel_index(heat.argmax(), heat.shape)[1] < 330  # he stands on the left


def test_it_has_no_embeddings(mini):
    with pytest.raises(UnsupportedMethodError, match="only together"):
        load_model("vilt-mini", "cpu").embed_texts(["a dog"])
    assert mini.explain(EXAMPLES / "cat.jpg", "a cat").similarity is None
