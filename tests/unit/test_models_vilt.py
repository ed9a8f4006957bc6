"""ViLT: its attention against transformers' own, its order of patches, its heads, what can go wrong with loading."""

import inspect
import json
import logging
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import factories
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_blips import blip_folder
from small_vilts import OwnVilt, bright_patch_folder, vilt_folder, vocabulary

import crossviz
from crossviz.capture import capture
from crossviz.errors import ModelUnavailableError, SelectionError, UnknownModelError, UnsupportedMethodError
from crossviz.models import load_model
from crossviz.models.vilt_tokens import Pieces
from crossviz.photo import Photo
from crossviz.trace import CAPABILITIES

WORDS, MATCHING = "ViltForMaskedLM", "ViltForImageAndTextRetrieval"
CAPTION = "the red dogs on a tree"
SIZES = {"landscape": (64, 48), "portrait": (48, 64), "panorama": (190, 60), "tower": (20, 90), "square": (40, 40)}


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("vilts")
    return {
        WORDS: vilt_folder(base / "words", WORDS),
        MATCHING: vilt_folder(base / "matching", MATCHING),
        "ViltModel": vilt_folder(base / "bare", "ViltModel"),
        "few": vilt_folder(base / "few", MATCHING, max_image_length=50),
        "bright": bright_patch_folder(base / "bright"),
    }


@pytest.fixture(scope="session")
def models(folders):
    return {name: load_model(f"vilt:{folder}", "cpu") for name, folder in folders.items()}


@pytest.fixture(scope="session")
def own(folders) -> dict[str, OwnVilt]:
    return {name: OwnVilt(folders[name], name) for name in (WORDS, MATCHING)}


def traced(model, photo=None, caption=CAPTION, hidden=()):
    with torch.no_grad():
        return model.trace(model.encode_image(photo or factories.photo()), caption, hidden)


@contextmanager
def heard():
    """What transformers logs as a warning or worse, which it writes to the terminal."""
    theirs = logging.getLogger("transformers")
    remarks: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: remarks.append(record.getMessage())
    theirs.addHandler(handler)
    try:
        yield remarks
    finally:
        theirs.removeHandler(handler)


def in_sequence(found):
    """A text-to-image record's keys in the order of the model's own sequence."""
    count = found.probs.shape[2]
    patches = found.probs.shape[3] - count - 1
    return [*range(patches + 1, patches + 1 + count), patches, *range(patches)]


# The attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", [WORDS, MATCHING])
def test_attention_is_what_transformers_gives_in_the_order_of_the_photo(models, own, head, size):
    photo = factories.photo(*size)
    trace = traced(models[head], photo)
    reference = own[head].attentions([photo], CAPTION)[0]  # layer head query key
    found = trace.cross_attention()
    count = len(trace.caption.tokens)
    torch.testing.assert_close(found.probs[..., in_sequence(found)], reference[:, :, :count], atol=1e-6, rtol=0)
    back = trace.image_to_text()
    torch.testing.assert_close(back.probs, reference[:, :, count + 1 :], atol=1e-6, rtol=0)
    assert (found.layers, back.query_kind) == (("layer 1", "layer 2", "layer 3"), "image patches")
    assert back.key_kind.startswith("text tokens")
    for part in (found, back):
        torch.testing.assert_close(part.probs.sum(-1), torch.ones(part.probs.shape[:-1]))
        torch.testing.assert_close(torch.softmax(part.scores, -1), part.probs)


