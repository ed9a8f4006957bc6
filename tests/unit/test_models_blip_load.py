"""The family blip: its names, what a folder must hold, what is said where transformers or the network is missing."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small_blips import MEAN, START, STD, VOCAB, blip_folder, build

from crossviz import Explainer, models
from crossviz.errors import CaptionError, ModelUnavailableError, UnknownModelError
from crossviz.photo import load_photo

HUB = "blip:Salesforce/blip-itm-base-coco"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        captioner: blip_folder(tmp_path_factory.mktemp("blips") / f"blip{captioner}", captioner)
        for captioner in (False, True)
    }


def refused(name):
    with pytest.raises(ModelUnavailableError) as caught:
        models.load_model(name)
    return str(caught.value)


# Names ------------------------------------------------------------------------------------------------------------


def test_the_choice_of_the_hubs_models_is_listed(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    listed = {info.name: info for info in models.models() if info.name.startswith("blip:")}
    assert len(listed) == 5 and HUB in listed and "blip:Salesforce/blip-image-captioning-large" in listed
    for info in listed.values():
        assert info.trained and "text tokens" in info.attention_sentence
        assert not info.available and "not on this machine" in info.reason
        assert ("writes captions" in info.sentence) == ("captioning" in info.name)


@pytest.mark.parametrize("name", ["blip", "blip:", "blip:nothing", "blip:a/b/c"])
def test_names_that_name_nothing(name):
    with pytest.raises(UnknownModelError, match="blip:ORG/NAME"):
        models.load_model(name)


@pytest.mark.parametrize("captioner", [False, True], ids=["matcher", "captioner"])
def test_a_folder_is_one_of_two_kinds(folders, captioner):
    plain, prefixed = (models.load_model(f"blip:{prefix}{folders[captioner]}") for prefix in ("", "local-dir:"))
    assert plain is prefixed and plain.writes == captioner
    assert ("decoder" if captioner else "encoder") in plain.info.attention_sentence
    explanation = Explainer(f"blip:{folders[captioner]}").explain(torch_photo(), "a red dog")
    assert (explanation.similarity is None) == captioner
    assert explanation.record.key_kind == "image patches, then the image token"


def torch_photo():
    return torch.randint(0, 255, (40, 60, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()


def test_random_numbers_and_autograd_are_left_as_they_were(folders):
    models.unload_models()
    before = torch.get_rng_state()
    models.load_model(f"blip:{folders[False]}")
    assert torch.equal(before, torch.get_rng_state()) and torch.is_grad_enabled()


# What is missing ---------------------------------------------------------------------------------------------------


def test_without_transformers_the_sentence_says_how_to_install_it(monkeypatch, folders):
    models.unload_models()
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in (f"blip:{folders[False]}", HUB):
        message = refused(name)
        assert name in message and "pip install crossviz[transformers]" in message
    infos = [info for info in models.models() if info.name.startswith("blip:")]
    assert infos and all("pip install crossviz[transformers]" in info.reason for info in infos)
    assert not any(info.available for info in infos)


def test_without_network_the_hubs_models_are_refused_at_once(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refused(HUB)
    assert HUB in message and "HF_HUB_OFFLINE is set" in message and "crossviz-mini" in message


def test_folders_that_hold_something_else_say_what(tmp_path):
    def changed(name, change):
        folder = blip_folder(tmp_path / name, False)
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))
        return refused(f"blip:{folder}")

    other = changed("other", lambda config: config.update(architectures=["BlipForQuestionAnswering"]))
    assert "is a BlipForQuestionAnswering" in other and "BlipForImageTextRetrieval" in other
    nameless = changed("nameless", lambda config: config.pop("architectures"))
    assert "model of no named class" in nameless
    alone = changed("alone", lambda config: config["text_config"].update(is_decoder=False))
    assert "no cross-attention" in alone
    deeper = changed("deeper", lambda config: config["text_config"].update(num_hidden_layers=4))
    assert "don't hold all of its weights" in deeper
    assert "config.json" in refused(f"blip:{tmp_path / 'empty'}")


def test_an_image_processor_of_another_size_is_refused(tmp_path):
    folder = blip_folder(tmp_path / "m", False)
    path = folder / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "size": {"height": 96, "width": 96}}))
    assert "80 x 80 pixels" in refused(f"blip:{folder}")
    path.write_text(json.dumps({**config, "size": {"shortest_edge": 80}}))
    assert "80 x 80 pixels" in refused(f"blip:{folder}")
    path.unlink()  # nothing said: BLIP's own, at the image tower's size
    photo = load_photo(torch_photo())
    assert models.load_model(f"blip:{folder}").preprocess(photo)[0].shape == (1, 3, 80, 80)


@pytest.mark.parametrize("wh", [(1, 1), (3, 50), (2000, 1), (80, 80)], ids=str)
def test_pixels_are_the_whole_photo_squashed(tmp_path_factory, wh):
    folder = tmp_path_factory.getbasetemp() / "older"
    if not folder.exists():
        blip_folder(folder, False)
        path = folder / "preprocessor_config.json"  # as BLIP's own on the hub
        path.write_text(json.dumps({**json.loads(path.read_text()), "do_pad": True, "size_divisor": 32}))
    pixels = np.random.default_rng(1).integers(0, 255, (wh[1], wh[0], 3), dtype=np.uint8)
    found, view = models.load_model(f"blip:{folder}").preprocess(load_photo(pixels))
    squashed = Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC)
    expected = (np.asarray(squashed) / 255 - MEAN) / STD
    np.testing.assert_allclose(found[0].numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert view.crop_xyxy == (0, 0, *wh) and view.input_hw == (80, 80)


def test_patches_that_leave_a_rest_of_the_photo_unread(tmp_path):
    folder = blip_folder(tmp_path / "m", False, build(False, side=90))
    model = models.load_model(f"blip:{folder}")
    with torch.no_grad():
        image = model.encode_image(load_photo(np.zeros((180, 90, 3), dtype=np.uint8)))
    assert image.features["pixels"].shape == (1, 3, 90, 90) and (image.grid.height, image.grid.width) == (5, 5)
    assert image.view.seen_xyxy == pytest.approx((0, 0, 80, 160))  # 80 of 90 pixels


def test_weights_that_were_not_trained_are_marked(tmp_path):
    folder = blip_folder(tmp_path / "m", True)
    assert models.load_model(f"blip:{folder}").info.trained
    (folder / "crossviz.json").write_text(json.dumps({"training": {"trained": False}}))
    assert not models.load_model(f"blip:{folder}").info.trained
    (folder / "crossviz.json").write_text("{")
    assert not models.load_model(f"blip:{folder}").info.trained


def test_half_precision_weights_are_computed_in_full(tmp_path):
    model = build(False)
    folder = blip_folder(tmp_path / "m", False, model.half())
    assert {p.dtype for p in models.load_model(f"blip:{folder}").module.parameters()} == {torch.float32}


# Tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("captioner", [False, True], ids=["matcher", "captioner"])
def test_tokens_have_the_characters_that_they_cover(folders, captioner):
    model = models.load_model(f"blip:{folders[captioner]}")
    text = "A  RED dog's Skateboard, Zürich [SEP]"
    tokenized = model.tokenize(text)
    tokens = tokenized.caption.tokens
    assert tokens[0].id == (START if captioner else VOCAB.index("[CLS]")) and tokens[0].start is None
    assert tokens[0].text == ("[DEC]" if captioner else "[CLS]")
    assert tokens[-1].id == VOCAB.index("[SEP]") and tokens[-1].start is None
    unknown = VOCAB.index("[UNK]")
    shown = [text[token.start : token.end] if token.id != unknown else "[UNK]" for token in tokens[1:-1]]
    assert [token.text for token in tokens[1:-1]] == shown
    assert "[UNK]" in shown and tokenized.caption.unknown == (), "the comma, which is no word"
    assert [token.id for token in tokens] == tokenized.ids[0].tolist()
    words = {word.text: [tokens[i].text for i in word.tokens] for word in tokenized.caption.words}
    assert words["Skateboard"] == ["Skate", "board"] and words["dog's"] == ["dog", "'", "s"]
    assert words["SEP"] == ["S", "E", "P"], "what the user types is never markup"
    assert "".join(words["Zürich"]) == "Zürich"


def test_a_long_caption_is_cut_where_the_model_ends(folders):
    model = models.load_model(f"blip:{folders[False]}")
    caption = model.tokenize("dog " * 40).caption
    assert len(caption.tokens) == 24 and caption.truncated and caption.cut_at == 22 * 4
    with pytest.raises(CaptionError):
        model.tokenize("  ")