def test_transformers_draws_the_order_of_the_patches_anew(own):
    """What the un-shuffling is for: without it the comparison above would fail."""
    photo = factories.photo()
    orders = [own[WORDS].run([photo], CAPTION).places[0].tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_a_photo_beside_a_larger_one_is_read_as_it_is_alone(models, own):
    """transformers pads the smaller photo of a batch; its valid patches must be those that are read here."""
    photos = [factories.photo(64, 48, seed=1), factories.photo(48, 64, seed=2), factories.photo(190, 60, seed=3)]
    for photo, reference in zip(photos, own[MATCHING].attentions(photos, CAPTION), strict=True):
        found = traced(models[MATCHING], photo).cross_attention()
        count = found.probs.shape[2]
        torch.testing.assert_close(found.probs[..., in_sequence(found)], reference[:, :, :count], atol=2e-6, rtol=0)


def test_every_layer_recomputes_its_own_output(models):
    model = models[WORDS]
    named = model.attention_sites()
    assert len(named) == 3
    with torch.no_grad(), capture(named) as captured:
        image = model.encode_image(factories.photo())
        model.trace(image, CAPTION).cross_attention()
    assert max(captured[name].deviation for name in named) <= 1e-5


def test_captured_with_a_mask_and_substituted(models, own):
    """The kind itself, on what a padded batch gives it: an added mask, and attentions asked for."""
    reference = own[WORDS]
    sites = {"first": reference.model.vilt.encoder.layer[0].attention.attention}
    photos = [factories.photo(64, 48), factories.photo(190, 60)]
    plain = reference.run(photos, CAPTION)
    with capture(sites, substitute=True) as captured:
        again = reference.run(photos, CAPTION)
    assert captured["first"].deviation <= 1e-5
    assert (captured["first"].probs == 0).any()  # padding
    torch.testing.assert_close(again.out.logits, plain.out.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.out.attentions[0], captured["first"].probs)


def test_two_calls_give_the_same_bits_and_change_nothing(folders):
    model = load_model(f"vilt:{folders[MATCHING]}", "cpu")
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    state = torch.get_rng_state()
    photo = factories.photo(90, 50)
    first, second = (traced(model, photo) for _ in range(2))
    for name in ("cross_attention", "image_to_text"):
        one, two = getattr(first, name)(), getattr(second, name)()
        assert torch.equal(one.probs, two.probs)
        assert torch.equal(one.scores, two.scores)
    assert torch.equal(first.image.features["patches"], second.image.features["patches"])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.module.state_dict().items())
    assert not any(module._forward_hooks for module in model.module.modules())


@pytest.mark.parametrize(
    ("size", "grid", "cell"),
    [
        ((320, 240), (12, 16), (2, 13)),
        ((240, 320), (16, 12), (13, 2)),
        ((760, 240), (6, 19), (4, 17)),
        ((240, 760), (19, 6), (17, 1)),
    ],
)
def test_a_planted_patch_is_where_the_map_points(models, size, grid, cell):
    """A model whose words look for brightness, and one bright patch in a dark photo."""
    width, height = size
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    down, right = height // grid[0], width // grid[1]
    pixels[cell[0] * down : (cell[0] + 1) * down, cell[1] * right : (cell[1] + 1) * right] = 255
    explainer = crossviz.Explainer(models["bright"].info.name, "cpu")
    explanation = explainer.explain(pixels, "a dog", layers=["layer 1"])
    assert (explanation.grid.height, explanation.grid.width) == grid
    values = explanation.map.values[1]
    assert divmod(int(values.argmax()), grid[1]) == cell
    heat = explanation.heatmap("dog", smooth=False)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert pixels[y, x].min() == 255


def test_patches_beyond_the_most_that_are_read_get_nothing(models):
    model = models["few"]
    trace = traced(model, factories.photo(64, 48))
    kept = trace.image.features["kept"]
    found, back = trace.cross_attention(), trace.image_to_text()
    assert len(kept) == 50
    assert (kept.diff() > 0).all()  # row by row
    unread = [patch for patch in range(192) if patch not in set(kept.tolist())]
    assert (found.probs[..., unread] == 0).all()
    assert torch.isneginf(found.scores[..., unread]).all()
    assert (found.probs[..., kept] > 0).all()
    torch.testing.assert_close(found.probs.sum(-1), torch.ones(found.probs.shape[:-1]))
    assert (back.probs[:, :, unread] == 0).all()
    torch.testing.assert_close(back.probs[:, :, kept].sum(-1), torch.ones(3, 4, 50))
    assert any("142 of this one's 192" in note for note in found.notes)
    again = traced(model, factories.photo(64, 48))
    assert torch.equal(again.image.features["kept"], kept)
    # What is read is a choice of what a model without that limit reads.
    config = model.module.vilt.config
    config.max_image_length = -1
    try:
        whole = model.encode_image(factories.photo(64, 48)).features["patches"]
    finally:
        config.max_image_length = 50
    torch.testing.assert_close(trace.image.features["patches"][:, 1:], whole[:, 1:][:, kept])
    explained = crossviz.Explainer(model.info.name, "cpu").explain(factories.photo(64, 48), CAPTION)
    assert torch.isfinite(explained.map.values).all()


def test_the_shares_that_are_told(models):
    trace = traced(models[WORDS])
    found = trace.cross_attention()
    own = [token.index for token in trace.caption.tokens if token.start is not None]
    patches = trace.image.grid.num_patches
    text = float(found.probs[:, :, own, patches + 1 :].sum(-1).mean())
    whole = "in the mean over all layers and heads"  # also where fewer are chosen for the map
    assert any(f"{text:.0%} goes to text tokens" in note and whole in note for note in found.notes)
    back = trace.image_to_text()
    text = float(back.probs[..., : len(trace.caption.tokens)].sum(-1).mean())
    assert any(f"{text:.0%} goes to text tokens" in note and whole in note for note in back.notes)


# The photo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*SIZES.values(), (1000, 700), (333, 1001), (601, 601)])
def test_pixels_are_those_of_transformers(models, own, size):
    photo = factories.photo(*size)
    pixels, view = models[WORDS].preprocess(photo)
    given = own[WORDS].processor(photo.image(), return_tensors="pt")
    assert torch.equal(pixels, given["pixel_values"])
    assert view.input_hw == tuple(pixels.shape[2:])
    assert view.crop_xyxy == (0, 0, *size)
    grid = models[WORDS].encode_image(photo).grid
    assert (grid.height, grid.width) == (pixels.shape[2] // 32, pixels.shape[3] // 32)


@pytest.mark.parametrize("size", [(700, 1), (1, 700), (1, 1), (640, 30), (3000, 2)])
def test_slivers(models, size):
    explanation = crossviz.Explainer(models[WORDS].info.name, "cpu").explain(factories.photo(*size), "a dog")
    assert min(explanation.grid.height, explanation.grid.width) >= 1
    assert explanation.heatmap("dog").shape == (size[1], size[0])
    assert torch.isfinite(explanation.map.values).all()


# The text -------------------------------------------------------------------------------------------------------------


def test_tokens_and_their_characters(models):
    text = "The red Dogs, 狗 é 😀 [MASK] the dog"
    tokenized = models[WORDS].tokenize(text)
    caption = tokenized.caption
    shown = [(token.text, token.start) for token in caption.tokens]
    assert shown[0] == ("[CLS]", None)
    assert shown[-1] == ("[SEP]", None)
    covered = [text[token.start : token.end] for token in caption.tokens[1:-1]]
    assert [name.replace("😀", "[UNK]") for name in covered] == [name for name, _ in shown[1:-1]]
    assert [caption.words[word].text for word in caption.unknown] == ["😀"]
    names = [vocabulary()[id_] for id_ in tokenized.ids[0].tolist()]
    assert names[1:9] == ["the", "red", "dog", "##s", ",", "狗", "e", "[UNK]"]  # the accent is left out
    assert "[MASK]" not in names  # what the user typed are characters
    assert len(caption.tokens) == 16
    assert caption.truncated
    assert caption.words[-1].truncated
    assert caption.words[2].tokens == (3, 4)


def test_a_long_caption_is_cut_without_a_word_from_transformers(folders):
    """A new tokenizer, since transformers warns once per tokenizer; its own tokenizer shows what must not be heard."""
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folders[WORDS])
    with heard() as remarks:
        assert Pieces(own, 16).tokenize("dog " * 40).caption.truncated
        assert Pieces(own, 16).ids("dog " * 40).shape == (1, 16)
        assert not remarks
        own("dog " * 40)
    assert any("longer than the specified maximum" in remark for remark in remarks)


def test_repeated_words_are_apart(models):
    explanation = crossviz.Explainer(models[WORDS].info.name, "cpu").explain(factories.photo(), "dog dog")
    assert explanation.map.values.shape[0] == 2
    assert not torch.equal(explanation.map.values[0], explanation.map.values[1])


# The heads ------------------------------------------------------------------------------------------------------------


def test_guesses_are_those_of_transformers(models, own):
    photo = factories.photo(64, 48)
    trace = traced(models[WORDS], photo, hidden=(2,))  # "dogs": two tokens
    mask = vocabulary().index("[MASK]")
    ids = models[WORDS].tokenize(CAPTION).ids.clone()
    ids[0, [3, 4]] = mask
    logits = own[WORDS].run([photo], ids).out.logits[0]
    guesses = trace.guesses(5)
    assert [guess.token for guess in guesses] == [3, 4]
    for guess in guesses:
        best = torch.softmax(logits[guess.token], -1).topk(5)
        names = [vocabulary()[id_].replace("##", "…") for id_ in best.indices.tolist()]
        assert [text for text, _ in guess.choices] == names
        assert [share for _, share in guess.choices] == pytest.approx(best.values.tolist(), abs=1e-6)
    assert trace.caption.tokens[3].text == "dog"
    assert trace.caption.text == CAPTION


def test_hiding_words(models):
    explainer = crossviz.Explainer(models[WORDS].info.name, "cpu")
    image = explainer.encode(factories.photo())
    hidden = explainer.explain(image, CAPTION, hide="dogs")
    assert hidden.hidden == (2,)
    assert [guess.token for guess in hidden.guesses] == [3, 4]
    assert not torch.equal(hidden.map.values, explainer.explain(image, CAPTION).map.values)
    with pytest.raises(SelectionError, match="nothing to hide"):
        models[WORDS].hide(models[WORDS].tokenize("a " * 20 + "dog"), [20])
    with pytest.raises(UnsupportedMethodError, match="guesses no hidden words"):
        models[MATCHING].hide(models[MATCHING].tokenize(CAPTION), [2])


def test_nothing_reads_a_hidden_word_where_only_hidden_words_are_guessed(models, own):
    """What is asked of its place is what the model itself guesses there, whatever the word is."""
    explainer = crossviz.Explainer(models[WORDS].info.name, "cpu")
    photo = factories.photo()
    image = explainer.encode(photo)

    def values(caption, hide=None):
        return explainer.explain(image, caption, "occlusion", hide=hide).map.values

    dog, cat = (values(f"a {word} on the red ball", word) for word in ("dog", "cat"))
    assert torch.equal(dog, cat)
    assert not torch.allclose(dog[1], values("a dog on the red ball")[1], rtol=1e-3)
    ids = models[WORDS].tokenize("a dog on the red ball").ids
    ids[0, 2] = vocabulary().index("[MASK]")
    best = float(torch.log_softmax(own[WORDS].run([photo], ids).out.logits[0, 2], -1).max())
    trace = traced(models[WORDS], photo, "a dog on the red ball", (1,))
    match = trace.match()
    assert match.score(match.state(trace.pixels), [trace.caption.phrase("dog")]).item() == pytest.approx(best, abs=1e-5)
    assert "guesses" in match.sentence and "guesses" not in traced(models[WORDS]).match().sentence


def test_matching_is_that_of_transformers_for_the_words_by_themselves(models, own):
    photos = [factories.photo(64, 48, seed=seed) for seed in range(3)]
    trace = traced(models[MATCHING], photos[0])
    match = trace.match()
    phrases = [trace.caption.phrase("red dogs"), trace.caption.phrase("tree")]
    pixels = torch.cat([models[MATCHING].preprocess(photo)[0] for photo in photos])
    scores = match.score(match.state(pixels), phrases)
    for row, photo in zip(scores, photos, strict=True):
        expected = [float(own[MATCHING].run([photo], phrase.text).out.logits[0, 0]) for phrase in phrases]
        assert row.tolist() == pytest.approx(expected, abs=1e-5)
    assert match.score(match.state(pixels), []).shape == (3, 0)
    assert len(set(np.round(scores.flatten().tolist(), 4))) == 6


def test_matching_without_a_head_is_how_likely_the_hidden_words_are(models, own):
    photo = factories.photo(64, 48)
    model = models[WORDS]
    trace = traced(model, photo)
    match = trace.match()
    phrase = trace.caption.phrase("red dogs")
    ids = model.tokenize(CAPTION).ids
    hidden = ids.clone()
    hidden[0, [2, 3, 4]] = vocabulary().index("[MASK]")
    logs = torch.log_softmax(own[WORDS].run([photo], hidden).out.logits[0], -1)
    expected = float(logs[[2, 3, 4], ids[0, [2, 3, 4]]].mean())
    score = match.score(match.state(trace.pixels), [phrase])
    assert score.item() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(match.readable(score), score)


def test_scores_have_a_gradient_with_respect_to_the_state(models):
    for head in (WORDS, MATCHING):
        trace = traced(models[head])
        match = trace.match()
        state = {name: part.requires_grad_(True) for name, part in match.state(trace.pixels).items()}
        with torch.enable_grad():
            score = match.score(state, [trace.caption.phrase("dogs")]).sum()
        (slope,) = torch.autograd.grad(score, [state["patches"]])
        assert slope.abs().max() > 0


def test_the_graph_of_attention_has_transformers_own_gradients(models, own):
    photo = factories.photo(64, 48)
    trace = traced(models[MATCHING], photo)
    graph = trace.attention_graph()
    phrases = [trace.caption.phrase("dogs"), trace.caption.phrase("tree")]
    scores = graph.score(phrases)
    found = torch.autograd.grad(scores[0], graph.probs)
    reference = own[MATCHING].run([photo], CAPTION, grad=True)
    assert scores.tolist() == pytest.approx([reference.out.logits[0, 0].item()] * 2, abs=1e-5)
    slopes = torch.autograd.grad(reference.out.logits[0, 0], reference.out.attentions)
    order = reference.order(0)
    for layer, slope in zip(found, slopes, strict=True):
        expected = slope[0][:, order][:, :, order]
        torch.testing.assert_close(layer, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-3)
    cross = trace.cross_attention()
    count = len(trace.caption.tokens)
    for layer, probs in zip(graph.probs, cross.probs, strict=True):
        picked = graph.to_patches(layer)[:, :count]
        torch.testing.assert_close(picked, probs[..., : trace.image.grid.num_patches], atol=1e-6, rtol=0)
    assert graph.joint
    assert list(graph.rows(phrases[0])) == [3, 4]


def test_the_graph_where_patches_are_left_out(models):
    trace = traced(models["few"])
    graph = trace.attention_graph()
    probs = torch.stack([graph.to_patches(layer) for layer in graph.probs])[:, :, : len(trace.caption.tokens)]
    expected = trace.cross_attention().probs[..., : trace.image.grid.num_patches]
    torch.testing.assert_close(probs, expected, atol=1e-6, rtol=0)


def test_what_is_lacking_is_said(models):
    lacking = {
        WORDS: {"attention_graph"},
        MATCHING: {"guesses"},
        "ViltModel": {"attention_graph", "guesses", "match"},
    }
    for head, more in lacking.items():
        model = models[head]
        trace = traced(model)
        assert set(trace.provides) | set(model.lacks()) == set(CAPABILITIES)
        assert not set(trace.provides) & set(model.lacks())
        assert more == set(model.lacks()) & {"attention_graph", "guesses", "match", "cross_attention", "image_to_text"}
    with pytest.raises(UnsupportedMethodError, match="only together"):
        models[WORDS].embed_texts(["a dog"])
    assert any("one sequence" in note for note in models[WORDS].notes)


@pytest.mark.parametrize("head", [WORDS, MATCHING, "ViltModel"])
def test_stages_hold_every_weight_once(models, head):
    model = models[head]
    found = [
        id(parameter)
        for _, parts in model.stages()
        for part in parts
        for parameter in (part.parameters() if isinstance(part, torch.nn.Module) else [part])
    ]
    assert sorted(found) == sorted(id(parameter) for parameter in model.module.parameters())


def test_a_copy_with_other_words_reads_photos_as_before(models):
    model = models[WORDS]
    photo = factories.photo()
    encoded = model.encode_image(photo)
    layer = model.module.vilt.encoder.layer[1].output.dense.weight
    made = model.with_weights({layer: layer.detach() * 2})
    assert made.image_module is model.image_module
    words = model.module.vilt.embeddings.text_embeddings.word_embeddings.weight
    made = model.with_weights({words: words.detach().flip(0)})
    # The head that guesses words shares them, and so does what reads photos.
    assert made.module.mlm_score.decoder.weight is made.module.vilt.embeddings.text_embeddings.word_embeddings.weight
    assert made.image_module is not model.image_module
    assert made.module.photo.embeddings is made.module.vilt.embeddings
    assert torch.equal(made.encode_image(photo).features["patches"], encoded.features["patches"])
    before = model.trace(encoded, CAPTION).cross_attention().probs
    after = made.trace(made.encode_image(photo), CAPTION).cross_attention().probs
    assert not torch.allclose(before, after)


# Loading --------------------------------------------------------------------------------------------------------------


def test_transformers_is_not_imported_before_a_model_of_it_is_loaded():
    from crossviz.models import transformers_hub, transformers_load, vilt, vilt_load

    for module in (transformers_hub, transformers_load, vilt, vilt_load):
        top = [line for line in inspect.getsource(module).splitlines() if line.startswith(("import ", "from "))]
        assert not any("transformers" in line.split()[1].split(".")[0] for line in top)


def test_without_transformers(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelUnavailableError, match=r"needs the package transformers.*crossviz\[transformers\]"):
        crossviz.Explainer(f"vilt:{folders[WORDS]}/../other", "cpu")
    listed = [info for info in crossviz.models() if info.name.startswith("vilt:")]
    assert listed
    assert all(not info.available and r"pip install crossviz[transformers]" in info.reason for info in listed)


@pytest.mark.parametrize("error", ["RuntimeError('compiled for another numpy')", "AttributeError('x')", "OSError(2)"])
def test_a_broken_transformers_is_one_sentence(monkeypatch, tmp_path, folders, error):
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(ModelUnavailableError, match=rf"can't be imported \({error.partition('(')[0]}.*pip install"):
        crossviz.Explainer(f"vilt:{folders[WORDS]}/../other", "cpu")


def test_a_model_of_the_hub_without_network(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailableError) as caught:
        crossviz.Explainer("vilt:dandelin/vilt-b32-mlm", "cpu")
    assert "vilt:dandelin/vilt-b32-mlm are not on this machine" in str(caught.value)
    assert "HF_HUB_OFFLINE is set" in str(caught.value)
    assert "crossviz-mini" in str(caught.value)


def test_a_model_of_the_hub_from_its_cache(monkeypatch, tmp_path, folders):
    """The layout that huggingface_hub keeps; no network is asked."""
    from huggingface_hub import constants

    from crossviz.models import hub, transformers_hub

    repository = tmp_path / "models--someone--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folders[WORDS], repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "unreachable", lambda: pytest.fail("the network was asked"))
    model = load_model("vilt:someone/small", "cpu")
    assert model.info.title == "someone/small"
    assert transformers_hub.available(hub.place_of("vilt:someone/small", "vilt")) == ""
    probs = traced(model).cross_attention().probs
    assert torch.equal(probs, traced(load_model(f"vilt:{folders[WORDS]}", "cpu")).cross_attention().probs)


def in_parts(folder):
    """A model's folder with its weights in two files, as transformers saves large ones."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    where = {name: names[i % 2] for i, name in enumerate(sorted(weights))}
    for file in names:
        own = {name: tensor for name, tensor in weights.items() if where[name] == file}
        save_file(own, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return names


def test_a_model_whose_weights_are_in_several_files_needs_all_of_them(monkeypatch, tmp_path, folders, models):
    from huggingface_hub import constants

    from crossviz.models import hub, transformers_hub

    folder = shutil.copytree(folders[WORDS], tmp_path / "models--someone--large" / "snapshots" / ("0" * 40))
    _, second = in_parts(folder)
    probs = traced(load_model(f"vilt:{folder}", "cpu")).cross_attention().probs
    assert torch.equal(probs, traced(models[WORDS]).cross_attention().probs)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "unreachable", lambda: "there is no network")
    place = hub.place_of("vilt:someone/large", "vilt")
    assert transformers_hub.available(place) == "" and transformers_hub.fetch(place) == folder
    (folder / second).unlink()
    assert "not on this machine yet" in transformers_hub.available(place)
    with pytest.raises(ModelUnavailableError, match="not on this machine, and there is no network"):
        transformers_hub.fetch(place)
    with pytest.raises(ModelUnavailableError, match=rf"lacks some of its weights \({second}\)"):
        load_model(f"vilt:{folder}", "cpu")
    for broken in ("{", "[]", "{}", '{"weight_map": [1]}'):
        (folder / "model.safetensors.index.json").write_text(broken)
        with pytest.raises(ModelUnavailableError, match=r"model\.safetensors\.index\.json of .* can't be read"):
            load_model(f"vilt:{folder}", "cpu")


def test_a_repository_with_the_older_format_alone(monkeypatch, tmp_path, folders):
    """As those of ViLT are: the hub's converter has proposed the weights as safetensors, and those are taken."""
    import huggingface_hub
    from huggingface_hub import Discussion, constants

    from crossviz.models import hub, transformers_hub

    old = shutil.copytree(folders[WORDS], tmp_path / "old")
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    asked = []

    def download(repository, revision=None, allow_patterns=()):
        assert repository == "someone/old"
        assert "model*.safetensors" in allow_patterns
        asked.append(revision)
        return str(old if revision is None else folders[WORDS])

    def discussion(title, number, author):
        made = Discussion.__new__(Discussion)
        made.__dict__.update(title=title, status="open", num=number, author=author, is_pull_request=True)
        return made

    proposals = [discussion("Fix the card", 2, "SFconvertbot"), discussion("Adding `safetensors`", 4, "SFconvertbot")]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(
        huggingface_hub,
        "get_repo_discussions",
        lambda repository, author, discussion_type: iter(each for each in proposals if each.author == author),
    )
    assert load_model("vilt:someone/old", "cpu").module.mlm_score is not None
    assert asked == [None, "refs/pr/4"]
    proposals.clear()
    with pytest.raises(ModelUnavailableError, match=r"someone/old holds no model\.safetensors"):
        transformers_hub.fetch(hub.place_of("vilt:someone/old", "vilt"))


def test_the_processor_of_older_files(tmp_path, folders, models):
    """The settings as ViLT's authors' repositories have them: one number for the size, the class under its old name."""
    folder = shutil.copytree(folders[WORDS], tmp_path / "older")
    half = [0.5, 0.5, 0.5]
    settings = {"do_normalize": True, "do_resize": True, "image_mean": half, "image_std": half, "resample": 3}
    own = {**settings, "size": 384, "size_divisor": 32, "feature_extractor_type": "ViltFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(own))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 40}))
    (folder / "vocab.txt").write_text("\n".join(vocabulary()))
    photo = factories.photo(190, 60)
    model = load_model(f"vilt:{folder}", "cpu")
    assert torch.equal(model.preprocess(photo)[0], models[WORDS].preprocess(photo)[0])
    text = "The red Dogs, 狗 é 😀"
    assert torch.equal(model.tokenize(text).ids, models[WORDS].tokenize(text).ids)
    assert model.tokenize(text).caption == models[WORDS].tokenize(text).caption


@pytest.mark.parametrize("name", ["vilt:", "vilt:nothing", "vilt:a/b/c", "vilt", "vilt:a b/c"])
def test_names_of_no_model(name):
    with pytest.raises(UnknownModelError, match="vilt"):
        load_model(name, "cpu")


def test_folders_that_hold_no_model(tmp_path, folders):
    with pytest.raises(ModelUnavailableError, match=r"must hold config\.json"):
        load_model(f"vilt:{tmp_path}/none", "cpu")
    for name, told in (("model.safetensors", "the only format"), ("tokenizer.json", "no tokenizer")):
        folder = tmp_path / name.replace(".", "_")
        shutil.copytree(folders[WORDS], folder)
        (folder / name).unlink()
        with pytest.raises(ModelUnavailableError, match=told):
            load_model(f"vilt:{folder}", "cpu")
    other = tmp_path / "bert"
    shutil.copytree(folders[WORDS], other)
    config = json.loads((other / "config.json").read_text()) | {"model_type": "bert"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailableError, match="is no ViLT"):
        load_model(f"vilt:{other}", "cpu")
    (other / "model.safetensors").write_bytes(b"no weights")
    (other / "config.json").write_text(json.dumps(config | {"model_type": "vilt"}))
    with pytest.raises(ModelUnavailableError, match="can't be loaded"):
        load_model(f"vilt:{other}", "cpu")
    (other / "config.json").write_text("[]")
    for family in ("vilt", "blip"):
        with pytest.raises(ModelUnavailableError, match=r"config\.json of .* does not describe a model"):
            load_model(f"{family}:{other}", "cpu")


def test_a_model_of_another_kind_is_refused_without_a_word_from_transformers(tmp_path):
    folder = blip_folder(tmp_path / "blip", False)
    with heard() as remarks, pytest.raises(ModelUnavailableError, match="is no ViLT"):
        load_model(f"vilt:{folder}", "cpu")
    assert not remarks


def test_missing_weights_are_never_random_ones(tmp_path, folders):
    folder = tmp_path / "hole"
    shutil.copytree(folders[WORDS], folder)
    weights = load_file(folder / "model.safetensors")
    del weights["vilt.encoder.layer.1.attention.attention.key.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=r"don't hold all of its weights.*layer\.1"):
        load_model(f"vilt:{folder}", "cpu")


def test_the_names_of_older_files(tmp_path, folders, models):
    """transformers 4 kept the bias of the masked-word head under another name, and wrote the tied weight as well."""
    folder = tmp_path / "older"
    shutil.copytree(folders[WORDS], folder)
    weights = load_file(folder / "model.safetensors")
    weights["mlm_score.bias"] = weights.pop("mlm_score.decoder.bias")
    weights["mlm_score.decoder.weight"] = weights["vilt.embeddings.text_embeddings.word_embeddings.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = traced(load_model(f"vilt:{folder}", "cpu"), hidden=(1,)).guesses(3)
    assert found == traced(models[WORDS], hidden=(1,)).guesses(3)


def test_loading_leaves_the_callers_random_numbers(folders, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(folders[MATCHING], folder)
    state = torch.get_rng_state()
    load_model(f"vilt:{folder}", "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_methods_run_and_trust_reads_them(models):
    photo = Photo(np.asarray(factories.photo(64, 48).image()), "photo")
    for head in (WORDS, MATCHING):
        explainer = crossviz.Explainer(models[head].info.name, "cpu")
        image = explainer.encode(photo)
        names = [info.name for info in explainer.methods]
        assert {"cross_attention", "image_to_text", "occlusion"} <= set(names)
        for name in names:
            values = explainer.explain(image, "a dog", method=name).map.values
            assert values.shape == (2, 12, 16)
            assert torch.isfinite(values).all()
        report = explainer.trust(image, explainer.explain(image, "a dog"), "dog", checks=["deletion"])
        assert report.deletion is not None
